"""The lake holds what the catalog says, reads back in DuckDB, and never twice."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import subprocess
import sys
import time

import boto3
import duckdb
import pytest
import sqlalchemy as sa
from deltalake import DeltaTable

import besana
from besana.catalog import Catalog, datasets, frames, labels, samples
from besana.catalog.web import create_tables, undone_labels
from besana.commands import publish
from besana.errors import CorruptDataError, StorageError
from besana.lake import publish as publish_table
from besana.lake import published_tables
from besana.web.saving import Saver, Saying

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)


def frame(number: int) -> dict:
    return {
        "id": f"barn-1/{number:05d}",
        "camera": "barn-1",
        "captured_at": None if number % 5 == 0 else NOW + dt.timedelta(minutes=number),
        "time_source": "name",
        "name": f"ä {number}'s.jpg",
        "source": f"file:///{number}.jpg",
        "source_size_bytes": 2**40 + number,
        "source_modified_ns": 2**60 + number,
        "bands": [{"band": "rgb", "key": "k"}],
        "sha256": "00",
        "size_bytes": 1000 + number,
        "width_px": None,
        "height_px": 480,
        "metadata": {"b": 1, "a": "ü"},
        "collected_at": NOW,
    }


def label(number: int, name: str) -> dict:
    return {
        "id": f"{number}-{name}",
        "frame_id": f"barn-1/{number:05d}",
        "region": "bed-1",
        "class_name": name,
        "holds": True,
        "annotator": f"ana-{name}",
        "source": "csv",
        "labelled_at": NOW,
        "note": "",
        "added_at": NOW,
    }


def dataset(version: int) -> dict:
    return {
        "name": "default",
        "version": version,
        "hash": f"{version:064x}",
        "kind": "single",
        "classes": ["lying"],
        "samples": 20,
        "settings": {},
        "created_at": NOW,
    }


@pytest.fixture
def farm(tmp_path):
    farm = besana.Workspace.create(tmp_path / "farm")
    farm.catalog.insert(frames, [frame(number) for number in range(50)])
    farm.catalog.insert(labels, [label(number, "lying") for number in range(20)])
    yield farm
    farm.catalog.close()


def ask(farm: besana.Workspace, name: str, query: str) -> list[tuple]:
    """Ask DuckDB about one table of the lake; it is called `lake` in the query."""
    lake = DeltaTable(farm.path / "lake" / name).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("lake", lake)
        return connection.execute(query).fetchall()


def run(farm: besana.Workspace) -> dict:
    return publish.run(farm, publish.Config())


def test_the_lake_holds_what_the_catalog_says(farm, capsys):
    changes = run(farm)
    assert (changes["frames"].rows, changes["frames"].inserted) == (50, 50)
    lake = farm.path / "lake"
    assert set(changes) == {path.name for path in lake.iterdir() if path.is_dir()}
    counted = ask(
        farm, "frames", "SELECT camera, count(*), count(captured_at) FROM lake GROUP BY 1"
    )
    assert counted == [("barn-1", 50, 40)]
    (row,) = ask(
        farm,
        "frames",
        "SELECT name, source_size_bytes, metadata, epoch_us(captured_at) FROM lake"
        " WHERE id LIKE '%00007'",
    )
    assert row[:3] == ("ä 7's.jpg", 2**40 + 7, '{"a": "\\u00fc", "b": 1}')
    assert row[3] == (NOW + dt.timedelta(minutes=7)).timestamp() * 1_000_000
    held = ask(farm, "current_labels", "SELECT class_name, count(*) FROM lake GROUP BY 1")
    assert held == [("lying", 20)]
    assert "frames: version 1, 50 rows; 50 new, 0 changed, 0 gone" in capsys.readouterr().out


def test_publishing_again_commits_nothing(farm):
    first = run(farm)
    again = run(farm)
    assert {n: c.version for n, c in again.items()} == {n: c.version for n, c in first.items()}
    assert all(c.inserted == c.updated == c.deleted == 0 for c in again.values())


def test_new_changed_and_deleted_rows_are_one_commit(farm):
    before = run(farm)["frames"].version
    farm.catalog.insert(frames, [frame(number) for number in range(50, 53)])
    with farm.catalog.transaction() as connection:
        connection.execute(sa.delete(frames).where(frames.c.id == "barn-1/00003"))
        connection.execute(
            sa.update(frames).where(frames.c.id == "barn-1/00004").values(width_px=640)
        )
    change = run(farm)["frames"]
    assert (change.version, change.rows) == (before + 1, 52)
    assert (change.inserted, change.updated, change.deleted) == (3, 1, 1)
    assert ask(farm, "frames", "SELECT id FROM lake WHERE width_px = 640") == [("barn-1/00004",)]
    old = DeltaTable(farm.path / "lake/frames", version=before)
    assert old.to_pyarrow_dataset().count_rows() == 50


def test_a_dataset_leads_back_to_the_lake_as_it_was(farm):
    farm.catalog.insert(datasets, [dataset(1)])
    first = run(farm)
    with farm.catalog.transaction() as connection:
        connection.execute(sa.delete(labels).where(labels.c.frame_id == "barn-1/00003"))
    run(farm)
    farm.catalog.insert(datasets, [dataset(2)])
    last = run(farm)
    lines = (farm.path / "lake" / "datasets.jsonl").read_text().splitlines()
    found = {line["version"]: line["tables"] for line in map(json.loads, lines)}
    assert found[1] == {name: change.version for name, change in first.items()}
    assert found[2] == {name: change.version for name, change in last.items()}
    for version, count in ((1, 20), (2, 19)):
        old = DeltaTable(farm.path / "lake/labels", version=found[version]["labels"])
        assert old.to_pyarrow_dataset().count_rows() == count


def test_compacting_puts_files_together_and_changes_no_row(farm):
    run(farm)
    for number in range(60, 63):
        farm.catalog.insert(frames, [frame(number)])
        run(farm)
    before = DeltaTable(farm.path / "lake/frames")
    changes = publish.run(farm, publish.Config(compact=True))
    after = DeltaTable(farm.path / "lake/frames")
    assert len(after.file_uris()) == 1 < len(before.file_uris())
    assert changes["frames"].rows == after.to_pyarrow_dataset().count_rows() == 53
    assert run(farm)["frames"].version == after.version() == before.version() + 1
    assert DeltaTable(farm.path / "lake/frames", version=1).to_pyarrow_dataset().count_rows() == 50


@pytest.mark.slow
def test_a_label_that_is_outvoted_changes_the_current_ones(farm):
    run(farm)
    farm.catalog.insert(labels, [label(3, "standing") | {"annotator": name} for name in ("b",)])
    farm.catalog.insert(labels, [label(3, "up") | {"id": n, "annotator": n} for n in ("c", "d")])
    change = run(farm)["current_labels"]
    assert (change.inserted, change.updated, change.deleted) == (0, 1, 0)
    query = "SELECT class_name, votes FROM lake WHERE frame_id LIKE '%00003'"
    assert ask(farm, "current_labels", query) == [("up", 2)]


def test_a_label_that_was_taken_back_leaves_the_lake(farm):
    """Undoing moves the event to undone_labels, which is not published (decision 0902)."""
    create_tables(farm.catalog)
    saver = Saver(farm.catalog)
    saying = Saying("key00001", "barn-1/00030", "bed-1", {"up": True}, "")
    saver.label("ana", [saying]).result()
    first = run(farm)
    assert (first["labels"].rows, first["current_labels"].rows) == (21, 21)
    saver.undo("ana", "key00001").result()
    change = run(farm)
    saver.close()
    for name in ("labels", "current_labels"):
        assert (change[name].inserted, change[name].updated, change[name].deleted) == (0, 0, 1)
        assert ask(farm, name, "SELECT count(*) FROM lake WHERE class_name = 'up'") == [(0,)]
    assert farm.catalog.count(sa.select(undone_labels)) == 1
    assert not (farm.path / "lake" / "undone_labels").exists()


def test_a_lake_that_somebody_changed_is_brought_back(farm):
    run(farm)
    DeltaTable(farm.path / "lake/frames").delete("id LIKE '%0001%'")
    assert ask(farm, "frames", "SELECT count(*) FROM lake") == [(39,)]
    change = run(farm)["frames"]
    assert (change.inserted, change.rows) == (11, 50)


@pytest.mark.slow
def test_more_rows_than_a_page_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr("besana.lake._ROWS", 40)
    farm = besana.Workspace.create(tmp_path / "farm")
    farm.catalog.insert(frames, [frame(number) for number in range(130)])
    assert run(farm)["frames"].inserted == 130
    farm.catalog.close()


def test_a_commit_behind_our_back_is_an_error_and_not_a_loss(farm):
    run(farm)
    farm.catalog.insert(frames, [frame(77)])
    (table,) = [table for table in published_tables() if table.name == "frames"]
    catalog = Interrupting(farm.catalog.url, farm.path / "lake/frames")
    with pytest.raises((StorageError, CorruptDataError)):
        publish_table(catalog, table, str(farm.path / "lake/frames"))
    catalog.close()
    assert run(farm)["frames"].rows == 51


class Interrupting(Catalog):
    """A real catalog during whose reading another program commits to the lake."""

    def __init__(self, url, lake):
        super().__init__(url)
        self.lake, self.reads = lake, 0

    def pages(self, select, key, rows=10_000):
        self.reads += 1
        if self.reads == 2:
            DeltaTable(self.lake).delete("id LIKE '%0002%'")
        yield from super().pages(select, key, rows)


def test_a_place_that_refuses_is_a_storage_error(farm):
    (farm.path / "lake").write_text("a file")
    with pytest.raises(StorageError, match="lake") as said:
        run(farm)

    assert "\n" not in str(said.value)
    assert str(said.value).isprintable()


@pytest.fixture
def other_server(monkeypatch):
    """An S3 server in a process of its own: deltalake lets no other thread run while it waits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    yield
    server.terminate()
    server.wait()


@pytest.mark.slow
def test_a_lake_in_a_bucket(other_server, tmp_path):
    boto3.client("s3").create_bucket(Bucket="lakes")
    farm = besana.Workspace.create(tmp_path / "farm", 'store = "s3://lakes/barn"\n')
    farm.catalog.insert(frames, [frame(number) for number in range(5)])
    assert run(farm)["frames"].inserted == 5
    assert run(farm)["frames"].version == 1
    assert run(farm)[samples.name].rows == 0
    farm.catalog.close()
