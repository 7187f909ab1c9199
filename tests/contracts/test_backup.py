"""Backups: made while others write, restored to the same rows, refused if damaged."""

from __future__ import annotations

import datetime as dt
import os
import re
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from besana import Workspace
from besana.backup import LIST, BackupSettings, back_up, backup_names, last_backup_at, restore
from besana.catalog import Catalog, labels, samples
from besana.catalog.move import moved_tables, state
from besana.catalog.web import create_tables
from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.learning.runs import all_runs
from besana.shards.datasets import open_dataset
from besana.stages import train
from besana.storage import Folder, open_storage
from besana.web.people import FILE, People
from small_dataset import striped_dataset

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
PASSWORD = "a long enough password"
LENS = '[cameras.pen.lens]\nfile = "lenses/pen.json"\n'

# Says labels, one a transaction, and prints each when it is durable.
WRITER = """
import sys, datetime as dt
from besana.catalog import Catalog, labels
catalog = Catalog(sys.argv[1])
now = dt.datetime.now(dt.UTC)
for number in range(100_000):
    catalog.insert(labels, [dict(
        id=f"said-{number}", frame_id=f"f{number % 40}", region="bed-1", class_name="upright",
        holds=True, annotator="ana", source="web", labelled_at=now, note="", added_at=now)])
    print(number, flush=True)
"""


def farm_with(tmp_path: Path, catalog_url: str = "") -> Workspace:
    """A farm with a dataset, labels, people and a camera with a calibration file."""
    line = f'catalog = "{catalog_url}"\n' if catalog_url.startswith("postgresql") else ""
    workspace = Workspace.create(tmp_path / "farm", f"{line}{LENS}")
    (workspace.path / "lenses").mkdir()
    (workspace.path / "lenses/pen.json").write_text(calibration())
    workspace.read_settings()
    striped_dataset(workspace)
    create_tables(workspace.catalog)
    people = People(workspace.path / FILE)
    people.start(people.one_time_token(), "ana", PASSWORD)
    people.close()
    return workspace


@pytest.fixture
def farm(tmp_path: Path, catalog_url: str) -> Iterator[Workspace]:
    """A farm with each kind of catalog."""
    made = farm_with(tmp_path, catalog_url)
    yield made
    made.catalog.close()


def calibration() -> str:
    """What OpenCV's samples write."""
    storage = cv2.FileStorage("{}.json", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    storage.write("camera_matrix", np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]))
    storage.write("distortion_coefficients", np.array([-0.2, 0.05, 0, 0, 0]))
    return storage.releaseAndGetString()


def states(catalog: Catalog) -> dict:
    return {table.name: state(catalog, table) for table in moved_tables(catalog)}


def emptied(catalog_url: str) -> None:
    """Lose a PostgreSQL catalog as a dropped database is lost."""
    home, name = catalog_url.rpartition("=")[2], sa.make_url(catalog_url).database
    with psycopg.connect(f"host={home} user=besana dbname=postgres", autocommit=True) as server:
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{name}"')


def test_a_restored_farm_has_the_same_rows_people_dataset_and_lens(farm, tmp_path, catalog_url):
    before = states(farm.catalog)
    made = back_up(farm, BackupSettings(), NOW)
    farm.catalog.close()
    if catalog_url.startswith("postgresql"):
        emptied(catalog_url)

    restored = restore(tmp_path / "other", str(farm.path / "backups"))

    assert restored == made
    other = Workspace(tmp_path / "other")
    assert states(other.catalog) == before
    assert before["samples"].rows == made.rows["samples"] > 0
    dataset = open_dataset(other, "default")
    assert dataset.hash == open_dataset(farm, "default").hash
    assert other.cameras["pen"].lens == farm.cameras["pen"].lens
    people = People(other.path / FILE)
    assert people.sign_in("ana", PASSWORD)
    people.close()
    assert (other.path / FILE).stat().st_mode & 0o777 == 0o600
    other.catalog.close()


def test_a_backup_holds_what_was_said_before_it_began_while_others_write(
    farm, tmp_path, catalog_url
):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, farm.catalog.url], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            before = [int(writer.stdout.readline()) for _ in range(20)][-1]
            back_up(farm, BackupSettings(), NOW)
            after = [int(writer.stdout.readline()) for _ in range(20)][-1]
        finally:
            writer.kill()
    farm.catalog.close()
    if catalog_url.startswith("postgresql"):
        emptied(catalog_url)

    restore(tmp_path / "other", str(farm.path / "backups"))

    other = Workspace(tmp_path / "other")
    said = {row.id for row in other.catalog.rows(sa.select(labels.c.id))}
    assert {f"said-{number}" for number in range(before + 1)} <= said
    # One moment: whatever is in it, everything said earlier is in it too.
    assert said == {f"said-{number}" for number in range(len(said))}
    assert after > before
    other.catalog.close()


@pytest.mark.parametrize("catalog_url", ["postgresql"], indirect=True)
def test_a_postgresql_catalog_that_has_rows_is_left_alone(farm, tmp_path, catalog_url):
    back_up(farm, BackupSettings(), NOW)
    before = states(farm.catalog)

    with pytest.raises(ConfigError, match="holds another farm"):
        restore(tmp_path / "other", str(farm.path / "backups"))

    assert states(farm.catalog) == before
    assert not (tmp_path / "other").exists()


