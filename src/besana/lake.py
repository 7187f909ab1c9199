"""Delta Lake copies of the catalog, which Spark, Presto, Athena and DuckDB read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog, UtcDateTime
from besana.errors import CorruptDataError, MissingExtraError, StorageError
from besana.storage import open_storage

if TYPE_CHECKING:
    import pyarrow as pa

HASH = "row_hash"
VERSIONS = "datasets.jsonl"
_ROWS = 10_000
_APPLICATION = "besana-publish"


@dataclass(frozen=True)
class Published:
    """One table of the lake.

    Attributes:
        name: Its name, and that of its folder.
        select: Its rows in the catalog.
        keys: Columns that name a row.
        kinds: SQL type of each column.
    """

    name: str
    select: sa.Select[Any]
    keys: Sequence[sa.ColumnElement[Any]]
    kinds: Mapping[str, sa.types.TypeEngine[Any]]


@dataclass(frozen=True)
class State:
    """What a table holds: rows, and the sum of their hashes, whatever their order."""

    rows: int
    digest: int


@dataclass(frozen=True)
class Change:
    """What publishing did to a table.

    Attributes:
        version: Version of the Delta table afterwards.
        rows: Rows in it.
        inserted: Rows that came.
        updated: Rows that changed.
        deleted: Rows that went.
    """

    version: int
    rows: int
    inserted: int
    updated: int
    deleted: int


def published_tables() -> list[Published]:
    """List what is published: every table but thumbnails and counts, and the current labels."""
    own = [
        tables.frames,
        tables.quality,
        tables.issues,
        tables.samples,
        tables.labels,
        tables.datasets,
        tables.predictions,
    ]
    found = [_published(table) for table in own]
    view = tables.current_labels
    kinds = {column.name: column.type for column in view.columns}
    keys = [view.c.frame_id, view.c.region]
    return [*found, Published("current_labels", sa.select(view), keys, kinds)]


def _published(table: sa.Table) -> Published:
    columns = [c for c in table.columns if not isinstance(c.type, sa.LargeBinary)]
    kinds = {column.name: column.type for column in columns}
    return Published(table.name, sa.select(*columns), list(table.primary_key.columns), kinds)


def publish(catalog: Catalog, table: Published, url: str) -> Change:
    """Bring one Delta table to what the catalog says, in one commit, and read it back.

    Nothing is committed when nothing changed. A commit whose answer was lost is looked up by its
    transaction before anything is tried again.

    Args:
        catalog: The rows.
        table: Which ones.
        url: Folder or bucket of the Delta table.

    Raises:
        MissingExtraError: If deltalake is not installed.
        StorageError: If disk or bucket refused, or somebody else committed at the same time.
        CorruptDataError: If what was read back is not what was written.
    """
    delta = _open(url, _schema(table))
    wanted = _catalog_state(catalog, table)
    if lake_state(delta) == wanted:
        return Change(delta.version(), wanted.rows, 0, 0, 0)
    done = _merge(catalog, table, delta, url)
    fresh = _open(url, _schema(table))
    found = lake_state(fresh)
    if found != wanted:
        raise CorruptDataError(
            f"'{table.name}' has {wanted.rows} rows in the catalog and {found.rows} in {url}, or"
            " they differ.",
            "Let nothing else work in the farm, then publish again.",
        )
    counts = {name: int(done.get(f"num_target_rows_{name}", 0)) for name in _COUNTED}
    return Change(fresh.version(), wanted.rows, **counts)


_COUNTED = ("inserted", "updated", "deleted")


def _merge(catalog: Catalog, table: Published, delta: Any, url: str) -> Mapping[str, Any]:
    import pyarrow as pa
    from deltalake import CommitProperties, Transaction
    from deltalake.exceptions import DeltaError

    schema = _schema(table)
    number = (delta.transaction_version(_APPLICATION) or 0) + 1
    source = pa.RecordBatchReader.from_batches(schema, _batches(catalog, table, schema))
    names = [str(key.key) for key in table.keys]
    try:
        done: Mapping[str, Any] = (
            delta.merge(
                source,
                " AND ".join(f't."{name}" = s."{name}"' for name in names),
                source_alias="s",
                target_alias="t",
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(_APPLICATION, number)]
                ),
            )
            .when_matched_update_all(predicate=f"t.{HASH} <> s.{HASH}")
            .when_not_matched_insert_all()
            .when_not_matched_by_source_delete()
            .execute()
        )
    except (DeltaError, OSError) as error:
        if _open(url, schema).transaction_version(_APPLICATION) == number:
            return {}  # it is in the log: only the answer was lost
        raise StorageError(f"{url}: {_said(error)}", "Run: besana publish again.") from None
    return done


def compact(table: Published, url: str) -> int:
    """Put the small files of a table together in one commit that changes no row.

    Returns:
        How many files went into larger ones.

    Raises:
        StorageError: If disk or bucket refused, or somebody else committed at the same time.
    """
    from deltalake.exceptions import DeltaError

    try:
        done = _open(url, _schema(table)).optimize.compact()
    except (DeltaError, OSError) as error:
        raise StorageError(f"{url}: {_said(error)}", "Run: besana publish again.") from None
    return int(done["numFilesRemoved"])


def remember(catalog: Catalog, place: str, versions: Mapping[str, int]) -> None:
    """Note at which versions of the tables each dataset was first published.

    `VERSIONS` in the lake has one line a dataset version; later publishing leaves lines alone, so
    they lead back to the lake as it was when the dataset was new.

    Args:
        catalog: The datasets.
        place: Folder or bucket of the lake.
        versions: Table to its version now.
    """
    lake = open_storage(place)
    before = lake.read(VERSIONS) if lake.size(VERSIONS) is not None else b""
    known = {(line["name"], line["version"]) for line in map(json.loads, before.splitlines())}
    datasets = tables.datasets.c
    select = sa.select(datasets.name, datasets.version).order_by(datasets.name, datasets.version)
    new = [row._mapping for row in catalog.rows(select) if tuple(row) not in known]
    if new:
        lines = [json.dumps({**row, "tables": dict(versions)}) + "\n" for row in new]
        lake.write(VERSIONS, before + "".join(lines).encode())


def lake_state(delta: Any) -> State:
    """Count a Delta table's rows and add up their hashes."""
    rows = digest = 0
    for batch in delta.to_pyarrow_dataset().scanner(columns=[HASH]).to_batches():
        rows += batch.num_rows
        digest = (digest + sum(batch.column(0).to_pylist())) % 2**64
    return State(rows, digest)


