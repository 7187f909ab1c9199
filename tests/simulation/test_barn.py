from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from besana.errors import ConfigError
from besana.simulation.barn import Barn, BarnSettings, frame_bytes, write_barn
from besana.simulation.faults import DETAILS, ISSUES
from besana.simulation.herd import CLASSES
from besana.simulation.light import is_infrared
from besana.simulation.recording import FIRST_DAY, frame_count, frame_name, herd_of, view_of

SMALL = BarnSettings(days=1, interval_s=3600, width_px=320)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fault_of(farm: Barn, kind: str) -> Path:
    return farm.frames / next(r["frame"] for r in rows_of(farm.faults_csv) if r["kind"] == kind)


def good_frames(farm: Barn) -> list[int]:
    faulty = {row["frame"] for row in rows_of(farm.faults_csv)}
    numbers = range(frame_count(farm.settings))
    return [n for n in numbers if frame_name(farm.settings, n) not in faulty]


def picture_of(farm: Barn, name: str) -> np.ndarray:
    return cv2.imread(str(farm.frames / name))


def test_frame_bytes_same_for_same_seed_in_any_order(farm: Barn) -> None:
    for number in (100, 7, 40):
        name = frame_name(farm.settings, number)
        assert frame_bytes(farm.settings, number) == (farm.frames / name).read_bytes()


def test_frame_bytes_differ_for_another_seed() -> None:
    assert frame_bytes(SMALL, 12) != frame_bytes(SMALL.model_copy(update={"seed": 1}), 12)


def test_frame_bytes_same_when_more_days_are_recorded() -> None:
    longer = SMALL.model_copy(update={"days": 3})
    assert frame_bytes(SMALL, 15) == frame_bytes(longer, 15)


def test_write_barn_leaves_what_is_there(tmp_path: Path) -> None:
    barn = write_barn(tmp_path, SMALL)
    files = sorted(barn.frames.rglob("*.jpg"))
    before = [path.stat().st_mtime_ns for path in files]
    write_barn(tmp_path, SMALL)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert len(files) == 24


def test_write_barn_completes_one_that_was_cut_short(tmp_path: Path) -> None:
    barn = write_barn(tmp_path, SMALL)
    mark = barn.path / "simulation.json"
    mark.write_text(mark.read_text().replace('"is_whole": true', '"is_whole": false'))
    lost = barn.frames / frame_name(SMALL, 3)
    expected = lost.read_bytes()
    lost.unlink()
    write_barn(tmp_path, SMALL)
    assert lost.read_bytes() == expected


def test_write_barn_never_mixes_two_simulations(tmp_path: Path) -> None:
    write_barn(tmp_path, SMALL)
    with pytest.raises(ConfigError, match="another simulation"):
        write_barn(tmp_path, SMALL.model_copy(update={"seed": 1}))


def test_write_barn_leaves_a_workspace_alone(tmp_path: Path) -> None:
    (tmp_path / "besana.toml").write_text('name = "mine"\n')
    with pytest.raises(ConfigError, match="a workspace already"):
        write_barn(tmp_path, SMALL)
    assert (tmp_path / "besana.toml").read_text() == 'name = "mine"\n'


def test_interval_that_does_not_divide_a_day_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole number"):
        BarnSettings(interval_s=700)


def test_view_refuses_a_width_it_cannot_split() -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        view_of(SMALL.model_copy(update={"width_px": 500}))


def test_truth_has_every_bed_of_every_frame_without_a_fault(farm: Barn) -> None:
    expected = {
        (frame_name(farm.settings, number), f"bed-{bed}")
        for number in good_frames(farm)
        for bed in (1, 2, 3)
    }
    truth = rows_of(farm.truth_csv)
    assert {(row["frame"], row["region"]) for row in truth} == expected
    assert len(truth) == len(expected)
    assert {row["class"] for row in truth} == set(CLASSES)


def test_every_named_frame_is_on_disk(farm: Barn) -> None:
    on_disk = {str(path.relative_to(farm.frames)) for path in farm.frames.rglob("*.jpg")}
    assert on_disk == {frame_name(farm.settings, n) for n in range(frame_count(farm.settings))}
    assert {row["frame"] for row in rows_of(farm.faults_csv)} <= on_disk


def test_budgets_add_up_to_24_hours(farm: Barn) -> None:
    budgets = rows_of(farm.budgets_csv)
    totals = [sum(float(row[f"{state}_hours"]) for state in CLASSES) for row in budgets]
    assert totals == pytest.approx([24.0] * 9, abs=2e-4)


def test_budgets_agree_with_labels() -> None:
    settings = BarnSettings(days=2, interval_s=60, width_px=160)
    herd = herd_of(settings)
    seen = Counter(herd.state_at(1, 60.0 * number) for number in range(1440))
    hours = herd.hours(1, 0)
    assert {state: seen[state] / 60 for state in CLASSES} == pytest.approx(hours, abs=0.2)


