"""Pictures on a remote of rclone are listed, copied once, and refused clearly."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import simplejpeg

import besana
from besana import catalog as tables
from besana.buckets import rclone
from besana.buckets.rclone import find_rclone, list_remote, root_of
from besana.errors import ConfigError, MissingExtraError, NotFoundError
from besana.storage import read_original

pytestmark = pytest.mark.slow  # each asks rclone several times

NAMES = ["pen-a/2026-03-01T10-00-00.jpg", "pen-a/2026-03-01T10-05-00.jpg", "pen b/ä #1 .jpg"]


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    return simplejpeg.encode_jpeg(pixels)


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A folder that rclone reaches as the remote `card`."""
    folder = tmp_path / "card"
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(number))
    (folder / "notes.txt").write_text("no picture")
    settings = tmp_path / "rclone.conf"
    settings.write_text(f"[card]\ntype = alias\nremote = {folder}\n")
    monkeypatch.setenv("RCLONE_CONFIG", str(settings))
    return folder


@pytest.fixture
def farm(tmp_path):
    return besana.Workspace.create(tmp_path / "farm", "[engine]\nworkers = 1\n")


def run(farm, source="rclone:card:", **settings):
    return besana.run_stage(farm, "collect", {"source": [source], **settings})


def test_a_remote_is_collected_with_its_bytes_and_once(farm, card):
    (card / "pen-a/broken.jpg").write_text("<html>gone</html>")
    report = run(farm)
    assert (report.counts_in, report.counts_out) == (4, 3)
    assert report.dropped == {"not_an_image": 1}
    assert report.facts["ignored"] == 1
    found = {row.name: row for row in farm.catalog.rows(tables.frames.select())}
    for number, name in enumerate(NAMES):
        assert read_original(farm.frames, found[name].bands[0]["key"]) == jpeg(number)
        assert found[name].source.startswith("rclone://card:/pen")
    assert {row.camera for row in found.values()} == {"pen-a", "pen_b"}
    again = run(farm)
    assert (again.counts_in, again.facts["already_collected"]) == (0, 4)
    (card / "pen-a/2026-03-01T10-10-00.jpg").write_bytes(jpeg(9))
    assert run(farm).counts_in == 1
    assert list(farm.temporary.glob("listing-*")) == []


def test_a_part_of_a_remote_is_collected(farm, card):
    assert run(farm, "rclone:card:pen-a").counts_out == 2


def test_a_listing_that_was_whole_is_not_asked_for_again(card, tmp_path):
    entries = list_remote(root_of("rclone:card:"), tmp_path)
    first = next(entries)
    entries.close()  # as a run that was killed while it read pictures
    (kept,) = tmp_path.glob("listing-*.jsonl")
    shutil.rmtree(card)
    assert first in (found := list(list_remote(root_of("rclone:card:"), tmp_path)))
    assert {entry.key for entry in found} == {*NAMES, "notes.txt"}
    assert not kept.exists()


def test_a_listing_that_was_torn_begins_anew(card, tmp_path):
    (kept,) = [tmp_path / f"listing-{hashed}.part" for hashed in ["0" * 16]]
    kept.write_text(json.dumps({"Path": "pen-a"})[:-4])
    assert len(list(list_remote(root_of("rclone:card:"), tmp_path))) == 4


def test_a_file_that_goes_between_listing_and_copying_is_counted(farm, card):
    entries = list_remote(root_of("rclone:card:"), farm.temporary)
    next(entries)
    entries.close()
    (card / NAMES[0]).unlink()
    (card / NAMES[1]).write_bytes(b"short")
    report = run(farm, max_dropped_share=1.0)
    assert report.dropped == {"vanished": 1, "still_changing": 1}
    assert report.counts_out == 1


def test_files_that_are_too_large_are_not_copied(farm, card):
    report = run(farm, max_file_bytes=100, max_dropped_share=1.0)
    assert report.dropped == {"too_large": 3}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rclone:drive:barn", "rclone knows no remote 'drive'; it knows: card"),
        ("rclone:card", "rclone knows no remote 'card'; it knows: card"),
        ("rclone:card:nowhere", "No folder 'card:nowhere'"),
    ],
)
def test_a_remote_or_folder_that_is_not_there_is_an_error(farm, card, source, message):
    with pytest.raises(NotFoundError, match=message):
        run(farm, source)


def test_pictures_of_a_remote_cannot_stay_where_they_are(farm, card):
    with pytest.raises(ConfigError, match="cannot stay where they are"):
        run(farm, in_place=True)


def test_without_rclone_it_says_what_to_install(farm, card, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(rclone.sysconfig, "get_path", lambda _name: str(tmp_path))
    find_rclone.cache_clear()
    with pytest.raises(MissingExtraError, match=r"besana\[rclone\]"):
        run(farm)
    find_rclone.cache_clear()
