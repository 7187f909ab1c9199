"""What `clean` writes for a small farm, for every kind of bad picture, and after a kill."""

from __future__ import annotations

import csv
import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import sqlalchemy as sa
from inline_engine import Inline
from PIL import Image

from besana import catalog as tables
from besana.engines import Engine, open_engine
from besana.images.guard import Bounds
from besana.images.look import FrameJob, look_partition
from besana.simulation.barn import Barn, BarnSettings, write_barn
from besana.stages import clean, collect
from besana.storage import read_original
from besana.workspace import Report, Workspace


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def jpeg(pixels: np.ndarray, quality: int = 85) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality)


def collected(folder: Path, files: dict[str, bytes], settings: str = "") -> Workspace:
    """A workspace of frames with these names and bytes."""
    source = folder / "pictures"
    for name, data in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    workspace = Workspace.create(folder / "farm", settings)
    collect.run(
        workspace, collect.Config(source=[str(source)], settle_s=0), open_engine("local", 1)
    )
    return workspace


def cleaned(workspace: Workspace, engine: Engine | None = None, **settings: Any) -> Report:
    config = clean.Config(**settings) if settings else None
    return clean.run(workspace, config, engine or Inline())


def issues(workspace: Workspace) -> dict[str, set[str]]:
    """Issue kinds by file name."""
    rows = workspace.catalog.rows(
        sa.select(tables.frames.c.name, tables.issues.c.kind).where(
            tables.frames.c.id == tables.issues.c.frame_id
        )
    )
    found: dict[str, set[str]] = {}
    for name, kind in rows:
        found.setdefault(Path(name).name, set()).add(kind)
    return found


def content(workspace: Workspace) -> list[list[str]]:
    """All rows that `clean` writes, without times."""
    return [
        sorted(repr(tuple(row)) for row in workspace.catalog.rows(sa.select(*columns)))
        for columns in (
            tables.quality.c,
            [column for column in tables.issues.c if column.name != "found_at"],
            [tables.properties.c.key, tables.properties.c.value],
        )
    ]


