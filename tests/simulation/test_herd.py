from __future__ import annotations

import itertools

import numpy as np
import pytest

from besana.simulation.herd import CLASSES, MILKINGS_S, Herd, keep_herd


@pytest.fixture(scope="module", params=[0, 1, 2])
def herd(request: pytest.FixtureRequest) -> Herd:
    return keep_herd(request.param, 14, 5)


def test_lying_time_is_that_of_real_cows(herd: Herd) -> None:
    hours = [herd.hours(bed, day)["lying"] for bed in range(5) for day in range(14)]
    assert 10.0 < np.mean(hours) < 13.0
    assert min(hours) > 5.0
    assert max(hours) < 19.0


def test_bouts_last_about_an_hour(herd: Herd) -> None:
    minutes = [
        (bout.end_s - bout.start_s) / 60
        for row in herd.bouts
        for bout in row
        if bout.state == "lying"
    ]
    assert 50 < np.mean(minutes) < 80
    a_day = len(minutes) / 5 / 15
    assert 8 < a_day < 13


def test_standing_bouts_are_short(herd: Herd) -> None:
    minutes = [
        (bout.end_s - bout.start_s) / 60
        for row in herd.bouts
        for bout in row
        if bout.state == "standing"
    ]
    assert 5 < np.mean(minutes) < 20


def test_bouts_of_a_bed_never_overlap(herd: Herd) -> None:
    for row in herd.bouts:
        for before, after in itertools.pairwise(row):
            assert before.start_s < before.end_s <= after.start_s


def test_no_cow_is_in_two_beds_at_once(herd: Herd) -> None:
    bouts = sorted((b for row in herd.bouts for b in row), key=lambda b: (b.cow, b.start_s))
    for before, after in itertools.pairwise(bouts):
        assert before.cow != after.cow or before.end_s <= after.start_s


def test_beds_are_empty_in_the_middle_of_milking(herd: Herd) -> None:
    middle = [day * 86_400 + sum(span) / 2 for day in range(14) for span in MILKINGS_S]
    states = [herd.state_at(bed, time_s) for bed in range(5) for time_s in middle]
    assert states.count("empty") == len(states)


def test_hours_of_a_day_make_24(herd: Herd) -> None:
    for bed, day in itertools.product(range(5), range(14)):
        hours = herd.hours(bed, day)
        assert tuple(hours) == CLASSES
        assert sum(hours.values()) == pytest.approx(24.0)


def test_more_days_change_nothing_before() -> None:
    short = keep_herd(3, 2, 5)
    longer = keep_herd(3, 9, 5)
    for few, many in zip(short.bouts, longer.bouts, strict=True):
        until = [bout for bout in many if bout.start_s < 2 * 86_400]
        assert [bout for bout in few if bout.start_s < 2 * 86_400] == until
