"""All rows of a catalog into another database, verified by counts and hashes."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from besana.catalog import METADATA, Catalog, counts, insert, properties, watch, web
from besana.errors import ConfigError, CorruptDataError

# Loaded, so that the tables of the pages, the watch and servers are known.
BESIDE = (
    *(web.undone_labels, web.skips),
    *(*watch.TABLES, watch.served),
)
_MOVING = "moving_from"
_ROWS = 5_000


@dataclass(frozen=True)
class TableState:
    """What a table holds, comparable between databases.

    Attributes:
        rows: How many rows.
        digest: Sum of the rows' hashes, which does not depend on their order.
    """

    rows: int
    digest: int


def move(
    source: Catalog, target: Catalog, advance: Callable[[int], None] = lambda _rows: None
) -> dict[str, TableState]:
    """Copy every row, then read both sides again and compare them.

    A move that was killed goes on: rows that are there already are left as they are. The source
    stays as it is.

    Args:
        source: The catalog that has the rows.
        target: An empty one, or one into which the same move was begun.
        advance: Told how many rows are done.

    Returns:
        What each table holds.

    Raises:
        ConfigError: If the target holds another farm.
        CorruptDataError: If a table differs afterwards.
    """
    tables = moved_tables(source)
    _begin(source, target, tables)
    if watch.has_tables(source):
        watch.create_tables(target)  # its views too
    for table in tables:
        for page in _pages(source, table):
            target.insert(table, [dict(row._mapping) for row in page])
            advance(len(page))
    states = {table.name: state(source, table) for table in tables}
    for table in tables:
        found = state(target, table)
        if found != states[table.name]:
            raise CorruptDataError(
                f"Table '{table.name}' has {states[table.name].rows} rows here and {found.rows}"
                " there, or they differ.",
                "Let nothing else work in the farm, then move again.",
            )
    _end(target)
    return states


def moved_tables(catalog: Catalog) -> list[sa.Table]:
    """List the tables to copy; counts are kept by the target's own triggers.

    Raises:
        ConfigError: If the catalog has a table that this besana does not know.
    """
    with catalog.transaction() as connection:
        names = set(sa.inspect(connection).get_table_names())
    unknown = names - set(METADATA.tables)
    if unknown:
        raise ConfigError(
            f"The catalog has a table '{min(unknown)}' that nobody knows.",
            "Use the besana version that made it, or remove it.",
        )
    return [
        table
        for table in METADATA.sorted_tables
        if table.name in names and table not in (counts, properties)
    ]


def rows_of(catalog: Catalog, tables: Sequence[sa.Table]) -> int:
    """Count all rows of some tables."""
    return sum(catalog.count(sa.select(*table.primary_key.columns)) for table in tables)


def state(catalog: Catalog, table: sa.Table) -> TableState:
    """Count and hash the rows of a table."""
    rows = digest = 0
    for page in _pages(catalog, table):
        for row in page:
            digest = (digest + _hash(row._mapping)) % 2**128
            rows += 1
    return TableState(rows, digest)


def _pages(catalog: Catalog, table: sa.Table) -> Iterator[list[sa.Row[Any]]]:
    return catalog.pages(sa.select(table), list(table.primary_key.columns), _ROWS)


def _hash(row: Mapping[Any, Any]) -> int:
    values = {str(name): value for name, value in row.items()}
    text = json.dumps(values, sort_keys=True, default=_plain)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])


def _plain(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    raise TypeError(f"{type(value).__name__} in the catalog")


def _begin(source: Catalog, target: Catalog, tables: Sequence[sa.Table]) -> None:
    if source.url == target.url:
        raise ConfigError("The catalog lies there already.", "Name another database.")
    name = sa.make_url(source.url).render_as_string(hide_password=True)
    marked = sa.select(properties.c.value).where(properties.c.key == _MOVING)
    begun = target.scalar(marked)
    if begun not in (None, name) or (begun is None and rows_of(target, moved_tables(target))):
        raise ConfigError("That database holds another farm.", "Make an empty one.")
    with target.transaction() as connection:
        METADATA.create_all(connection, tables)  # also those that only the pages make
        insert(connection, properties, [{"key": _MOVING, "value": name}])


def _end(target: Catalog) -> None:
    with target.transaction() as connection:
        connection.execute(sa.delete(properties).where(properties.c.key == _MOVING))
