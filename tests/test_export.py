"""Labels and samples that were exported are whole, safe to open, and come back unchanged."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from besana import catalog as tables
from besana.commands import export
from besana.errors import ConfigError, CorruptDataError, NotReadyError
from besana.labels.events import Event, add_events
from besana.shards.example import parse_example
from besana.shards.manifest import open_manifest
from besana.shards.tfrecord import read_records
from besana.shards.writer import ShardWriter, sample_example
from besana.stages import label, split
from besana.workspace import Workspace

NOW = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
CLASSES = ("cow", "maíz/otro", "=1+1")


@pytest.fixture
def farm(tmp_path: Path) -> Workspace:
    """Thirty samples in one shard, each labelled by one person."""
    workspace = Workspace.create(tmp_path / "farm")
    events = add_samples(workspace, 30)
    add_events(workspace.catalog, events, now=NOW)
    return workspace


def picture(number: int) -> bytes:
    return b"\xff\xd8\xff picture %d" % number


def add_samples(workspace: Workspace, count: int) -> Sequence[Event]:
    frames, samples, events = [], [], []
    with ShardWriter(workspace.shards, "a.tfrecord") as writer:
        for i in range(count):
            frame_id = f"pen/{i:03d}-x"
            example = sample_example(
                f"{frame_id}/all",
                picture(i),
                image_format="jpeg",
                height_px=8,
                width_px=8,
                channels=3,
            )
            place = writer.add(example)
            frames.append(frame_row(frame_id, i))
            samples.append(
                {
                    "frame_id": frame_id,
                    "region": "all",
                    "recipe": "r",
                    "shard": place.shard,
                    "offset_bytes": place.offset_bytes,
                    "length_bytes": place.length_bytes,
                    "payload_offset_bytes": place.payload_offset_bytes,
                    "payload_length_bytes": place.payload_length_bytes,
                    "crc32c": place.crc32c,
                    "width_px": 8,
                    "height_px": 8,
                    "channels": 3,
                    "prepared_at": NOW,
                }
            )
            note = "@sum(1)" if i == 0 else ""
            said = (CLASSES[i % 3], True, "ana", "web", NOW, note)
            events.append(Event(frame_id, "all", *said))
    workspace.catalog.insert(tables.frames, frames)
    workspace.catalog.insert(tables.samples, samples)
    return events


def frame_row(frame_id: str, number: int) -> dict[str, Any]:
    return {
        "id": frame_id,
        "camera": "pen",
        "captured_at": NOW + dt.timedelta(hours=2 * number),
        "time_source": "name",
        "name": f"{number:03d}.jpg",
        "source": f"file:///{number}",
        "source_size_bytes": 1,
        "source_modified_ns": 1,
        "bands": [],
        "sha256": f"{number:064x}",
        "size_bytes": 1,
        "width_px": 8,
        "height_px": 8,
        "metadata": {},
        "collected_at": NOW,
    }


def run(workspace: Workspace, what: str, out: Path, **settings: Any) -> int:
    return export.run(workspace, export.Config(what=what, out=str(out), **settings))


def freeze(workspace: Workspace) -> None:
    split.run(workspace, split.Config(method="fractions", block_minutes=60))


def test_labels_come_back_into_an_equal_workspace(farm: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    assert run(farm, "labels", path) == 30
    other = Workspace.create(tmp_path / "other")
    add_samples(other, 30)

    label.run(other, label.Config(file=[str(path)]))

    def content(workspace: Workspace) -> set[tuple[Any, ...]]:
        rows = workspace.catalog.rows(sa.select(tables.labels))
        return {tuple(row[:-1]) for row in rows}

    assert content(other) == content(farm)
    again = label.run(farm, label.Config(file=[str(path)]))
    assert (again.counts_out, dict(again.dropped)) == (0, {"already_there": 30})


def test_no_cell_of_exported_labels_is_a_formula(farm: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    run(farm, "labels", path)
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=1+1" in cells
    assert "'@sum(1)" in cells
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def test_current_labels_are_one_row_a_sample(farm: Workspace, tmp_path: Path) -> None:
    other = Event("pen/000-x", "all", "empty", True, "eva", "web", NOW)
    later = Event("pen/001-x", "all", "empty", True, "ana", "web", NOW + dt.timedelta(days=1))
    add_events(farm.catalog, [other, later], now=NOW)

    assert run(farm, "labels", tmp_path / "l.csv", current=True) == 30

    with (tmp_path / "l.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["frame"]: row for row in csv.DictReader(file)}
    assert rows["pen/000-x"] == {
        "frame": "pen/000-x",
        "name": "000.jpg",
        "camera": "pen",
        "captured_at": "2024-05-01T00:00:00+00:00",
        "region": "all",
        "class": "cow",
        "holds": "true",
        "votes": "1",
        "voters": "2",
        "tied": "true",
    }
    assert rows["pen/001-x"]["class"] == "empty"
    assert len(rows) == 30


def test_samples_become_class_folders_and_come_back(farm: Workspace, tmp_path: Path) -> None:
    freeze(farm)

    assert run(farm, "folders", tmp_path / "out") == 30

    files = list((tmp_path / "out").rglob("*.jpg"))
    assert len(files) == 30
    assert {path.parent.name for path in files} == {"cow", "maíz%2Fotro", "=1+1"}
    assert {path.parent.parent.name for path in files} <= {"train", "validation", "test"}
    for path in files:
        number = int(path.name.split("~")[1][:3])
        assert path.read_bytes() == picture(number)
    moved = next(path for path in files if path.parent.name == "cow")
    number = int(moved.name.split("~")[1][:3])
    moved.rename(moved.parent.parent / "maíz%2Fotro" / moved.name)

    report = label.run(farm, label.Config(file=[str(tmp_path / "out")], annotator="ana"))

    assert (report.counts_in, report.counts_out) == (30, 1)
    current = farm.catalog.rows(sa.select(tables.current_labels))
    assert {row.frame_id: row.class_name for row in current}[f"pen/{number:03d}-x"] == CLASSES[1]


def test_an_export_continues_and_never_mixes(farm: Workspace, tmp_path: Path) -> None:
    freeze(farm)
    out = tmp_path / "out"
    run(farm, "folders", out)
    lost = next(out.rglob("*.jpg"))
    lost.unlink()
    assert run(farm, "folders", out) == 30
    assert lost.exists()
    with pytest.raises(ConfigError, match="something else"):
        run(farm, "folders", out, split="test")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(ConfigError, match="something else"):
        run(farm, "folders", tmp_path / "full")


def test_samples_become_tfrecord_with_labels_inside(farm: Workspace, tmp_path: Path) -> None:
    freeze(farm)
    out = tmp_path / "out"

    assert run(farm, "tfrecord", out) == 30

    texts = []
    for path in out.glob("*.tfrecord"):
        with path.open("rb") as stream:
            for _, data in read_records(stream):
                example = parse_example(data)
                assert example["image/class/label"]
                texts.append(bytes(example["image/class/text"][0]).decode())
    assert sorted(texts) == sorted(CLASSES * 10)
    assert len(open_manifest(out / "manifest.parquet")) == 30
    assert run(farm, "tfrecord", out) == 30
    with pytest.raises(ConfigError, match="something else"):
        run(farm, "folders", out)


def test_a_changed_shard_is_not_exported(farm: Workspace, tmp_path: Path) -> None:
    freeze(farm)
    path = farm.shards.local_path("a.tfrecord")
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError):
        run(farm, "folders", tmp_path / "out")


def test_nothing_to_export_says_what_to_do(tmp_path: Path) -> None:
    empty = Workspace.create(tmp_path / "empty")
    with pytest.raises(NotReadyError, match="besana label"):
        run(empty, "labels", tmp_path / "l.csv")
    with pytest.raises(NotReadyError, match="besana split"):
        run(empty, "folders", tmp_path / "out")
    assert not (tmp_path / "l.csv").exists()
