"""What only the embedded catalog has: its file, its locks, its addresses."""

import sqlite3
import threading

import pytest
import sqlalchemy as sa

from besana.catalog import Catalog, frames, properties
from besana.errors import ConfigError, StorageError


def test_an_unknown_address_is_an_error():
    with pytest.raises(ConfigError, match="Unknown catalog 'mysql://x'"):
        Catalog("mysql://x")


def test_a_catalog_that_cannot_be_opened_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="unable to open database file"):
        Catalog(f"sqlite:///{tmp_path}/no/folder/catalog.db")


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path):
    (tmp_path / "catalog.db").write_bytes(b"this is not a database, by far not one" * 100)
    with pytest.raises(StorageError, match="not a database"):
        Catalog(f"sqlite:///{tmp_path}/catalog.db")


def test_a_damaged_catalog_is_a_storage_error_that_says_so(tmp_path):
    path = tmp_path / "catalog.db"
    Catalog(f"sqlite:///{path}").close()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StorageError) as caught:
        Catalog(f"sqlite:///{path}")
    assert caught.value.problem.startswith(f"The catalog sqlite:///{path} is damaged: ")
    assert caught.value.hint == "Restore a backup: besana restore NEW_FOLDER BACKUPS."


def test_a_server_that_is_not_there_is_a_storage_error_without_the_password(tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError) as caught:
        Catalog(f"postgresql://ana:geheim@/farm?host={tmp_path}")
    assert "geheim" not in str(caught.value)
    assert "ana" in str(caught.value)


def test_every_connection_is_durable_and_keeps_a_rollback_journal(tmp_path):
    catalog = Catalog(f"sqlite:///{tmp_path}/catalog.db")
    with catalog.transaction() as connection:
        for pragma, expected in (("synchronous", 2), ("journal_mode", "delete")):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == expected
    catalog.close()


def test_opening_and_reading_do_not_wait_for_a_writer(tmp_path):
    url = f"sqlite:///{tmp_path}/catalog.db"
    writer = Catalog(url)
    with writer.transaction() as connection:
        connection.execute(sa.insert(properties).values(key="a", value="b"))
        before = connection.execute(sa.select(properties.c.key)).all()
        reader = Catalog(url)
        assert reader.count(sa.select(properties)) == len(before) - 1
        reader.close()
    writer.close()


def test_a_writer_waits_for_the_other_one(tmp_path):
    url = f"sqlite:///{tmp_path}/catalog.db"
    first, second = Catalog(url), Catalog(url)
    before = first.count(sa.select(properties))
    waiting = threading.Thread(
        target=second.insert, args=(properties, [{"key": "second", "value": ""}])
    )
    with first.transaction() as connection:
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        connection.execute(sa.insert(properties).values(key="first", value=""))
    waiting.join(30)
    assert second.count(sa.select(properties)) == before + 2
    first.close()
    second.close()


def test_any_tool_can_read_the_file(tmp_path):
    catalog = Catalog(f"sqlite:///{tmp_path}/catalog.db")
    catalog.close()
    plain = sqlite3.connect(tmp_path / "catalog.db")
    assert plain.execute("SELECT count(*) FROM current_labels").fetchone() == (0,)
    assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()


def test_a_frame_is_found_by_its_name_without_reading_all(tmp_path):
    catalog = Catalog(f"sqlite:///{tmp_path}/catalog.db")
    query = sa.select(frames.c.id).where(frames.c.name == "x")
    with catalog.transaction() as connection:
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
    assert "ix_frames_name" in plan[0][-1]
    catalog.close()