def _catalog_state(catalog: Catalog, table: Published) -> State:
    rows = digest = 0
    for page in catalog.pages(table.select, table.keys, _ROWS):
        rows += len(page)
        digest = (digest + sum(_hash(_values(row, table)) for row in page)) % 2**64
    return State(rows, digest)


def _batches(catalog: Catalog, table: Published, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for page in catalog.pages(table.select, table.keys, _ROWS):
        rows = [_values(row, table) for row in page]
        hashed = [{**row, HASH: _hash(row)} for row in rows]
        yield pa.RecordBatch.from_pylist(hashed, schema=schema)


def _values(row: sa.Row[Any], table: Published) -> dict[str, Any]:
    return {
        name: json.dumps(value, sort_keys=True)
        if isinstance(table.kinds[name], sa.JSON) and value is not None
        else value
        for name, value in row._mapping.items()
    }


def _hash(row: Mapping[str, Any]) -> int:
    """Hash a row to 63 bits: Delta has no unsigned numbers."""
    text = json.dumps(row, sort_keys=True, default=lambda value: value.isoformat())
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def _schema(table: Published) -> pa.Schema:
    import pyarrow as pa

    fields = [pa.field(name, _arrow(kind)) for name, kind in table.kinds.items()]
    return pa.schema([*fields, pa.field(HASH, pa.int64())])


def _arrow(kind: sa.types.TypeEngine[Any]) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, UtcDateTime):
        return pa.timestamp("us", "UTC")
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    return pa.float64() if isinstance(kind, sa.Float) else pa.string()


def _open(url: str, schema: pa.Schema) -> Any:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise MissingExtraError(
            "Publishing needs deltalake.", 'Run: pip install "besana[lake]"'
        ) from None
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    options = {"AWS_ALLOW_HTTP": "true"} if plain and "://" in url else None
    try:
        if not DeltaTable.is_deltatable(url, options):
            DeltaTable.create(url, schema, mode="ignore", storage_options=options)
        return DeltaTable(url, storage_options=options)
    except (DeltaError, OSError) as error:
        raise StorageError(
            f"{url}: {_said(error)}", "Check address, credentials and rights."
        ) from None


def _said(error: Exception) -> str:
    """Give the first line of an error without the colours that delta-rs puts in."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error).strip().split("\n")[0])
