"""Months of a barn without pixels: few false alarms, and changes are found."""

from __future__ import annotations

from dataclasses import fields

import pytest

from besana.simulation.streams import Samples, draw_samples
from besana.simulation.watching import watch_samples
from besana.watching.look import ACCURACY, drifting


def episodes(looks):
    """Count the times that a camera goes from as usual to changed."""
    changed = [bool(drifting(one.findings)) for one in looks]
    return sum(now and not before for before, now in zip([False, *changed], changed, strict=False))


def test_a_month_of_a_barn_that_does_not_change_is_quiet():
    looks = list(watch_samples(draw_samples(5, 24), train_days=10))
    assert len(looks) == 53
    assert episodes(looks) == 0


def test_a_budget_of_many_false_alarms_is_used():
    looks = list(watch_samples(draw_samples(5, 24), train_days=10, false_alarms=3000.0))
    assert episodes(looks) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_at_the_default_there_is_at_most_one_false_alarm_a_camera_and_month():
    months = found = 0.0
    for seed in range(100, 112):
        looks = list(watch_samples(draw_samples(seed, 40), train_days=10))
        months += 29 / 30.44
        found += episodes(looks)
    assert months > 11
    assert found / months <= 1


def test_other_cows_are_found():
    samples = draw_samples(12, 18, new_herd_from_day=13, strength=2.0)
    looks = list(watch_samples(samples, train_days=10))
    found = [one.end_day for one in looks if drifting(one.findings)]
    assert found
    assert 13 < found[0] <= 14


@pytest.mark.slow
def test_another_herd_is_found_within_a_day_in_most_barns():
    hours = []
    for seed in range(8):
        samples = draw_samples(seed, 15, new_herd_from_day=13, strength=2.0)
        looks = watch_samples(samples, train_days=10)
        found = [one.end_day for one in looks if one.end_day > 13 and drifting(one.findings)]
        hours.append((found[0] - 13) * 24 if found else float("inf"))
    assert sum(one <= 24 for one in hours) >= 7


def test_a_camera_that_sends_one_frame_has_not_lost_its_accuracy():
    whole = draw_samples(5, 12)
    kept = (whole.time_s < 10 * 86_400) | (whole.time_s == 11 * 86_400 - 300)
    samples = Samples(*(getattr(whole, one.name)[kept] for one in fields(whole)))
    looks = watch_samples(samples, train_days=10)
    [one] = [row for row in next(looks).findings if row.signal == ACCURACY]
    assert one.samples == 3
    assert one.value > one.expected - 0.1
