"""Regions over HTTP: previews, calibrations, and besana.toml that keeps what others wrote."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from looked_at import FRAMES, issue
from PIL import Image
from running import Client, Reply
from served_farm import SETTINGS, Site, frame_id, make_farm, served

from besana import catalog as tables
from besana.images.camera import Camera
from besana.images.cut import Cutter
from besana.images.decode import decode
from besana.images.encode import encode_jpeg
from chessboard import BOARD, PINHOLE, POSES, SIZE, photograph

COMMENTED = (
    SETTINGS
    + """
[cameras.lamb]   # the old one
time_zone = "Europe/Madrid"
[cameras.lamb.regions]
# by the door
door = [0, 0, 30, 30]  # in winter
"""
)
BARREL = {"model": "pinhole", "focal_px": [90.0], "distortion": [-0.3, 0.05, 0, 0]}
BARREL["size_px"] = [120, 90]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    workspace = make_farm(tmp_path / "farm", FRAMES, settings=COMMENTED)
    night = [
        {**_quality(number), "light": "ir" if number in (20, 21) else "day"}
        for number in range(FRAMES)
    ]
    workspace.catalog.insert(tables.quality, night)
    workspace.catalog.insert(tables.issues, [issue(n, "camera_moved", 9.0) for n in (30, 31, 35)])
    with served(workspace) as found:
        yield found


@pytest.fixture
def admin(site: Site) -> Client:
    return site.client("admin")


def _quality(number: int) -> dict[str, Any]:
    figures = ("brightness", "dark_share", "bright_share", "contrast", "sharpness", "entropy_bits")
    row = {"frame_id": frame_id(number), "width_px": 120, "height_px": 90, "channels": 3}
    return {**row, **dict.fromkeys(figures, 1.0), "perceptual_hash": 0}


def write(client: Client, version: str, **change: Any) -> Reply:
    return client.post("/api/cameras", {"camera": "lamb", "version": version, **change})


def version_of(client: Client) -> str:
    return str(client.get("/api/cameras").json["version"])


def test_writing_keeps_comments_and_every_other_line(site: Site, admin: Client) -> None:
    regions = {"door": [0, 0, 30, 40], "hay": [[0, 0], [20, 0], [10, 30]]}
    reply = write(admin, version_of(admin), regions=regions)
    assert reply.status == 200
    text = (site.desk.workspace.path / "besana.toml").read_text()
    hay = "hay = [[0, 0], [20, 0], [10, 30]]\n"
    assert text == COMMENTED.replace("[0, 0, 30, 30]", "[0, 0, 30, 40]") + hay
    assert reply.json["version"] == version_of(admin)
    assert any(row["what"] == "regions" for row in site.desk.people.audit())


def test_a_file_that_was_changed_meanwhile_is_not_overwritten(site: Site, admin: Client) -> None:
    version = version_of(admin)
    path = site.desk.workspace.path / "besana.toml"
    by_hand = COMMENTED.replace("in winter", "in summer")
    path.write_text(by_hand)
    reply = write(admin, version, regions={})
    assert (reply.status, reply.json["error"]) == (409, "stale")
    assert path.read_text() == by_hand
    assert write(admin, version_of(admin), regions={}).status == 200
    assert "door =" not in path.read_text()


def test_what_was_written_holds_at_once(site: Site, admin: Client) -> None:
    change = {"camera": "pen", "version": version_of(admin), "regions": {"bed-1": [0, 0, 30, 45]}}
    assert admin.post("/api/cameras", change).status == 200
    query = urlencode({"frame": frame_id(0), "region": "bed-1"})
    corners = admin.get(f"/api/outline?{query}").json["points"]
    assert corners == [[0.0, 0.0], [0.25, 0.0], [0.25, 0.5], [0.0, 0.5]]


def test_lens_and_grid_are_written_and_read_back(site: Site, admin: Client) -> None:
    change = {"regions": {}, "grid": {"size_px": 64}, "lens": BARREL}
    assert write(admin, version_of(admin), **change).status == 200
    lamb = next(c for c in admin.get("/api/cameras").json["cameras"] if c["name"] == "lamb")
    assert lamb["grid"] == {"size_px": 64, "stride_px": None}
    assert lamb["lens"]["distortion"] == [-0.3, 0.05, 0, 0]
    none = {"regions": {"a": [0, 0, 9, 9]}, "grid": None, "lens": {"model": "none"}}
    assert write(admin, version_of(admin), **none).status == 200
    lamb = next(c for c in admin.get("/api/cameras").json["cameras"] if c["name"] == "lamb")
    assert (lamb["grid"], lamb["lens"]["model"]) == (None, "none")


@pytest.mark.parametrize(
    "change",
    [
        {"regions": {"door": [30, 0, 0, 30]}},
        {"regions": {"a/b": [0, 0, 1, 1]}},
        {"regions": {"door": [[0, 0], [1, 1]]}},
        {"regions": {"door": [0, 0, 9, 9]}, "grid": {"size_px": 64}},
        {"regions": {}, "grid": {"size_px": 2}},
        {"regions": {}, "lens": {"model": "pinhole"}},
        {"regions": {}, "lens": {"model": "none", "file": "/etc/passwd"}},
        {"regions": {}, "colour": "red"},
    ],
)
def test_what_does_not_hold_is_said_and_nothing_written(
    site: Site, admin: Client, change: dict[str, Any]
) -> None:
    reply = write(admin, version_of(admin), **change)
    assert reply.status == 422
    assert len(reply.json["problem"]) > 10
    assert (site.desk.workspace.path / "besana.toml").read_text() == COMMENTED


def test_preview_is_what_prepare_would_cut(site: Site, admin: Client) -> None:
    query = {"frame": frame_id(3), "side": 120}
    plain = admin.get(f"/picture/preview?{urlencode({**query, 'lens': '{}'})}")
    bent = admin.get(f"/picture/preview?{urlencode({**query, 'lens': json.dumps(BARREL)})}")
    assert plain.headers["content-type"] == "image/jpeg"
    original = decode((site.desk.workspace.path / "frames" / "0003.jpg").read_bytes()).pixels
    camera = Camera.model_validate({"lens": BARREL})
    cut = next(iter(Cutter(camera, (120, 90), 1 << 16).samples(original))).pixels

    def differs(reply: Reply, pixels: Any) -> float:
        shown = np.asarray(Image.open(io.BytesIO(reply.body)), np.float32)
        return float(np.abs(shown - pixels).mean())

    assert differs(plain, original) < 4
    assert differs(bent, cut) < 4
    assert differs(bent, original) > 6


@pytest.mark.parametrize(
    "lens",
    [
        "{",
        '{"model": "pinhole"}',
        '{"file": "/etc/passwd"}',
        json.dumps({**BARREL, "size_px": [90_000, 90_000]}),
    ],
)
def test_preview_of_no_lens_is_refused(admin: Client, lens: str) -> None:
    query = urlencode({"frame": frame_id(3), "lens": lens})
    assert admin.get(f"/picture/preview?{query}").status == 422


def test_frames_by_day_by_night_and_around_a_move(admin: Client) -> None:
    frames = admin.get("/api/cameras/frames?camera=pen").json["frames"]
    why = {frame["frame"]: frame["why"] for frame in frames}
    assert why[frame_id(FRAMES - 1)] == "newest_day"
    assert why[frame_id(21)] == "newest_night"
    assert (why[frame_id(29)], why[frame_id(30)]) == ("before_move", "after_move")
    assert (why[frame_id(34)], why[frame_id(35)]) == ("before_move", "after_move")
    assert why[frame_id(0)] == "first_of_camera"
    assert [frame["frame"] for frame in frames] == sorted(why)
    assert frames[0]["width_px"] == 120
    assert admin.get("/api/cameras/frames?camera=none").json["frames"] == []


def test_calibration_file_becomes_numbers(admin: Client) -> None:
    content = """%YAML:1.0
