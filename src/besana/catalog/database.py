"""What differs between SQLite and PostgreSQL: opening, times, fast inserts, asking."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json, to_json
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn
from typing_extensions import override

from besana.errors import ConfigError, CorruptDataError, MissingExtraError, StorageError

RESTORE = "Restore a backup: besana restore NEW_FOLDER BACKUPS."

# What keeps a session from writing, and the mark that stands for a literal '%' in its SQL.
READ_ONLY = {
    "sqlite": "PRAGMA query_only=ON",
    "postgresql": "SET default_transaction_read_only = on; SET TRANSACTION READ ONLY",
}
PERCENT = {"sqlite": "%", "postgresql": "%%"}


class UtcDateTime(sa.TypeDecorator[dt.datetime]):
    """Keep aware times as UTC, also where the database has no time zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        utc = _utc(value)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    @override
    def process_result_value(self, value: dt.datetime | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


@compiles(CreateColumn, "postgresql")
def _create_column(element: CreateColumn, compiler: Any, **options: Any) -> str:
    """Compare texts byte by byte, as SQLite does, so that a range of ids is a camera."""
    text: str = compiler.visit_create_column(element, **options)
    return text.replace(" TEXT", ' TEXT COLLATE "C"', 1)


def open_database(url: str) -> sa.Engine:
    """Open a database with what a catalog needs.

    Args:
        url: `sqlite:///path` or `postgresql://user@host/database`.

    Raises:
        ConfigError: If nobody knows such a URL.
        MissingExtraError: If it needs psycopg and that is not installed.
    """
    # pydantic's JSON is several times faster than the standard library's.
    fast_json: dict[str, Any] = {"json_serializer": _json, "json_deserializer": from_json}
    if url.startswith("postgresql://"):
        try:
            import psycopg  # noqa: F401  # asked for by name, to say what to install
        except ImportError:
            raise MissingExtraError(
                "A PostgreSQL catalog needs psycopg.", 'Run: pip install "besana[postgresql]"'
            ) from None
        driver_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        return sa.create_engine(driver_url, **fast_json)
    if not url.startswith("sqlite:///"):
        raise ConfigError(f"Unknown catalog '{url}'.", "Use sqlite:/// or postgresql://.")
    engine = sa.create_engine(url, connect_args={"timeout": 60}, **fast_json)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def copy_sqlite(path: Path, target: Path) -> None:
    """Copy a SQLite database as it is at one moment, and check the copy.

    It is copied in one step: a copy page by page would begin again at each write of another
    process. Meanwhile readers read, and writers wait.

    Args:
        path: The database; others may be at work in it.
        target: Where the copy goes; replaced.

    Raises:
        CorruptDataError: If the copy is not sound.
        StorageError: If it cannot be read, or the disk refused.
    """
    target.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.execute("PRAGMA busy_timeout=60000")
            source.backup(copy)
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise StorageError(f"{path}: {error}.", "Check the file and the disk.") from None
    if found != "ok":
        raise CorruptDataError(
            f"{path} is damaged: {found}.", "Restore a backup: besana restore NEW_FOLDER BACKUPS."
        )


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Add rows whose key is not there yet, inside a transaction; return how many were added.

    SQLAlchemy's own way costs three times what SQLite needs, and in PostgreSQL fires the counting
    triggers once a row; here the columns go to the driver as they are.

    Args:
        connection: One from `Catalog.transaction`.
        table: A table of the catalog.
        rows: Column name -> value; a column that a row lacks is NULL.
    """
    if not rows:
        return 0
    _check_columns(table, rows)
    embedded = connection.dialect.name == "sqlite"
    columns = [_values(column, rows, embedded=embedded) for column in table.columns]
    # SQLite takes one row after the other, PostgreSQL one array a column.
    parameters: Any = list(zip(*columns, strict=True)) if embedded else tuple(columns)
    kept = connection.execution_options(preserve_rowcount=True)
    statement = _statement(table, embedded=embedded)
    return int(kept.exec_driver_sql(statement, parameters).rowcount)


def _check_columns(table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    known = set(table.columns.keys())
    for row in rows:
        if not row.keys() <= known:
            unknown = ", ".join(sorted(row.keys() - known))
            raise sa.exc.CompileError(f"Table {table.name} has no column {unknown}")


@lru_cache(maxsize=64)
def _statement(table: sa.Table, *, embedded: bool) -> str:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    if embedded:
        values = f"VALUES ({', '.join('?' for _ in table.columns)})"
    else:
        dialect: sa.Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        types = (column.type.compile(dialect) for column in table.columns)
        values = f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in types)})"
    return f'INSERT INTO "{table.name}" ({names}) {values} ON CONFLICT DO NOTHING'


def _values(
    column: sa.Column[Any], rows: Iterable[Mapping[str, Any]], *, embedded: bool
) -> list[Any]:
    """Collect the values of one column in the form that the driver takes."""
    values = [row.get(column.name) for row in rows]
    if isinstance(column.type, sa.JSON):
        return [_json(value) for value in values]
    if isinstance(column.type, UtcDateTime):
        times = [None if value is None else _utc(value) for value in values]
        return [_sqlite_time(time) for time in times] if embedded else times
    return values


def _json(value: Any) -> str:
    return to_json(value).decode()


def _utc(value: dt.datetime) -> dt.datetime:
    if value.tzinfo is None:
        raise ConfigError(f"The time {value} has no time zone.", "Give it one.")
    return value if value.tzinfo is dt.UTC else value.astimezone(dt.UTC)


def _sqlite_time(value: dt.datetime | None) -> str | None:
    """Write a time as SQLAlchemy's DateTime for SQLite reads it."""
    return None if value is None else value.isoformat(" ", "microseconds")[:26]


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control begins too late; `_begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "synchronous=FULL",
        "journal_mode=DELETE",
        "cache_size=-4096",
        "temp_store=FILE",
        "trusted_schema=OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def look_at(connection: sa.Connection, moment: str) -> None:
    """Let a transaction of PostgreSQL see what another one, which is still open, sees."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{moment}'")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("besana_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
