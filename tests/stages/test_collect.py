"""What `collect` writes for folders of every layout, for bad files, and after a kill."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
import sqlalchemy as sa
import tifffile
from PIL import Image

from besana import catalog as tables
from besana.engines import open_engine
from besana.errors import BesanaError, ConfigError, NotFoundError
from besana.stages import collect
from besana.storage import read_original
from besana.workspace import Report, Workspace

CAMERAS = """
[cameras.pen-a]
files = "pen-a/**"
time_zone = "Asia/Shanghai"
time_pattern = "%Y-%m-%dT%H-%M-%S"
[cameras.madrid]
files = "madrid/*"
time_zone = "Europe/Madrid"
"""


def jpeg(seed: int, width_px: int = 64, height_px: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height_px, width_px, 3), np.uint8)
    return simplejpeg.encode_jpeg(pixels)


def encode_png(pixels: np.ndarray[Any, Any]) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def farm(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "farm", CAMERAS)


def run(workspace: Workspace, source: Path, **settings: Any) -> Report:
    defaults = {"settle_s": 0.0, "max_dropped_share": 1.0}
    config = collect.Config(source=[str(source)], **{**defaults, **settings})
    return collect.run(workspace, config, open_engine("local", 1))


def frames(workspace: Workspace) -> dict[str, sa.Row[Any]]:
    return {row.name: row for row in workspace.catalog.rows(sa.select(tables.frames))}


def issues(workspace: Workspace) -> dict[str, set[tuple[str, bool]]]:
    select = sa.select(tables.frames.c.name, tables.issues.c.kind, tables.issues.c.blocks).join(
        tables.issues, tables.issues.c.frame_id == tables.frames.c.id
    )
    found: dict[str, set[tuple[str, bool]]] = {}
    for name, kind, blocks in workspace.catalog.rows(select):
        found.setdefault(name, set()).add((kind, blocks))
    return found


def labels(workspace: Workspace) -> set[tuple[str, str, bool]]:
    select = sa.select(
        tables.frames.c.name, tables.labels.c.class_name, tables.labels.c.holds
    ).join(tables.labels, tables.labels.c.frame_id == tables.frames.c.id)
    return {tuple(row) for row in workspace.catalog.rows(select)}


def test_plain_folders_become_frames_with_camera_time_and_bytes(
    farm: Workspace, pictures: Path
) -> None:
    data = jpeg(1, 80, 60)
    put(pictures / "pen-a" / "2021-03-08T10-02-46.jpg", data)
    put(pictures / "pen-b" / "sub" / "one.jpg", jpeg(2))
    put(pictures / "notes.txt", b"no picture")

    report = run(farm, pictures)

    assert (report.counts_in, report.counts_out, dict(report.dropped)) == (2, 2, {})
    assert report.facts["ignored"] == 1
    row = frames(farm)["pen-a/2021-03-08T10-02-46.jpg"]
    digest = hashlib.sha256(data).hexdigest()
    key = f"{digest[:2]}/{digest}.jpg"
    assert row.camera == "pen-a"
    assert row.captured_at == dt.datetime(2021, 3, 8, 2, 2, 46, tzinfo=dt.UTC)
    assert row.time_source == "name"
    assert row.bands == [{"band": "rgb", "key": key, "sha256": digest, "size_bytes": len(data)}]
    assert (row.sha256, row.size_bytes, row.width_px, row.height_px) == (digest, len(data), 80, 60)
    name_and_content = b"pen-a/2021-03-08T10-02-46.jpg" + digest.encode()
    short = hashlib.sha256(name_and_content).hexdigest()[:8]
    assert row.id == f"pen-a/20210308T020246.000Z-{short}"
    assert farm.frames.read(key) == data
    other = frames(farm)["pen-b/sub/one.jpg"]
    assert (other.camera, other.captured_at, other.time_source) == ("sub", None, "none")
    assert other.id.startswith("sub/one-")


def test_a_second_run_collects_nothing_and_reads_nothing(farm: Workspace, pictures: Path) -> None:
    for i in range(5):
        put(pictures / "pen-a" / f"{i}.jpg", jpeg(i))
    run(farm, pictures)
    before = frames(farm)
    for path in (pictures / "pen-a").iterdir():
        state = path.stat()
        path.write_bytes(b"x" * state.st_size)  # would be found out if it were read
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    report = run(farm, pictures)

    assert (report.counts_in, report.counts_out) == (0, 0)
    assert report.facts["already_collected"] == 5
    assert frames(farm) == before


def test_a_changed_file_is_a_new_frame_and_a_touched_one_is_not(
    farm: Workspace, pictures: Path
) -> None:
    touched = put(pictures / "touched.jpg", jpeg(1))
    changed = put(pictures / "changed.jpg", jpeg(2))
    run(farm, pictures)
    os.utime(touched, ns=(1, 1_600_000_000_000_000_000))
    changed.write_bytes(jpeg(3))

    report = run(farm, pictures)

    assert (report.counts_in, report.counts_out) == (1, 1)
    assert report.facts["already_collected"] == 1
    assert farm.catalog.count(sa.select(tables.frames)) == 3
    assert run(farm, pictures).counts_in == 0


def test_in_place_leaves_the_bytes_where_they_are(farm: Workspace, pictures: Path) -> None:
    data = jpeg(1)
    put(pictures / "a b#%.jpg", data)

    run(farm, pictures, in_place=True)

    (band,) = frames(farm)["a b#%.jpg"].bands
    assert band["key"] == f"file://{pictures}/a%20b%23%25.jpg"
    assert read_original(farm.frames, band["key"]) == data
    assert list(farm.frames.list()) == []


def test_identical_files_are_two_frames_and_one_copy(farm: Workspace, pictures: Path) -> None:
    put(pictures / "a.jpg", jpeg(1))
    put(pictures / "b.jpg", jpeg(1))

    run(farm, pictures)

    assert len(frames(farm)) == 2
    assert len(list(farm.frames.list())) == 1


def test_class_folders_bring_labels_and_splits(farm: Workspace, pictures: Path) -> None:
    for split in ("train", "val"):
        for i, name in enumerate(("maize", "fat_hen")):
            put(pictures / split / name / f"{split}{i}.jpg", jpeg(i))

    report = run(farm, pictures)

    assert report.facts["labels_added"] == 4
    assert labels(farm) == {
        (f"{split}/{name}/{split}{i}.jpg", name, True)
        for split in ("train", "val")
        for i, name in enumerate(("maize", "fat_hen"))
    }
    assert frames(farm)["val/maize/val0.jpg"].metadata == {"split": "val"}
    row = farm.catalog.rows(sa.select(tables.labels))[0]
    assert (row.region, row.annotator, row.source) == ("all", "import", "collect")


def test_camera_folders_are_not_taken_for_classes(farm: Workspace, pictures: Path) -> None:
    for camera in ("left", "right"):
        put(pictures / camera / "2021-03-08T10-02-46.905.jpg", jpeg(1))

    run(farm, pictures)

    assert labels(farm) == set()
    assert {row.camera for row in frames(farm).values()} == {"left", "right"}


def test_layout_can_be_said(farm: Workspace, pictures: Path) -> None:
    for name in ("cow", "empty"):
        put(pictures / name / "2021-03-08T10-02-46.905.jpg", jpeg(1))

    run(farm, pictures, layout="classes")

    assert {label[1] for label in labels(farm)} == {"cow", "empty"}


def test_band_sets_are_one_frame(tmp_path: Path, pictures: Path) -> None:
    farm = Workspace.create(tmp_path / "f", '[bands]\nred = "r/*.png"\nnir = "n/*.png"\n')
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1)
    put(pictures / "field" / "r" / "1.png", encode_png(pixels))
    put(pictures / "field" / "n" / "1.png", encode_png(pixels + 1))
    put(pictures / "field" / "r" / "2.png", encode_png(pixels + 2))
    put(pictures / "field" / "n" / "3.png", encode_png(pixels + 3))

    report = run(farm, pictures)

    assert (report.counts_in, report.counts_out) == (3, 1)
    assert dict(report.dropped) == {"missing_band": 1, "no_first_band": 1}
    row = frames(farm)["field/r/1.png"]
    assert [band["band"] for band in row.bands] == ["red", "nir"]
    assert row.camera == "field"
    assert row.size_bytes == sum(band["size_bytes"] for band in row.bands)
    assert issues(farm) == {"field/r/2.png": {("missing_band", True)}}


def test_rgb_and_nir_folders_are_found_without_settings(farm: Workspace, pictures: Path) -> None:
    put(pictures / "rgb" / "1.jpg", jpeg(1))
    put(pictures / "nir" / "1.tif", tiff_bytes(1, channels=1))

    run(farm, pictures)

    (row,) = frames(farm).values()
    assert [band["band"] for band in row.bands] == ["rgb", "nir"]


def tiff_bytes(seed: int, channels: int) -> bytes:
    import io

    pixels = np.random.default_rng(seed).integers(0, 255, (channels, 40, 50), np.uint8)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels.squeeze(), photometric="minisblack", metadata=None)
    return file.getvalue()


def test_a_tiff_of_several_bands_is_one_frame(farm: Workspace, pictures: Path) -> None:
    put(pictures / "x.tif", tiff_bytes(1, channels=2))

    assert run(farm, pictures).counts_out == 1

    row = frames(farm)["x.tif"]
    assert (row.width_px, row.height_px) == (50, 40)
    assert row.bands[0]["key"].endswith(".tif")


def test_agriculture_vision_gives_bands_and_a_label_a_class(
    farm: Workspace, pictures: Path
) -> None:
    base = pictures / "train"
    put(base / "field_images" / "rgb" / "t1.jpg", jpeg(1))
    put(base / "field_images" / "nir" / "t1.jpg", jpeg(2))
    valid = np.zeros((48, 64, 1), np.uint8)
    valid[:, :32] = 255
    put(base / "field_bounds" / "t1.png", encode_png(valid))
    put(base / "field_masks" / "t1.png", encode_png(np.full_like(valid, 255)))
    weeds = np.zeros_like(valid)
    weeds[:24, :32] = 255  # half of what is valid
    water = np.zeros_like(valid)
    water[:, 40:] = 255  # all of it where nothing counts
    put(base / "field_labels" / "weed_cluster" / "t1.png", encode_png(weeds))
    put(base / "field_labels" / "water" / "t1.png", encode_png(water))
    put(base / "field_labels" / "drydown" / "t1.png", b"broken")

    run(farm, pictures, mask_share=0.5)

    name = "train/field_images/rgb/t1.jpg"
    assert labels(farm) == {(name, "weed_cluster", True), (name, "water", False)}
    row = frames(farm)[name]
    assert [band["band"] for band in row.bands] == ["rgb", "nir"]
    assert row.metadata == {"split": "train"}
    assert issues(farm) == {name: {("mask_unreadable", False)}}


def test_metadata_goes_to_frames_and_its_time_and_camera_are_used(
    farm: Workspace, pictures: Path, tmp_path: Path
) -> None:
    put(pictures / "one" / "x.jpg", jpeg(1))
    put(pictures / "two" / "x.jpg", jpeg(2))
    put(pictures / "three" / "y.jpg", jpeg(3))
    put(pictures / "three" / "z.jpg", jpeg(4))
    csv = put(
        tmp_path / "m.csv",
        "\ufefffile;camera;captured_at;light\r\n"
        'x.jpg;one;2021-03-05T15:00:00+08:00;"day\nlight"\r\n'
        "x.jpg;two;2021-03-06 10:00:00;ir\r\n"
        "three/y.jpg;pen-a;2021-03-07 10:00:00;day\r\n".encode(),
    )

    report = run(farm, pictures, metadata=csv, layout="folder")

    rows = frames(farm)
    assert rows["one/x.jpg"].metadata["light"] == "day\nlight"
    assert rows["one/x.jpg"].captured_at == dt.datetime(2021, 3, 5, 7, tzinfo=dt.UTC)
    assert rows["two/x.jpg"].captured_at == dt.datetime(2021, 3, 6, 10, tzinfo=dt.UTC)
    assert rows["three/y.jpg"].camera == "pen-a"
    assert rows["three/y.jpg"].captured_at == dt.datetime(2021, 3, 7, 2, tzinfo=dt.UTC)
    assert rows["three/z.jpg"].metadata == {}
    assert report.facts["frames_without_metadata"] == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "no column 'file'"),
        ("file,a\nx.jpg,1,2\n", "row 2"),
        ('file,a\n"x.jpg,1\n', "row 2"),
        ("", "is no table"),
    ],
)
def test_unusable_metadata_is_an_error(
    farm: Workspace, pictures: Path, tmp_path: Path, text: str, says: str
) -> None:
    csv = put(tmp_path / "m.csv", text.encode())
    with pytest.raises(ConfigError, match=says):
        run(farm, pictures, metadata=csv)


def test_refused_files_become_frames_that_are_kept_out(farm: Workspace, pictures: Path) -> None:
    put(pictures / "empty.jpg", b"")
    put(pictures / "text.jpg", b"this is text")
    put(pictures / "animated.gif", b"GIF89a" + bytes(100))
    put(pictures / "photo.heic", b"\0\0\0\x18ftypheic" + bytes(100))
    put(pictures / "script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n")
    put(pictures / "old.bmp", b"BM" + bytes(60))
    put(pictures / "thin.jpg", jpeg(1, 2000, 1))
    put(pictures / "wide.png", png_header(65500, 65500))
    put(pictures / "heavy.jpg", jpeg(2) + bytes(200_000))
    put(pictures / "good.jpg", jpeg(3))

    report = run(farm, pictures, max_file_bytes=100_000)

    assert issues(farm) == {
        "empty.jpg": {("not_an_image", True)},
        "text.jpg": {("not_an_image", True)},
        "animated.gif": {("unsupported_format", True)},
        "photo.heic": {("unsupported_format", True)},
        "script.jpg": {("unsupported_format", True)},
        "old.bmp": {("unsupported_format", True)},
        "thin.jpg": {("degenerate", True)},
        "wide.png": {("too_large", True)},
        "heavy.jpg": {("too_large", True)},
    }
    assert (report.counts_in, report.counts_out) == (10, 1)
    assert report.dropped.total() == 9
    rows = frames(farm)
    assert len(rows) == 10
    assert read_original(farm.frames, rows["text.jpg"].bands[0]["key"]) == b"this is text"
    assert rows["heavy.jpg"].bands[0]["key"].startswith("file://")
    assert run(farm, pictures, max_file_bytes=100_000).counts_in == 0
    detail = farm.catalog.scalar(
        sa.select(tables.issues.c.detail).where(tables.issues.c.frame_id == rows["animated.gif"].id)
    )
    assert "convert" in detail


def png_header(width_px: int, height_px: int) -> bytes:
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk


def test_only_regular_files_below_the_source_are_read(
    farm: Workspace, pictures: Path, tmp_path: Path
) -> None:
    secret = put(tmp_path / "secret.jpg", jpeg(1))
    put(tmp_path / "elsewhere" / "x.jpg", jpeg(2))
    (pictures / "link.jpg").symlink_to(secret)
    (pictures / "folder").symlink_to(tmp_path / "elsewhere")
    (pictures / "loop").symlink_to(pictures)
    os.mkfifo(pictures / "pipe.jpg")
    (pictures / "zero.jpg").symlink_to("/dev/zero")
    (pictures / "directory.jpg").mkdir()
    put(pictures / "directory.jpg" / "inside.jpg", jpeg(3))
    with (pictures / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)

    report = run(farm, pictures)

    assert set(frames(farm)) == {"directory.jpg/inside.jpg", "sparse.jpg"}
    assert dict(report.dropped) == {"not_a_file": 3, "too_large": 1}
    assert report.counts_in == 5


def test_a_file_that_became_a_link_after_it_was_found_is_not_followed(tmp_path: Path) -> None:
    from besana.errors import CorruptDataError
    from besana.images.files import read_stable

    put(tmp_path / "outside" / "x.jpg", jpeg(1))
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "sub").symlink_to(tmp_path / "outside")

    for path in ("sub/x.jpg", "gone.jpg"):
        with pytest.raises(CorruptDataError) as error:
            read_stable(str(tmp_path / "root"), path, limit_bytes=1000, settle_s=0)
        assert error.value.reason == {"sub/x.jpg": "not_a_file", "gone.jpg": "vanished"}[path]


def test_strange_names_are_kept_apart_and_escaped(farm: Workspace, pictures: Path) -> None:
    names = [
        b"not-utf8-\xff.jpg",
        b"line\nbreak.jpg",
        b"-rf.jpg",
        b'"><img onerror=x>.jpg',
        "right\u202eleft.jpg".encode(),
        "caf\u00e9.jpg".encode(),
        "cafe\u0301.jpg".encode(),
        b"back\\slash.jpg",
        b"CON.jpg",
        b"n" * 251 + b".jpg",
    ]
    for i, name in enumerate(names):
        put(pictures / os.fsdecode(name), jpeg(i))

    report = run(farm, pictures)

    rows = frames(farm)
    assert report.counts_out == len(names) == len(rows)
    assert rows[r"not-utf8-\xff.jpg"].metadata == {"name_hex": names[0].hex()}
    assert rows[r"line\x0abreak.jpg"].metadata == {"name_hex": names[1].hex()}
    assert r"right\u202eleft.jpg" in rows
    assert r"back\\slash.jpg" in rows
    assert rows["caf\u00e9.jpg"].id != rows["cafe\u0301.jpg"].id
    assert all(len(row.id) < 130 and row.id.isprintable() for row in rows.values())
    assert run(farm, pictures).counts_in == 0


def test_doubtful_clocks_are_kept_and_flagged(farm: Workspace, pictures: Path) -> None:
    for name in ("19700101_000000", "21060207_062815", "20211031_023000", "20210328_023000"):
        put(pictures / "madrid" / f"{name}.jpg", jpeg(1))
    put(pictures / "madrid" / "20210701_120000.jpg", jpeg(1))

    run(farm, pictures)

    flagged = {name.rpartition("/")[2][:8] for name in issues(farm)}
    assert flagged == {"19700101", "21060207", "20211031", "20210328"}
    rows = frames(farm)
    assert rows["madrid/20211031_023000.jpg"].captured_at == dt.datetime(
        2021, 10, 31, 0, 30, tzinfo=dt.UTC
    )
    assert rows["madrid/20210701_120000.jpg"].captured_at == dt.datetime(
        2021, 7, 1, 10, tzinfo=dt.UTC
    )
    detail = farm.catalog.scalar(
        sa.select(tables.issues.c.detail).where(
            tables.issues.c.frame_id == rows["madrid/20211031_023000.jpg"].id
        )
    )
    assert "20211031_023000" in detail


def test_frames_of_a_clock_that_was_not_set_keep_the_order_of_the_device(  # B32
    tmp_path: Path, pictures: Path
) -> None:
    farm = Workspace.create(tmp_path / "exif", '[cameras.pen]\ntime_from = "exif"\n')
    times = {  # the device boots in 1970, and again in between
        "IMG_8": "1970:01:01 00:05:00",
        "IMG_9": "1970:01:01 00:10:00",
        "IMG_10": "1970:01:01 00:00:30",
        "IMG_11": "2106:02:07 06:28:15",
        "IMG_100": "2021:07:01 12:00:00",
    }
    for number, (stem, text) in enumerate(times.items()):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = text
        path = put(pictures / "pen" / f"{stem}.jpg", b"")
        Image.fromarray(np.full((48, 64, 3), number, np.uint8)).save(path, exif=exif)

    run(farm, pictures)

    rows = farm.catalog.rows(sa.select(tables.frames).order_by(tables.frames.c.id))
    order = [Path(row.name).stem for row in rows]
    assert order == ["IMG_100", "IMG_8", "IMG_9", "IMG_10", "IMG_11"]
    assert {name for name, found in issues(farm).items() if ("clock_suspect", False) in found} == {
        f"pen/{stem}.jpg" for stem in order[1:]
    }
    assert [row.captured_at.year for row in rows] == [2021, 1970, 1970, 1970, 2106]
    assert rows[1].metadata == {"time_text": "1970-01-01T00:05:00"}


def test_a_file_still_being_written_is_waited_for(farm: Workspace, pictures: Path) -> None:
    data = jpeg(1, 640, 480)
    path = put(pictures / "growing.jpg", data[:1000])
    script = (
        "import sys, time\n"
        "data = sys.stdin.buffer.read()\n"
        "with open(sys.argv[1], 'ab', 0) as file:\n"
        "    print('ready', flush=True)\n"
        "    for start in range(1000, len(data), len(data) // 8):\n"
        "        time.sleep(0.1)\n"
        "        file.write(data[start : start + len(data) // 8])\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    with writer:
        writer.stdin.write(data)
        writer.stdin.close()
        assert writer.stdout.readline() == b"ready\n"
        report = run(farm, pictures, settle_s=1.0)

    again = run(farm, pictures, settle_s=1.0)
    assert report.counts_out + again.counts_out == 1
    (row,) = frames(farm).values()
    assert row.sha256 == hashlib.sha256(data).hexdigest()


def test_sources_that_make_no_sense_are_errors(farm: Workspace, pictures: Path) -> None:
    put(pictures / "pen-a" / "1.jpg", jpeg(1))
    engine = open_engine("local", 1)
    with pytest.raises(ConfigError, match="Nothing says"):
        collect.run(farm, collect.Config(), engine)
    with pytest.raises(NotFoundError, match="No folder"):
        run(farm, pictures / "nothing")
    nested = collect.Config(source=[str(pictures), str(pictures / "pen-a")])
    with pytest.raises(ConfigError, match="inside"):
        collect.run(farm, nested, engine)
    (farm.path / "frames").mkdir(exist_ok=True)
    with pytest.raises(ConfigError, match="own folder"):
        run(farm, farm.path / "frames")
    with pytest.raises(ConfigError, match="not a folder"):
        collect.run(farm, collect.Config(source=["ftp://host/x"]), engine)


def test_the_workspaces_own_pictures_are_not_collected_again(tmp_path: Path) -> None:
    put(tmp_path / "farm" / "pictures" / "1.jpg", jpeg(1))
    farm = Workspace.create(tmp_path / "farm")

    assert run(farm, tmp_path / "farm").counts_out == 1
    assert run(farm, tmp_path / "farm").counts_in == 0


def test_too_many_refusals_fail_the_run_but_keep_the_rows(farm: Workspace, pictures: Path) -> None:
    put(pictures / "text.jpg", b"text")

    with pytest.raises(BesanaError):
        run(farm, pictures, max_dropped_share=0.5)

    assert len(frames(farm)) == 1


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_killed_and_run_again_loses_nothing_and_repeats_nothing(
    farm: Workspace, pictures: Path, seed: int
) -> None:
    content = {}
    for i in range(400):
        data = jpeg(i) + i.to_bytes(4, "big")
        name = f"train/{'cow' if i % 2 else 'empty'}/{i:04d}.jpg"
        content[name] = hashlib.sha256(data).hexdigest()
        put(pictures / name, data)
    pause = np.random.default_rng(seed).uniform(0.3, 1.5)
    command = (
        "from besana.stages import collect; from besana.workspace import Workspace;"
        f"collect.run(Workspace({str(farm.path)!r}),"
        f" collect.Config(source=[{str(pictures)!r}], settle_s=0))"
    )
    process = subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
    time.sleep(pause)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    run(farm, pictures)

    rows = farm.catalog.rows(sa.select(tables.frames))
    assert {row.name: row.sha256 for row in rows} == content
    assert len(rows) == len(content)
    assert len(labels(farm)) == len(content)
    assert farm.catalog.count(sa.select(tables.labels)) == len(content)
    for row in rows:
        stored = farm.frames.read(row.bands[0]["key"])
        assert hashlib.sha256(stored).hexdigest() == row.sha256
    with farm.catalog.transaction() as connection:
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
    assert run(farm, pictures).counts_in == 0


def test_a_frame_whose_reading_kills_the_worker_is_kept_out(
    farm: Workspace, pictures: Path
) -> None:
    from besana.images.header import Limits
    from besana.images.intake import FrameToRead, Reading, unread_frame
    from besana.images.layouts import FoundFrame

    found = FoundFrame(str(pictures), (("rgb", "x.jpg"),), 10, 20)
    reading = Reading(Limits(), 0, False, 0.5, dt.datetime.now(dt.UTC))

    read = unread_frame(FrameToRead(found, farm.camera("c"), {}), "decoder_died", reading)

    assert [(issue.kind, issue.blocks) for issue in read.issues] == [("decoder_died", True)]
    assert read.row["bands"][0]["key"] == f"file://{pictures}/x.jpg"
    assert farm.catalog.insert(tables.frames, [read.row]) == 1