@pytest.fixture(scope="module")
def barn_farm(farm: Barn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated barn, collected."""
    path = tmp_path_factory.mktemp("clean") / "farm"
    path.mkdir()
    shutil.copy(farm.path / "besana.toml", path)
    workspace = Workspace(path)
    collect.run(workspace, collect.Config(source=[str(farm.frames)], settle_s=0), Inline())
    workspace.catalog.close()
    return path


@pytest.fixture
def barn(barn_farm: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(barn_farm, tmp_path / "farm"))


def test_every_simulated_fault_is_found_and_nothing_else_blocks(
    farm: Barn, barn: Workspace
) -> None:
    report = cleaned(barn)
    with open(farm.path / "faults.csv", newline="") as file:
        expected = {Path(row["frame"]).name: row["issue"] for row in csv.DictReader(file)}
    found = issues(barn)
    readable = {name for name, kind in expected.items() if kind != "not_an_image"}
    for name in readable:
        assert expected[name] in found[name]
    assert set(found) <= set(expected)
    assert report.counts_in == report.counts_out + sum(report.dropped.values())
    assert report.counts_in == barn.catalog.count(sa.select(tables.frames)) - 2
    assert (
        barn.catalog.count(sa.select(tables.quality))
        == report.counts_in - report.dropped["truncated"]
    )
    assert {"dark", "exact_duplicate", "truncated"} == set(report.dropped)
    table = next(section for section in report.sections if section.title == "Issues")
    blocks = {kind: blocking for kind, _, blocking in table.rows}
    assert {kind for kind, blocking in blocks.items() if blocking} == {
        *("dark", "exact_duplicate", "truncated", "not_an_image")
    }
    assert set(blocks.values()) == {True, False}


def test_clean_before_collect_says_what_comes_first(tmp_path: Path) -> None:
    report = clean.run(Workspace.create(tmp_path / "farm"))
    assert report.warnings == ["There are no frames yet: collect some first."]


def test_second_run_changes_nothing(barn: Workspace) -> None:
    cleaned(barn)
    before = content(barn)
    found_at = barn.catalog.rows(sa.select(tables.issues))
    report = cleaned(barn)
    assert (report.counts_in, report.counts_out) == (0, 0)
    assert content(barn) == before
    assert barn.catalog.rows(sa.select(tables.issues)) == found_at


def test_setting_changes_only_the_issues_it_concerns(barn: Workspace) -> None:
    cleaned(barn)
    before = {tuple(row) for row in barn.catalog.rows(sa.select(tables.issues))}
    cleaned(barn, blur_below=1e9)
    now = {tuple(row) for row in barn.catalog.rows(sa.select(tables.issues))}
    blurry = {row for row in now if row[1] == "blurry"}
    assert len(blurry) > 100
    assert before <= now
    assert {row[1] for row in now - before} == {"blurry"}
    cleaned(barn)
    assert {row[:2] for row in before} == {
        tuple(row)[:2] for row in barn.catalog.rows(sa.select(tables.issues))
    }


RUN = """
import sys
from besana.engines import open_engine
from besana.stages import clean
from besana.workspace import Workspace
if __name__ == "__main__":
    clean.run(Workspace(sys.argv[1]), None, open_engine("local", 1))
"""


def test_killed_run_continues_to_the_same_rows(barn: Workspace, tmp_path: Path) -> None:
    killed = Workspace(shutil.copytree(barn.path, tmp_path / "killed"))
    cleaned(barn)
    for count in (1, 80):  # rows after which to kill
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(killed.path)], start_new_session=True
        )
        while (
            process.poll() is None
            and killed.catalog.count(sa.select(tables.quality.c.frame_id)) < count
        ):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    cleaned(killed)
    assert content(killed) == content(barn)


def test_moved_camera_is_found_from_its_frame_on(tmp_path: Path) -> None:
    view = scene(1, (400, 300))
    files = {}
    for number in range(30):
        rng = np.random.default_rng(number)
        shown = view.copy()
        x, y = rng.integers(0, 200, 2)
        shown[y : y + 40, x : x + 60] = rng.integers(0, 255, 3)
        if number >= 24:
            shown = np.roll(shown, (6, -15), axis=(0, 1))
        files[f"pen/2026-01-01T{number // 2:02d}-{30 * (number % 2):02d}-00.jpg"] = jpeg(shown)
    workspace = collected(tmp_path, files, "[cameras.pen]\nfiles = 'pen/*'\n")
    cleaned(workspace)
    moved = {name for name, kinds in issues(workspace).items() if "camera_moved" in kinds}
    assert moved == {Path(name).name for name in sorted(files)[24:]}
    row = workspace.catalog.rows(sa.select(tables.quality).order_by(tables.quality.c.frame_id))[-1]
    assert (row.shift_x_px, row.shift_y_px) == pytest.approx((-15, 6), abs=1.5)
    assert (
        workspace.catalog.count(
            sa.select(tables.quality).where(tables.quality.c.thumbnail.is_not(None))
        )
        == 0
    )


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Barn:
    """Two days and nights of a small simulated barn, a frame every 15 minutes."""
    settings = BarnSettings(days=2, interval_s=900, width_px=320, faults=False)
    return write_barn(tmp_path_factory.mktemp("still") / "barn", settings)


@pytest.mark.parametrize(
    "moves",
    [
        pytest.param({}, id="never"),
        pytest.param({30: (9, -4)}, id="early, in the first night"),
        pytest.param({60: (9, -4)}, id="by day, before half of the pictures"),
        pytest.param({150: (-8, 6)}, id="late"),
        pytest.param({50: (9, 0), 130: (9, 12)}, id="twice"),
        pytest.param({50: (9, 0), 130: (0, 0)}, id="and set right again"),
    ],
)
def test_moved_simulated_camera_is_one_event_and_flagged_by_day_and_night(
    two_days: Barn, tmp_path: Path, moves: dict[int, tuple[int, int]]
) -> None:
    names = sorted(path.name for path in (two_days.frames / "barn-1").iterdir())
    at, files, expected = (0, 0), {}, set()
    for number, name in enumerate(names):
        at = moves.get(number, at)
        pixels = simplejpeg.decode_jpeg((two_days.frames / "barn-1" / name).read_bytes())
        files[f"barn-1/{name}"] = jpeg(np.roll(pixels, at, axis=(1, 0)))
        if at != (0, 0):
            expected.add(name)
    workspace = collected(tmp_path, files, two_days.settings_toml.read_text())
    report = cleaned(workspace)

    moved = {name for name, kinds in issues(workspace).items() if "camera_moved" in kinds}
    assert moved == expected
    tables_shown = [s for s in report.sections if s.title == "Moved cameras"]
    rows = tables_shown[0].rows if tables_shown else []
    assert len(rows) == len(moves)
    for (number, offset), (camera, first, x_px, y_px) in zip(moves.items(), rows, strict=True):
        stem = Path(names[number]).stem
        at_utc = dt.datetime.fromisoformat(f"{stem[:10]}T{stem[11:].replace('-', ':')}-05:00")
        assert camera == "barn-1"
        assert first.startswith(f"barn-1/{at_utc.astimezone(dt.UTC):%Y%m%dT%H%M%S}")
        assert (x_px, y_px) == pytest.approx(offset, abs=1.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demos_camera_never_moved(tmp_path: Path) -> None:
    barn = write_barn(tmp_path / "barn", BarnSettings(), open_engine("local"))
    workspace = Workspace.create(tmp_path / "farm", barn.settings_toml.read_text())
    collect.run(workspace, collect.Config(source=[str(barn.frames)], in_place=True, settle_s=0))
    report = clean.run(workspace)

    assert report.counts_in > 4000
    assert not any("camera_moved" in kinds for kinds in issues(workspace).values())
    assert "Moved cameras" not in [section.title for section in report.sections]


def test_turned_and_recompressed_copies_name_what_they_copy(tmp_path: Path) -> None:
    leaf, other = scene(3, (96, 96)), scene(4, (96, 96))
    files = {
        "a1.jpg": jpeg(leaf),
        "a2.jpg": jpeg(np.rot90(leaf)),
        "a3.jpg": jpeg(leaf[:, ::-1]),
        "a4.jpg": jpeg(leaf, 40),
        "b1.jpg": jpeg(other),
        "b2.jpg": jpeg(other) + b"tail",
    }
    workspace = collected(tmp_path, files)
    cleaned(workspace)
    rows = workspace.catalog.rows(
        sa.select(tables.issues.c.frame_id, tables.issues.c.detail).where(
            tables.issues.c.kind == "near_duplicate"
        )
    )
    named = {frame.split("/")[1][:2]: detail.split("/")[1][:2] for frame, detail in rows}
    assert named == {"a2": "a1", "a3": "a1", "a4": "a1", "b2": "b1"}
    cleaned(workspace, turned_copies=False)
    assert {name for name, kinds in issues(workspace).items() if "near_duplicate" in kinds} == {
        "a4.jpg",
        "b2.jpg",
    }


def test_signalless_and_repeated_frames_are_told_and_kept(tmp_path: Path) -> None:  # B23
    files = {f"same{number}.jpg": jpeg(scene(7)) for number in range(40)}
    files |= {"black.jpg": jpeg(np.zeros((120, 160, 3), np.uint8))}
    files |= {"white.jpg": jpeg(np.full((120, 160, 3), 255, np.uint8))}
    workspace = collected(tmp_path, files)
    report = cleaned(workspace, max_dropped_share=1.0)
    found = issues(workspace)
    assert found["black.jpg"] == found["white.jpg"] == {"no_signal"}
    assert sum(kinds == {"exact_duplicate"} for kinds in found.values()) == 39
    assert report.dropped == {"no_signal": 2, "exact_duplicate": 39}
    assert len(list(workspace.frames.list())) == 3  # every content once, nothing deleted


def png(pixels: np.ndarray, folder: Path) -> bytes:
    Image.fromarray(pixels).save(folder / "made.png")
    return (folder / "made.png").read_bytes()


def test_picture_that_needs_too_much_memory_loses_only_itself(tmp_path: Path) -> None:
    huge = png(np.zeros((5000, 6000, 3), np.uint8), tmp_path)
    workspace = collected(tmp_path, {"huge.png": huge, "good.jpg": jpeg(scene(1))})
    report = cleaned(workspace, open_engine("local", 1), decode_memory_bytes=64_000_000)
    assert issues(workspace) == {"huge.png": {"decoder_died"}}
    assert (report.counts_out, report.dropped) == (1, {"decoder_died": 1})
    cleaned(workspace)  # with more memory it is looked at again
    assert issues(workspace) == {"huge.png": {"no_signal"}}


def test_missing_end_mark_follows_the_setting(tmp_path: Path) -> None:  # B3
    workspace = collected(tmp_path, {"cut.jpg": jpeg(scene(1))[:-2], "good.jpg": jpeg(scene(2))})
    cleaned(workspace)
    rows = workspace.catalog.rows(sa.select(tables.issues.c.kind, tables.issues.c.blocks))
    assert rows == [("missing_eoi", True)]
    report = cleaned(workspace, allow_missing_eoi=True)
    rows = workspace.catalog.rows(sa.select(tables.issues.c.kind, tables.issues.c.blocks))
    assert rows == [("missing_eoi", False)]
    assert (report.counts_in, report.counts_out) == (1, 1)


def test_changed_bytes_are_caught_by_their_hash(tmp_path: Path) -> None:  # B5
    workspace = collected(tmp_path, {"a.jpg": jpeg(scene(1)), "b.jpg": jpeg(scene(2))})
    key = workspace.catalog.rows(sa.select(tables.frames))[0].bands[0]["key"]
    data = bytearray(workspace.frames.read(key))
    data[len(data) // 2] ^= 1
    workspace.frames.write(key, bytes(data))
    cleaned(workspace)
    (detail,) = workspace.catalog.rows(sa.select(tables.issues.c.kind, tables.issues.c.detail))
    assert detail[0] == "damaged"
    assert "changed since it was collected" in detail[1]


def test_missing_original_is_looked_for_again(tmp_path: Path) -> None:
    workspace = collected(tmp_path, {"a.jpg": jpeg(scene(1)), "b.jpg": jpeg(scene(2))})
    key = workspace.catalog.rows(sa.select(tables.frames))[0].bands[0]["key"]
    data = workspace.frames.read(key)
    workspace.frames.delete(key)
    assert cleaned(workspace).dropped == {"missing": 1}
    workspace.frames.write(key, data)
    assert cleaned(workspace).counts_out == 1
    assert issues(workspace) == {}


def test_deep_samples_wait_for_a_scale(tmp_path: Path) -> None:  # B15
    deep = (scene(1)[..., 0].astype(np.uint16) * 16) + 100
    files = {"thermal/a.png": png(deep, tmp_path), "thermal/b.jpg": jpeg(scene(2))}
    workspace = collected(tmp_path, files, "[cameras.thermal]\nfiles = 'thermal/*'\n")
    cleaned(workspace)
    assert issues(workspace) == {"a.png": {"needs_scale"}}
    settings = "[cameras.thermal]\nfiles = 'thermal/*'\nscale = [100, 4196]\n"
    (workspace.path / "besana.toml").write_text(settings)
    again = Workspace(workspace.path)
    assert cleaned(again).counts_out == 1
    assert issues(again) == {}


def test_looking_needs_nothing_but_bytes(tmp_path: Path) -> None:
    workspace = collected(tmp_path, {"a.jpg": jpeg(scene(1))})
    (row,) = workspace.catalog.rows(sa.select(tables.frames))
    jobs: Sequence[FrameJob] = [FrameJob(row.id, row.bands, workspace.camera("x"), {})]
    looks = look_partition(jobs, read=partial(read_original, workspace.frames), bounds=Bounds())
    assert [figures["frame_id"] for figures in looks.quality] == [row.id]
    assert looks.with_thumbnails == {row.camera}


def test_engine_may_have_many_workers(barn: Workspace) -> None:
    engine: Engine = open_engine("local", 2)
    report = clean.run(barn, None, engine)
    assert report.peak_memory_bytes > 0
    titles = [section.title for section in report.sections]
    assert titles[:2] == ["Thresholds", "Issues"]
    assert "Worst frames: dark" in titles
