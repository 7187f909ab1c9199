"""What `prepare` packs for a small farm: the right pixels, once, whatever happens in between."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
import tifffile
from inline_engine import Inline
from PIL import Image

from besana import catalog as tables
from besana.engines import open_engine
from besana.errors import NotReadyError
from besana.images.decode import decode
from besana.images.encode import encode_jpeg, encode_png
from besana.shards.example import parse_example
from besana.shards.tfrecord import read_records
from besana.simulation.barn import Barn
from besana.stages import clean, collect, prepare
from besana.workspace import Report, Workspace


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def cleaned(folder: Path, files: dict[str, bytes], settings: str = "") -> Workspace:
    """A workspace whose frames with these names and bytes were collected and cleaned."""
    source = folder / "pictures"
    for name, data in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    workspace = Workspace.create(folder / "farm", settings)
    collect.run(workspace, collect.Config(source=[str(source)], settle_s=0), Inline())
    clean.run(workspace, None, Inline())
    return workspace


def prepared(workspace: Workspace, **settings: Any) -> Report:
    return prepare.run(workspace, prepare.Config(**settings) if settings else None, Inline())


def with_settings(workspace: Workspace, text: str) -> Workspace:
    (workspace.path / "besana.toml").write_text(text)
    return Workspace(workspace.path)


def samples(workspace: Workspace) -> list[sa.Row[Any]]:
    s = tables.samples.c
    return workspace.catalog.rows(sa.select(tables.samples).order_by(s.frame_id, s.region))


def example(workspace: Workspace, row: sa.Row[Any]) -> dict[str, Any]:
    """The sample's record, read through its row."""
    data = workspace.shards.read_range(row.shard, row.offset_bytes, row.length_bytes)
    ((_, payload),) = read_records(io.BytesIO(data), name=row.shard)
    return parse_example(payload)


def pixels(workspace: Workspace, row: sa.Row[Any]) -> np.ndarray:
    """All bands of a sample, in the order that its record tells."""
    features = example(workspace, row)
    names = [name.decode() for name in features.get("image/bands", [])]
    parts = [features["image/encoded"][0]] + [features[f"image/encoded/{n}"][0] for n in names]
    return np.concatenate([decode(part).pixels for part in parts], axis=2)


def content(workspace: Workspace) -> list[str]:
    """Every row without its times, with the digest of what it points at."""
    rows = []
    for row in samples(workspace):
        features = example(workspace, row)
        values = {k: v for k, v in row._mapping.items() if k != "prepared_at"}
        rows.append(f"{values} {features['image/key/sha256']}")
    return rows


