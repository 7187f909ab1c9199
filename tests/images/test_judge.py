"""Frames are judged by their own camera's frames; repeats name the frame that they repeat."""

import datetime as dt
import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from besana.config import parse
from besana.errors import ConfigError
from besana.images.judge import Rules, moved, thresholds
from besana.images.population import Population, windows_s
from besana.images.views import Move

START = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)


@dataclass
class Row:
    frame_id: str
    camera: str = "pen"
    captured_at: dt.datetime | None = START
    sha256: str = ""
    light: str = "day"
    width_px: int = 640
    brightness: float = 110.0
    bright_share: float = 0.01
    contrast: float = 50.0
    sharpness: float = 400.0
    entropy_bits: float = 7.0
    perceptual_hash: int = 0
    shift_x_px: float | None = 0.0
    shift_y_px: float | None = 0.0

    def __post_init__(self) -> None:
        self.sha256 = self.sha256 or hashlib.sha256(self.frame_id.encode()).hexdigest()


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def judge(rows: list[Row], rules: Rules | None = None, **intervals_s: float) -> dict[str, list]:
    """Issues of rows of a camera `pen` that is fixed if any of its rows has a shift."""
    rules = rules or Rules()
    fixed = {row.camera for row in rows if row.shift_x_px is not None}
    first_of = {row.sha256: row.frame_id for row in reversed(rows)}
    windows = windows_s(rules, fixed, intervals_s)
    population = Population(windows, first_of, rules.moved_above_share)
    for row in rows:
        population.add(row)
    judgement = population.judgement(rules)
    return {row.frame_id: judgement.issues(row) for row in rows}


def kinds(found: dict[str, list]) -> dict[str, list[str]]:
    return {frame: [issue.kind for issue in issues] for frame, issues in found.items() if issues}


def usual(count: int = 30, **changes: object) -> list[Row]:
    rng = np.random.default_rng(4)
    return [
        Row(
            f"pen/{number:03d}",
            captured_at=at(300 * number),
            perceptual_hash=int(rng.integers(-(2**62), 2**62)),
            brightness=110 + rng.normal(0, 4),
            sharpness=400 * np.exp(rng.normal(0, 0.1)),
            **changes,
        )
        for number in range(count)
    ]


def again(row: Row, mark: str, **changes: object) -> Row:
    """Another frame like this one, of another day."""
    return replace(
        row,
        frame_id=f"pen/{mark}{row.frame_id[-3:]}",
        sha256="",
        captured_at=row.captured_at + dt.timedelta(days=1),
        **changes,
    )


def test_usual_frames_have_no_issue() -> None:
    assert kinds(judge(usual())) == {}


@pytest.mark.parametrize(
    ("figures", "kind"),
    [
        ({"brightness": 5.0}, "dark"),
        ({"bright_share": 0.9}, "overexposed"),
        ({"sharpness": 40.0}, "blurry"),
        ({"entropy_bits": 0.7}, "low_information"),
        ({"contrast": 0.4, "brightness": 0.0, "sharpness": 0.0}, "no_signal"),
    ],
)
def test_unusual_frame_is_found(figures: dict[str, float], kind: str) -> None:
    odd = Row("pen/999", captured_at=at(300 * 999), perceptual_hash=2**61, **figures)
    assert kinds(judge([*usual(), odd])) == {"pen/999": [kind]}


def test_half_of_the_frames_may_be_dark() -> None:
    dark = [again(row, "d", brightness=3.0) for row in usual(24)]
    found = kinds(judge([*usual(30), *dark]))
    assert sum("dark" in issues for issues in found.values()) == 24


def test_day_and_night_are_judged_apart() -> None:
    night = [again(row, "n", light="ir", sharpness=row.sharpness / 20) for row in usual()]
    assert kinds(judge([*usual(), *night])) == {}


def test_setting_replaces_the_cameras_own_threshold() -> None:
    found = kinds(judge(usual(), Rules(blur_below=1e6)))
    assert found == {row.frame_id: ["blurry"] for row in usual()}


def test_unknown_blocking_issue_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown issue 'blury'"):
        parse(Rules, {"blocking": ["blury"]}, where="[clean]")


def test_same_bytes_name_the_first_frame() -> None:
    rows = usual(4)
    for row in rows[1:3]:
        row.sha256 = rows[0].sha256
    found = judge(rows)
    assert {frame: issues[0].detail for frame, issues in found.items() if issues} == {
        "pen/001": "pen/000",
        "pen/002": "pen/000",
    }


def test_burst_names_its_first_frame_and_cannot_grow() -> None:
    rows = [Row(f"pen/{s:04d}", captured_at=at(s)) for s in range(0, 400, 50)]
    found = judge(rows, pen=300.0)
    assert {frame: issues[0].detail for frame, issues in found.items() if issues} == {
        "pen/0050": "pen/0000",
        "pen/0100": "pen/0000",
        "pen/0200": "pen/0150",
        "pen/0250": "pen/0150",
        "pen/0350": "pen/0300",
    }


def test_frames_of_a_fixed_camera_that_come_when_due_repeat_nothing() -> None:
    rows = [Row(f"pen/{s:04d}", captured_at=at(s)) for s in range(0, 600, 60)]
    assert kinds(judge(rows, pen=60.0)) == {}


def test_frames_without_time_are_compared_with_all_others() -> None:
    rows = usual(5, shift_x_px=None, shift_y_px=None)
    late = Row("pen/zzz", captured_at=None, perceptual_hash=rows[2].perceptual_hash ^ 0b1011)
    late.shift_x_px = None
    assert [issue.detail for issue in judge([*rows, late])["pen/zzz"]] == ["pen/002"]


def test_frames_without_signal_resemble_nothing() -> None:
    rows = [Row(f"pen/{n}", captured_at=None, contrast=0.1) for n in range(3)]
    assert kinds(judge(rows)) == {f"pen/{n}": ["no_signal"] for n in range(3)}


def test_lost_view_is_told_as_such() -> None:
    issue = moved(Move("pen/007", (640.0, 0.0), is_told=True), 640)
    assert issue is not None
    assert issue.detail == "shows something else than at first, since 007"
    assert moved(None, 640) is None


def test_frame_that_lies_elsewhere_for_once_was_not_moved() -> None:
    odd = [again(row, "m", shift_x_px=30.0) for row in usual(4)]
    assert kinds(judge([*usual(), *odd])) == {}


def test_moved_camera_is_told_from_its_first_frame_on_also_where_nothing_was_measured() -> None:
    after = [again(row, "m", shift_x_px=30.0) for row in usual(8)]
    after[2].shift_x_px = after[2].shift_y_px = None
    found = judge([*usual(), *after])
    assert kinds(found) == {row.frame_id: ["camera_moved"] for row in after}
    assert {issues[0].detail for issues in found.values() if issues} == {
        f"+30 px right, +0 px down, since {after[0].frame_id[4:]}"
    }


@given(st.lists(st.floats(0, 255), max_size=60), st.floats(0.5, 20))
def test_thresholds_stay_within_their_bounds(values: list[float], spread: float) -> None:
    figures = {
        name: np.array(values)
        for name in ("brightness", "bright_share", "sharpness", "entropy_bits")
    }
    limits = thresholds(figures, Rules(outlier_spread=spread))
    assert 8 <= limits.dark_below <= 25
    assert 0.3 <= limits.overexposed_above <= 0.8
    assert 1 <= limits.low_information_below <= 3
    assert limits.blur_below >= 3
