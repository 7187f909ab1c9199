"""A catalog moves between SQLite and PostgreSQL without losing or changing a row."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid

import psycopg
import pytest
import sqlalchemy as sa

import besana
from besana.catalog import METADATA, Catalog, UtcDateTime, frames, labels, properties, quality
from besana.catalog.move import move, moved_tables, state
from besana.catalog.watch import TABLES, served
from besana.catalog.watch import create_tables as create_watch
from besana.catalog.web import create_tables
from besana.commands import catalog as catalog_command
from besana.errors import ConfigError, CorruptDataError

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture
def other_url(request, catalog_url, tmp_path):
    """An empty database of the other kind."""
    if catalog_url.startswith("postgresql"):
        return f"sqlite:///{tmp_path / 'other.db'}"
    home = request.getfixturevalue("postgresql_server")
    name = f"farm_{uuid.uuid4().hex}"
    with psycopg.connect(f"host={home} user=besana dbname=postgres", autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://besana@/{name}?host={home}"


@pytest.fixture
def other(other_url):
    opened = Catalog(other_url)
    yield opened
    opened.close()


HARD = {
    sa.JSON: lambda _name, number: {"ä": [1.5, None, {"b": number}], "a": "x'\"\\"},
    sa.LargeBinary: lambda _name, _number: bytes(range(256)),
    sa.Boolean: lambda _name, number: number % 2 == 0,
    sa.BigInteger: lambda _name, number: 2**62 - number,
    sa.Integer: lambda _name, number: number,
    sa.Float: lambda _name, number: 1 / 3 + number,
    sa.Text: lambda name, number: f"{name} ü {number:05d} %s",
    UtcDateTime: lambda _name, number: NOW + dt.timedelta(microseconds=number),
}
"""A value of each type that is hard on a database."""


def value_of(column: sa.Column, number: int):
    return HARD[type(column.type)](column.name, number)


def row_of(table: sa.Table, number: int) -> dict:
    optional = {c.name for c in table.columns if c.nullable and number % 3 == 0}
    return {c.name: None if c.name in optional else value_of(c, number) for c in table.columns}


def fill(catalog: Catalog, rows: int = 25) -> None:
    create_tables(catalog)
    for table in moved_tables(catalog):
        assert catalog.insert(table, [row_of(table, number) for number in range(rows)]) == rows


def test_every_row_of_every_table_arrives(catalog, other):
    fill(catalog)
    moved = move(catalog, other)
    assert set(moved) == {t.name for t in METADATA.sorted_tables} - {"counts", "properties"}
    assert all(found.rows == 25 for found in moved.values())
    for table in moved_tables(catalog):
        select = sa.select(table).order_by(*table.primary_key.columns)
        assert [tuple(r) for r in other.rows(select)] == [tuple(r) for r in catalog.rows(select)]
    for table in (frames, quality, labels):
        assert other.counted(table) == catalog.counted(table)
    keys = {row.key for row in other.rows(sa.select(properties))}
    assert {key for key in keys if not key.startswith("view ")} == {"schema_version"}


@pytest.mark.slow
def test_a_move_that_was_interrupted_goes_on(catalog, other, monkeypatch):
    fill(catalog)
    monkeypatch.setattr("besana.catalog.move._ROWS", 10)
    done = []

    def stop(rows: int) -> None:
        done.append(rows)
        if len(done) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(catalog, other, stop)
    assert all(found.rows == 25 for found in move(catalog, other).values())


def test_a_database_with_another_farm_is_left_alone(catalog, other):
    fill(catalog)
    other.insert(frames, [row_of(frames, 77)])
    with pytest.raises(ConfigError, match="holds another farm"):
        move(catalog, other)
    assert state(other, frames).rows == 1
    with pytest.raises(ConfigError, match="lies there already"):
        move(catalog, catalog)


def test_a_farm_that_was_watched_and_served_moves_with_its_views(catalog, other):
    create_watch(catalog)
    with other.transaction() as connection:
        for table in (*TABLES, served):
            table.drop(connection, checkfirst=True)
    fill(catalog, 3)

    moved = move(catalog, other)

    assert {moved[table.name].rows for table in (*TABLES, served)} == {3}
    for view in ("wished", "lineage"):
        with other.ask(f"SELECT COUNT(*) FROM {view}") as (_, found):
            assert len(list(found)) == 1


def test_a_table_that_nobody_knows_is_not_left_behind(catalog, other):
    with catalog.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE mine (x INTEGER)")
    with pytest.raises(ConfigError, match="a table 'mine' that nobody knows"):
        move(catalog, other)


@pytest.mark.slow
def test_a_difference_is_found(catalog, other):
    fill(catalog)

    def change(_rows: int) -> None:
        with other.transaction() as connection:
            connection.execute(sa.update(frames).values(size_bytes=frames.c.size_bytes - 1))

    with pytest.raises(CorruptDataError, match="'frames' has 25 rows here and 25 there"):
        move(catalog, other, change)


@pytest.mark.slow
def test_the_command_says_which_line_to_change(catalog, catalog_url, other_url, tmp_path, capsys):
    fill(catalog, rows=3)
    farm = besana.Workspace.create(tmp_path / "farm", f'catalog = "{catalog_url}"\n')
    with contextlib.closing(farm.catalog):
        catalog_command.run(farm, catalog_command.Config(action="move", to=other_url))
    shown = capsys.readouterr().out
    assert "frames: 3 rows, hash " in shown
    assert 'Now write in besana.toml: catalog = "' in shown
