"""The rows of a workspace: frames, quality, issues, samples, labels, datasets, predictions.

SQLAlchemy Core over an embedded SQLite file or a shared PostgreSQL database. Only the driver of a
stage writes, one transaction a partition of work, and natural keys make every insert safe to
repeat; so a stage that was killed continues and counts nothing twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Table
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from besana.catalog.database import (
    PERCENT,
    READ_ONLY,
    RESTORE,
    UtcDateTime,
    insert,
    look_at,
    open_database,
)
from besana.catalog.tables import METADATA, counts, properties
from besana.catalog.views import (
    COUNTED,
    VIEWS,
    create_counts,
    renew_views,
    views_are_current,
)
from besana.errors import ConfigError, StorageError

SCHEMA_VERSION = 1
_VERSION = "schema_version"


class Catalog:
    """Read and write the rows of one workspace.

    Args:
        url: `sqlite:///path` or `postgresql://user@host/database`.

    Raises:
        ConfigError: If the URL or the catalog's schema version is not known.
        StorageError: If the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = open_database(url)
        with contextlib.ExitStack() as on_error:
            on_error.callback(self.close)
            if not self._is_ready():
                with self.transaction() as connection:
                    _complete(connection)
            on_error.pop_all()

    def _is_ready(self) -> bool:
        """Check the versions of schema and views without a lock that would wait for a writer."""
        with self._connection() as connection:
            return _has_version(connection) and views_are_current(connection, VIEWS)

    def close(self) -> None:
        """Close all connections; the catalog cannot be used afterwards."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Run several statements, all or nothing, durable when the block ends.

        Raises:
            StorageError: If the database refused.
        """
        with self._connection(writes=True) as connection:
            yield connection

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add rows whose key is not there yet, in one transaction.

        Returns:
            How many rows were really added.
        """
        with self.transaction() as connection:
            return insert(connection, table, rows)

    def rows(self, select: sa.Select[Any]) -> list[sa.Row[Any]]:
        """Read a small result whole."""
        with self._connection() as connection:
            return list(connection.execute(select).all())

    def scalar(self, select: sa.Select[Any]) -> Any:
        """Read one value; None when there is no row."""
        with self._connection() as connection:
            return connection.execute(select).scalar()

    def count(self, select: sa.Select[Any]) -> int:
        """Count the rows of a select."""
        return int(self.scalar(sa.select(sa.func.count()).select_from(select.subquery())))

    def counted(self, table: Table) -> dict[str, int]:
        """Tell how many rows a table has by part, at once, from counts that triggers keep.

        Parts: cameras of frames, kinds of issues, recipes of samples, classes of labels, model
        versions of predictions; `""` for quality.
        """
        select = sa.select(counts.c.part, counts.c.rows).where(
            counts.c.table_name == table.name, counts.c.rows != 0
        )
        return {row.part: row.rows for row in self.rows(select.order_by(counts.c.part))}

    def pages(
        self, select: sa.Select[Any], key: Sequence[sa.ColumnElement[Any]], rows: int = 2_000
    ) -> Iterator[list[sa.Row[Any]]]:
        """Read a large result page by page, with no transaction open in between.

        The caller may write between two pages; rows that appear behind the last key are missed.

        Args:
            select: What to read; its columns contain the key columns, under their own names.
            key: Columns of a unique key to order by.
            rows: Rows a page, above 0.
        """
        names = [str(column.key) for column in key]
        ordered = select.order_by(*key).limit(rows)
        page = self.rows(ordered)
        while page:
            yield page
            if len(page) < rows:
                return
            last = [page[-1]._mapping[name] for name in names]
            after = sa.tuple_(*key) > sa.tuple_(
                *(sa.literal(value, column.type) for value, column in zip(last, key, strict=True))
            )
            page = self.rows(ordered.where(after))

    def stream(self, select: sa.Select[Any], rows: int = 2_000) -> Iterator[list[sa.Row[Any]]]:
        """Read a large result in one pass; the caller must not write before the end."""
        with self._connection() as connection:
            options = connection.execution_options(yield_per=rows)
            with contextlib.closing(options.execute(select)) as result:
                yield from (list(part) for part in result.partitions())

    @contextlib.contextmanager
    def ask(self, query: str) -> Iterator[tuple[list[str], Iterator[sa.Row[Any]]]]:
        """Run one statement of somebody's own that may read only.

        Args:
            query: SQL in the dialect of the catalog.

        Yields:
            Names of the columns, and an iterator of rows that lives as long as the block.

        Raises:
            ConfigError: If the statement is not valid, or would write.
        """
        with self._engine.connect() as connection:
            dialect = connection.dialect.name
            connection.exec_driver_sql(READ_ONLY[dialect])
            try:
                options = connection.execution_options(yield_per=1000)
                result = options.exec_driver_sql(query.replace("%", PERCENT[dialect]))
                if not result.returns_rows:
                    raise ConfigError("The statement returns no rows.", "Ask with SELECT.")
                yield list(result.keys()), iter(result)
            except SQLAlchemyError as error:
                cause = getattr(error, "orig", error)
                raise ConfigError(f"The catalog refused: {cause}.", "Correct the SQL.") from None
            finally:
                connection.rollback()
                connection.invalidate()

    @contextlib.contextmanager
    def at_one_moment(self) -> Iterator[Catalog]:
        """See all tables of a PostgreSQL catalog as they are now, whatever is written meanwhile.

        Yields:
            A catalog that may only be read, as long as the block lasts.
        """
        with self._connection() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            moment = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar()
            with contextlib.closing(Catalog(self.url)) as still:
                sa.event.listen(still._engine, "begin", partial(look_at, moment=str(moment)))
                yield still

    @contextlib.contextmanager
    def _connection(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as opened:
                connection = opened.execution_options(besana_writes=writes)
                with connection.begin():
                    yield connection
        except OperationalError as error:
            said = " ".join(str(error.orig).split()).rstrip(".?")
            is_file = self.url.startswith("sqlite")
            raise StorageError(
                f"The catalog {_without_password(self.url)} refused: {said}.",
                "Check the disk, or wait until another process is done."
                if is_file
                else "Check address, user and password, and that the server runs.",
            ) from None
        except SQLAlchemyError as error:
            if type(error) is DatabaseError:  # none of its kinds: the file itself
                raise StorageError(
                    f"The catalog {_without_password(self.url)} is damaged: {error.orig}.",
                    RESTORE,
                ) from None
            # Unlike the above this is our mistake, so the cause stays visible.
            raise StorageError(f"The catalog refused: {error}.", "Report this.") from error


def _complete(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(48730)")
    if not _has_version(connection):
        METADATA.create_all(connection)
        create_counts(connection)
        insert(connection, properties, [{"key": _VERSION, "value": str(SCHEMA_VERSION)}])
    if not views_are_current(connection, VIEWS):
        renew_views(connection, VIEWS)


def _has_version(connection: sa.Connection) -> bool:
    """Tell whether this is a catalog already; refuse one of another version."""
    if not sa.inspect(connection).has_table(properties.name):
        return False
    select = sa.select(properties.c.value).where(properties.c.key == _VERSION)
    found = connection.execute(select).scalar()
    if found not in (None, str(SCHEMA_VERSION)):
        raise ConfigError(
            f"The catalog has schema version {found}, this besana reads {SCHEMA_VERSION}.",
            "Use the besana version that wrote it.",
        )
    return found is not None


def _without_password(url: str) -> str:
    return sa.make_url(url).render_as_string(hide_password=True)


__all__ = ["COUNTED", "METADATA", "Catalog", "UtcDateTime", "insert"]