def test_faults_have_one_of_each_kind_and_keep_their_distance(farm: Barn) -> None:
    faults = rows_of(farm.faults_csv)
    assert {row["kind"]: row["issue"] for row in faults} == ISSUES
    assert ISSUES.keys() == DETAILS.keys()
    numbers = {frame_name(farm.settings, n): n for n in range(frame_count(farm.settings))}
    places = sorted(numbers[row["frame"]] for row in faults)
    assert min(np.diff(places)) > 1


def test_broken_files_are_broken(farm: Barn) -> None:
    assert fault_of(farm, "no_bytes").read_bytes() == b""
    assert fault_of(farm, "not_an_image").read_bytes().startswith(b"<!DOCTYPE html>")
    truncated = fault_of(farm, "truncated").read_bytes()
    assert truncated.startswith(b"\xff\xd8")
    assert not truncated.endswith(b"\xff\xd9")


def test_duplicates_are_the_only_equal_files(farm: Barn) -> None:
    by_hash = defaultdict(list)
    for path in sorted(farm.frames.rglob("*.jpg")):
        by_hash[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
    pairs = [paths for paths in by_hash.values() if len(paths) > 1]
    duplicates = [r["frame"] for r in rows_of(farm.faults_csv) if r["kind"] == "duplicate"]
    assert [str(pair[1].relative_to(farm.frames)) for pair in pairs] == sorted(duplicates)


def test_bad_light_and_fog_show(farm: Barn) -> None:
    numbers = good_frames(farm)
    day = [n for n in numbers if 9 * 3600 < n * 1800 % 86_400 < 15 * 3600]
    good = [picture_of(farm, frame_name(farm.settings, n)) for n in day[:6]]
    dark, over, fog = (
        cv2.imread(str(fault_of(farm, kind))) for kind in ("dark", "overexposed", "blurry")
    )
    sharpness = [cv2.Laplacian(cv2.pyrDown(p), cv2.CV_32F).var() for p in (*good, fog)]
    assert dark.mean() < 12
    assert (over > 250).mean() > 0.5
    assert sharpness[-1] < 0.3 * min(sharpness[:-1])


def test_night_is_grey_and_day_is_not(farm: Barn) -> None:
    for number in good_frames(farm)[:48]:
        picture = picture_of(farm, frame_name(farm.settings, number)).astype(int)
        colour = np.abs(picture[..., 2] - picture[..., 0]).mean()
        assert (colour < 1.0) == is_infrared(number * 1800.0)


def test_a_bed_looks_different_when_a_cow_comes(farm: Barn) -> None:
    """The region and the lens in `besana.toml` fit the picture: an occupied bed has changed."""
    x0, y0, x1, y1 = view_of(farm.settings).region(1)
    states = {(r["frame"], r["region"]): r["class"] for r in rows_of(farm.truth_csv)}
    grid = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).reshape(-1, 2)
    where = view_of(farm.settings).distort(grid).astype(np.float32).reshape(y1 - y0, x1 - x0, 2)
    crops = defaultdict(list)
    for number in good_frames(farm):
        name = frame_name(farm.settings, number)
        if is_infrared(number * 1800.0):
            grey = cv2.cvtColor(picture_of(farm, name), cv2.COLOR_BGR2GRAY)
            crop = cv2.remap(grey, where[..., 0], where[..., 1], cv2.INTER_LINEAR)
            crops[states[name, "bed-2"]].append(crop.astype(np.float32) / crop.mean())
    empty = np.mean(crops["empty"], axis=0)
    differences = {
        state: [np.abs(crop - empty).mean() for crop in found] for state, found in crops.items()
    }
    assert min(differences["lying"]) > 1.3 * max(differences["empty"])
    assert np.mean(differences["standing"]) > 1.3 * np.mean(differences["empty"])


def test_moved_camera_moves_the_picture() -> None:
    straight = SMALL.model_copy(update={"faults": False})
    moved = straight.model_copy(update={"moved_from_day": 0})
    pictures = [
        cv2.imdecode(np.frombuffer(frame_bytes(s, 12), np.uint8), cv2.IMREAD_GRAYSCALE)
        for s in (straight, moved)
    ]
    window = cv2.createHanningWindow((320, 180), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(*(p.astype(np.float32) for p in pictures), window)
    assert (dx, dy) == pytest.approx((34 / 4, -21 / 4), abs=1.5)


def test_names_carry_local_time_of_a_zone_without_summer_time() -> None:
    assert frame_name(SMALL, 13) == "barn-1/2025-03-03T13-00-00.jpg"
    offsets = {FIRST_DAY.replace(month=month).utcoffset() for month in range(1, 13)}
    assert len(offsets) == 1