def test_a_bucket_keeps_the_last_ones(tmp_path, s3_bucket):
    farm = farm_with(tmp_path)
    place = f"{s3_bucket}/{uuid.uuid4().hex}"
    settings = BackupSettings(to=place, keep=2)
    days = [NOW + dt.timedelta(days=day) for day in range(4)]
    begun = f"{days[2]:%Y-%m-%dT%H-%M-%S}-000001Z/web.db.gz"
    old = f"{days[0]:%Y-%m-%dT%H-%M-%S}-000001Z/web.db.gz"
    strange = "somebody-elses/backup.json"
    for key in (begun, old, strange):
        open_storage(place).write(key, b"half of one")

    made = [back_up(farm, settings, day) for day in days[:3]]

    assert backup_names(open_storage(place)) == [m.name for m in made[1:]]
    # What somebody may still be at work on stays; what was given up goes.
    assert open_storage(place).size(begun) is not None
    assert open_storage(place).size(strange) is not None
    assert open_storage(place).size(old) is None
    assert last_backup_at(farm.catalog) == days[2]
    assert restore(tmp_path / "other", place, made[1].name) == made[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A farm with two backups."""
    farm = farm_with(tmp_path_factory.mktemp("saved"))
    return farm, [back_up(farm, BackupSettings(), NOW + dt.timedelta(days=day)) for day in (0, 1)]


def test_a_changed_byte_is_found_before_anything_is_restored(saved, tmp_path):
    farm, (first, last) = saved
    folder = farm.path / "backups" / last.name
    for key in last.files:
        path, data = folder / key, bytearray((folder / key).read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptDataError, match=f"'{key}' of the backup {last.name} is damaged"):
            restore(tmp_path / "other", str(farm.path / "backups"))
        assert not list(tmp_path.iterdir())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (folder / LIST).write_text("{}")
    with pytest.raises(CorruptDataError, match="not the list of a backup"):
        restore(tmp_path / "other", str(farm.path / "backups"), last.name)
    assert restore(tmp_path / "other", str(farm.path / "backups"), first.name) == first


def test_nothing_is_restored_over_something(saved, tmp_path):
    farm, (first, _) = saved
    with pytest.raises(ConfigError, match="Something lies in"):
        restore(farm.path, str(farm.path / "backups"))
    with pytest.raises(NotFoundError, match="No backup 'yesterday'"):
        restore(tmp_path / "other", str(farm.path / "backups"), "yesterday")
    with pytest.raises(NotFoundError, match="No backup in"):
        restore(tmp_path / "other", str(tmp_path))
    (tmp_path / ".other.restoring").mkdir()
    (tmp_path / ".other.restoring/catalog.db").write_text("half of a restore that was killed")
    assert restore(tmp_path / "other", str(farm.path / "backups"), first.name) == first


@pytest.mark.slow
def test_a_killed_backup_is_none_and_the_next_one_is_whole(tmp_path):
    farm = farm_with(tmp_path)
    place = open_storage(farm.path / "backups")
    whole = 0
    for number in range(12):
        with subprocess.Popen(
            [sys.executable, "-m", "besana", "backup", str(farm.path), "--quiet"],
            stdout=subprocess.DEVNULL,
        ) as process:
            time.sleep(0.4 + 0.05 * number)
            process.send_signal(signal.SIGKILL)
        whole += process.returncode == 0
        assert len(backup_names(place)) >= whole
    last = back_up(farm, BackupSettings(), dt.datetime.now(dt.UTC))
    assert restore(tmp_path / "other", str(farm.path / "backups")) == last
    for name in backup_names(place):
        restore(tmp_path / f"other-{name}", str(farm.path / "backups"), name)


@pytest.mark.slow
def test_a_restored_farm_trains_the_same_and_remembers_its_trainings(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    farm = farm_with(tmp_path)
    settings = {"strategy": "scratch", "backbone": "timm/test_resnet", "size_px": 32, "epochs": 1}
    train.run(farm, train.Config(**settings))
    back_up(farm, BackupSettings(), NOW)

    restore(tmp_path / "other", str(farm.path / "backups"))

    other = Workspace(tmp_path / "other")
    assert (other.path / "runs/mlflow.db").exists()
    Folder(other.path / "shards").write("a.tfrecord", farm.shards.read("a.tfrecord"))
    train.run(other, train.Config(**settings))
    one, two = (next(all_runs(each)).record["history"] for each in (farm, other))
    assert [epoch["train_loss"] for epoch in one] == [epoch["train_loss"] for epoch in two]
    assert other.catalog.counted(samples) == farm.catalog.counted(samples)


@pytest.mark.parametrize("room_bytes", [20_000, 500_000])
def test_a_disk_that_has_no_room_leaves_no_half(tmp_path, room_bytes):
    farm = farm_with(tmp_path)
    noise = os.urandom(1_000_000)  # a lens file that gzip does not get small
    (farm.path / "lenses/pen.json").write_bytes(calibration().encode() + b"\n" + noise)
    done = subprocess.run(
        [sys.executable, "-m", "besana", "backup", str(farm.path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, room_bytes)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.match("Error: .*(File too large|disk I/O error|disk is full)", done.stderr), (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    assert not list((farm.path / "backups").glob("*"))
    assert not list(farm.temporary.glob("backup-*"))
    assert last_backup_at(farm.catalog) is None