@pytest.fixture(scope="module")
def barn_farm(farm: Barn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated barn, collected and cleaned."""
    path = tmp_path_factory.mktemp("prepare") / "farm"
    path.mkdir()
    shutil.copy(farm.path / "besana.toml", path)
    workspace = Workspace(path)
    collect.run(workspace, collect.Config(source=[str(farm.frames)], settle_s=0), Inline())
    clean.run(workspace, None, Inline())
    workspace.catalog.close()
    return path


@pytest.fixture
def barn(barn_farm: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(barn_farm, tmp_path / "farm"))


def test_every_usable_frame_gets_all_its_regions(barn: Workspace) -> None:
    report = prepared(barn)
    issues, quality = tables.issues.c, tables.quality.c
    blocked = sa.exists().where(issues.frame_id == quality.frame_id, issues.blocks)
    usable = barn.catalog.rows(sa.select(quality.frame_id).where(~blocked))
    expected = {(row.frame_id, f"bed-{n}") for row in usable for n in (1, 2, 3)}
    assert {(row.frame_id, row.region) for row in samples(barn)} == expected
    assert report.counts_in == report.counts_out == len(usable)
    assert report.facts["samples"] == len(expected)
    assert report.facts["decode_limit_frames_per_s"] > 0


def test_record_holds_the_undistorted_region_and_says_so(barn: Workspace) -> None:
    prepared(barn)
    row = next(row for row in samples(barn) if row.region == "bed-2")
    features = example(barn, row)
    frame = barn.catalog.rows(sa.select(tables.frames).where(tables.frames.c.id == row.frame_id))[0]
    lens = barn.camera(frame.camera).lens
    fx, fy = lens.focal_px
    matrix = np.array([[fx, 0, lens.centre_px[0]], [0, fy, lens.centre_px[1]], [0, 0, 1]])
    original = decode(barn.frames.read(frame.bands[0]["key"])).pixels
    whole = cv2.fisheye.undistortImage(original, matrix, np.array(lens.distortion), Knew=matrix)
    left, top, right, bottom = barn.camera(frame.camera).regions["bed-2"]
    expected = encode_jpeg(whole[int(top) : int(bottom), int(left) : int(right)], 90)
    difference = pixels(barn, row).astype(int) - decode(expected).pixels
    assert np.abs(difference).max() <= 16
    assert np.abs(difference).mean() < 0.5
    assert features["image/filename"] == [f"{row.frame_id}/bed-2".encode()]
    assert features["image/format"] == [b"jpeg"]
    assert features["image/height"] == [row.height_px]
    payload = barn.shards.read_range(row.shard, row.payload_offset_bytes, row.payload_length_bytes)
    assert features["image/encoded"] == [payload]


def test_second_run_does_nothing(barn: Workspace) -> None:
    prepared(barn)
    before, rows = sorted(barn.shards.list()), samples(barn)
    report = prepared(barn)
    assert (report.counts_in, report.counts_out) == (0, 0)
    assert (sorted(barn.shards.list()), samples(barn)) == (before, rows)


def test_redone_partition_is_the_same_file(barn: Workspace) -> None:
    prepared(barn)
    shards = {key: barn.shards.read(key) for key in barn.shards.list()}
    before = content(barn)
    with barn.catalog.transaction() as connection:  # as if killed before some commits
        gone = sorted(shards)[: len(shards) // 2]
        connection.execute(sa.delete(tables.samples).where(tables.samples.c.shard.in_(gone)))
    prepared(barn)
    assert content(barn) == before
    assert {key: barn.shards.read(key) for key in barn.shards.list()} == shards


RUN = """
import sys
from besana.engines import open_engine
from besana.stages import prepare
from besana.workspace import Workspace
if __name__ == "__main__":
    prepare.run(Workspace(sys.argv[1]), None, open_engine("local", 1))
"""


def test_killed_run_continues_to_the_same_samples(barn: Workspace, tmp_path: Path) -> None:
    killed = Workspace(shutil.copytree(barn.path, tmp_path / "killed"))
    prepare.run(barn, None, open_engine("local", 1))
    for count in (1, 200):  # rows after which to kill
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(killed.path)], start_new_session=True
        )
        while process.poll() is None and len(samples(killed)) < count:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    prepare.run(killed, None, open_engine("local", 1))
    assert content(killed) == content(barn)
    assert sorted(killed.shards.list()) == sorted(barn.shards.list())


def test_changed_region_prepares_only_its_camera_again(tmp_path: Path) -> None:
    files = {
        f"{pen}/{n}.jpg": encode_jpeg(scene(9 * n + len(pen)))
        for n in range(3)
        for pen in ("a", "bb")
    }
    settings = "[cameras.a]\nfiles = 'a/*'\n{}[cameras.bb]\nfiles = 'bb/*'\n"
    workspace = cleaned(tmp_path, files, settings.format(""))
    prepared(workspace)
    before = samples(workspace)
    changed = with_settings(workspace, settings.format("regions = {left = [0, 0, 80, 120]}\n"))
    report = prepared(changed)
    now = samples(changed)
    assert (report.counts_in, report.counts_out) == (3, 3)
    assert [row.region for row in now] == ["left"] * 3 + ["all"] * 3
    assert now[3:] == before[3:]
    assert len({row.recipe for row in now}) == 2


def test_smaller_samples_replace_the_larger_ones(tmp_path: Path) -> None:
    workspace = cleaned(tmp_path, {f"{n}.jpg": encode_jpeg(scene(n)) for n in range(4)})
    prepared(workspace)
    prepared(workspace, size_px=60)
    assert [(row.width_px, row.height_px) for row in samples(workspace)] == [(80, 60)] * 4


def test_frame_that_shows_no_region_is_counted_once(tmp_path: Path) -> None:
    settings = "[cameras.pen]\nfiles = 'pen/*'\nregions = {out = [500, 0, 600, 50]}\n"
    workspace = cleaned(tmp_path, {"pen/1.jpg": encode_jpeg(scene(1))}, settings)
    assert prepared(workspace).dropped == {"no_region_inside": 1}
    assert prepared(workspace).counts_in == 0
    again = with_settings(workspace, settings.replace("[500, 0, 600", "[100, 0, 150"))
    assert prepared(again).counts_out == 1
    assert again.catalog.count(sa.select(tables.issues)) == 0


def test_missing_original_is_tried_again(tmp_path: Path) -> None:
    workspace = cleaned(tmp_path, {f"{n}.jpg": encode_jpeg(scene(n)) for n in range(3)})
    key = workspace.catalog.rows(sa.select(tables.frames))[1].bands[0]["key"]
    data = workspace.frames.read(key)
    workspace.frames.delete(key)
    report = prepared(workspace)
    assert (report.counts_out, report.dropped) == (2, {"missing": 1})
    workspace.frames.write(key, data)
    assert prepared(workspace).counts_out == 1
    assert workspace.catalog.count(sa.select(tables.issues)) == 0


def test_samples_that_were_lost_or_damaged_are_prepared_again(barn: Workspace) -> None:
    prepared(barn)
    before = samples(barn)
    shards = sorted({row.shard for row in before})
    whole = {row.frame_id: example(barn, row) for row in before}
    assert prepared(barn, check=True).facts["damaged_samples"] == 0

    lost, flipped = (barn.shards.local_path(name) for name in shards[:2])
    assert lost
    assert flipped
    lost.unlink()
    hit = next(row for row in before if row.shard == shards[1])
    data = bytearray(flipped.read_bytes())
    data[hit.payload_offset_bytes + 40] ^= 1
    flipped.write_bytes(data)
    gone = [row for row in before if row.shard == shards[0]]

    assert prepared(barn).counts_in == 0
    report = prepared(barn, check=True)
    assert report.facts["damaged_samples"] == len(gone) + 1
    assert report.counts_out == len({row.frame_id for row in (*gone, hit)})
    after = samples(barn)
    assert [row[:3] for row in after] == [row[:3] for row in before]
    assert {row.frame_id: example(barn, row) for row in after} == whole
    assert prepared(barn, check=True).counts_in == 0


def test_shards_close_above_their_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (256, 1024, 3), np.uint8) for _ in range(8)]
    files = {f"{n}.png": encode_png(picture) for n, picture in enumerate(noise)}
    workspace = cleaned(tmp_path, files)
    prepared(workspace, shard_bytes=1_000_000, quality=100)
    sizes = [workspace.shards.size(key) for key in workspace.shards.list()]
    largest = max(row.length_bytes for row in samples(workspace))
    assert len(sizes) > 1
    assert max(size for size in sizes if size) < 1_000_000 + largest
    assert sum(size for size in sizes if size) == sum(
        row.length_bytes for row in samples(workspace)
    )


@pytest.mark.parametrize("channels", [2, 5, 16])
@pytest.mark.parametrize("depth_bits", [8, 16])
def test_measured_bands_come_back_without_loss(
    tmp_path: Path, channels: int, depth_bits: int
) -> None:
    rng = np.random.default_rng(channels)
    dtype = np.uint8 if depth_bits == 8 else np.uint16
    stack = rng.integers(0, np.iinfo(dtype).max, (64, 48, channels), dtype=dtype)
    stream = io.BytesIO()
    tifffile.imwrite(stream, stack, photometric="minisblack", planarconfig="contig")
    settings = (
        f"[cameras.drone]\nfiles = 'drone/*'\ndepth_bits = {depth_bits}\nscale = [0, 65535]\n"
    )
    workspace = cleaned(tmp_path, {"drone/t.tif": stream.getvalue()}, settings)
    report = prepared(workspace)
    (row,) = samples(workspace)
    assert row.channels == channels
    (shown,) = [section for section in report.sections if section.title == "First samples"]
    assert [decode(item.data).pixels.shape[:2] for item in shown.items] == [(64, 48)]
    np.testing.assert_array_equal(pixels(workspace, row), stack)


def test_band_files_become_one_sample(tmp_path: Path) -> None:
    nir = scene(5)[..., :1]
    files = {"rgb/t1.jpg": encode_jpeg(scene(4)), "nir/t1.png": encode_png(nir)}
    workspace = cleaned(tmp_path, files, "[bands]\nrgb = 'rgb/*'\nnir = 'nir/*'\n")
    prepared(workspace)
    (row,) = samples(workspace)
    features = example(workspace, row)
    assert (row.channels, features["image/bands"], features["image/format"]) == (
        4,
        [b"nir"],
        [b"jpeg"],
    )
    np.testing.assert_array_equal(decode(features["image/encoded/nir"][0]).pixels, nir)


def test_frames_nobody_looked_at_are_not_ready(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(encode_jpeg(scene(1)))
    workspace = Workspace.create(tmp_path / "farm")
    source = [str(tmp_path / "pictures")]
    collect.run(workspace, collect.Config(source=source, settle_s=0), Inline())
    with pytest.raises(NotReadyError, match="besana clean"):
        prepared(workspace)


def test_empty_farm_has_nothing_to_prepare(tmp_path: Path) -> None:
    report = prepared(Workspace.create(tmp_path / "farm"))
    assert (report.counts_in, report.counts_out) == (0, 0)