---
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 520., 0., 325., 0., 515., 236., 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ -0.28, 0.09, 0.001, -0.0005, 0. ]
"""
    lens = admin.post("/api/lens/file", {"name": "cal.yml", "content": content}).json["lens"]
    assert lens["focal_px"] == [520, 515]
    assert lens["size_px"] == [640, 480]
    assert lens["file"] is None
    for wrong in ("", "hello", "%YAML:1.0\n---\na: 1\n", "<?xml version='1.0'?><a>" + "[" * 5000):
        reply = admin.post("/api/lens/file", {"name": "x.yml", "content": wrong})
        assert reply.status == 422, wrong
    assert admin.post("/api/lens/file", {"name": "cal.yml", "content": content}).status == 200


def test_chessboard_pictures_become_a_lens(site: Site, admin: Client) -> None:
    query = urlencode({"columns": BOARD.columns, "rows": BOARD.rows})
    kind = {"Content-Type": "application/octet-stream"}

    def send(data: bytes) -> Reply:
        return admin.send("POST", f"/api/lens/board?{query}", data, headers=dict(kind))

    found = [send(encode_jpeg(photograph(PINHOLE, pose), 95)).json for pose in POSES[:5]]
    corners = [each["corners"] for each in found if each["corners"]]
    assert len(corners) >= 4
    body = {"board": BOARD.model_dump(), "size_px": SIZE, "corners": corners}
    answer = admin.post("/api/lens/calibration", body).json
    assert answer["error_px"] < 0.8
    assert abs(answer["lens"]["focal_px"][0] - 520) < 15
    assert send(encode_jpeg(np.zeros((90, 120, 3), np.uint8))).json["corners"] is None
    assert send(b"GIF89a no picture").status == 422
    few = {**body, "corners": corners[:2]}
    assert admin.post("/api/lens/calibration", few).status == 422
