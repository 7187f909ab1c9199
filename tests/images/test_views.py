"""Views of a camera: one move is one event, day and night agree, what is short does not count."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from besana.images.views import Offset, Views

WIDTH_PX = 1000
SHARE = 0.006
Frame = tuple[str, Offset]


def frames(*parts: tuple[int, str, float, float]) -> list[Frame]:
    """(count, light, x, y): so many frames of a light at a place, with a little noise."""
    rng = np.random.default_rng(0)
    found: list[Frame] = []
    for count, light, x, y in parts:
        for _ in range(count):
            found.append((light, (x + rng.normal(0, 0.5), y + rng.normal(0, 0.5))))
    return found


def followed(shown: list[Frame]) -> Views:
    views = Views(SHARE)
    for number, (light, shift) in enumerate(shown):
        views.add(f"pen/{number:05d}", light, shift, WIDTH_PX)
    return views


def moves(shown: list[Frame]) -> list[tuple[int, float, float, bool]]:
    return [
        (int(move.first[4:]), round(move.offset[0] / 5) * 5, round(move.offset[1] / 5) * 5, told)
        for move in followed(shown).moves
        for told in [move.is_told]
    ]


def test_still_camera_was_never_moved() -> None:
    assert moves(frames(*[(100, "day", 0, 0), (80, "ir", 0, 0)] * 3)) == []


def test_short_outliers_are_no_move() -> None:
    shown = frames((50, "day", 0, 0), (4, "day", 40, 0), (50, "day", 0, 0), (3, "day", 1000, 0))
    assert moves(shown) == []


def test_outliers_that_do_not_agree_are_no_move() -> None:
    wild = [("day", (30.0 * n, -20.0 * n)) for n in range(1, 12)]
    assert moves([*frames((50, "day", 0, 0)), *wild, *frames((9, "day", 0, 0))]) == []


def test_move_begins_with_its_first_frame() -> None:
    assert moves(frames((50, "day", 0, 0), (20, "day", 30, -10))) == [(50, 30, -10, True)]


def test_reference_from_after_a_move_tells_it_against_the_first_view() -> None:
    assert moves(frames((20, "day", -30, 10), (500, "day", 0, 0))) == [(20, 30, -10, True)]


def test_every_move_is_an_event_against_the_first_view() -> None:
    shown = frames((50, "day", 0, 0), (20, "day", 30, 0), (20, "day", 30, 40), (20, "day", 0, 0))
    assert moves(shown) == [(50, 30, 0, True), (70, 30, 40, True), (90, 0, 0, False)]


def test_move_at_night_is_one_event_with_what_the_day_shows() -> None:
    shown = frames((50, "day", 0, 0), (20, "ir", 0, 0), (20, "ir", 25, 5), (50, "day", 25, 5))
    assert moves(shown) == [(70, 25, 5, True)]


def test_night_whose_reference_is_from_after_the_move_agrees() -> None:
    shown = frames((50, "day", 0, 0), (50, "day", 25, 5), (50, "ir", 0, 0), (50, "day", 25, 5))
    views = followed(shown)
    assert [move.first for move in views.moves] == ["pen/00050"]
    assert views.of("pen/00120") == views.moves[0]


def test_night_that_still_has_its_view_contradicts_the_day() -> None:
    shown = frames((50, "ir", 0, 0), (50, "day", 0, 0), (50, "day", 25, 0), (50, "ir", 0, 0))
    assert moves(shown) == [(100, 25, 0, True), (150, 0, 0, False)]


def test_lost_view_is_an_event_and_so_is_its_end() -> None:
    shown = frames((50, "day", 0, 0), (9, "day", WIDTH_PX, 0), (50, "day", 0, 0))
    shown[50:59] = [("day", (float(WIDTH_PX), 0.0))] * 9
    assert moves(shown) == [(50, WIDTH_PX, 0, True), (59, 0, 0, False)]


def test_slow_sag_is_told_in_the_end() -> None:
    sag = [("day", (0.05 * number, 0.0)) for number in range(400)]
    found = followed(sag).moves
    assert found
    assert found[-1].is_told
    assert found[-1].offset[0] == pytest.approx(0.05 * int(found[-1].first[4:]), abs=4)


@given(
    st.lists(st.tuples(st.integers(8, 30), st.integers(-90, 90)), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
def test_moves_are_found_where_they_were_made(parts: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shown, places = [], []
    for count, x in parts:
        if places and abs(x - places[-1]) < 15:
            x = places[-1] + 15
        places.append(x)
        shown += [("day", (x + rng.normal(0, 0.5), rng.normal(0, 0.5))) for _ in range(count)]
    found = followed(shown).moves
    starts = list(accumulate(count for count, _ in parts))[:-1]
    assert [int(move.first[4:]) for move in found] == starts
    for move, x in zip(found, places[1:], strict=True):
        assert move.offset[0] == pytest.approx(x - places[0], abs=2)
