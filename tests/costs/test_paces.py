"""Paces: fitted to runs, honest about what they do not know."""

from __future__ import annotations

import numpy as np
import pytest

from besana.costs.paces import Observation, fit, pace_of


def runs(*pairs: tuple[int, float], stage: str = "prepare", key: str = "") -> list[Observation]:
    return [Observation(stage, key, items, seconds) for items, seconds in pairs]


def test_start_and_seconds_an_item_are_told_apart():
    pace = fit(runs((10, 3.0), (40, 6.0), (100, 12.0)))
    assert pace.start_s.likely == pytest.approx(2.0)
    assert pace.item_s.likely == pytest.approx(0.1)
    assert pace.seconds(200).likely == pytest.approx(22.0)
    assert pace.seconds(0).high == 0


def test_the_range_grows_with_the_noise_and_beyond_what_was_seen():
    quiet = fit(runs((10, 3.0), (40, 6.0), (100, 12.0)))
    noisy = fit(runs((10, 3.0), (10, 6.0), (100, 12.0), (100, 20.0)))
    assert noisy.spread > quiet.spread
    assert fit(runs((10, 3.0), (100, 12.0))).spread > quiet.spread  # two runs tell nothing

    def width(items):
        span = quiet.seconds(items)
        return span.high / span.likely

    assert width(100) == pytest.approx(width(50))
    assert width(100_000) > width(1000) > width(100)


def test_neither_start_nor_item_is_below_nothing():
    faster = fit(runs((10, 12.0), (100, 10.0)))
    assert faster.item_s.likely == 0
    assert faster.start_s.likely > 0
    slower = fit(runs((10, 0.5), (100, 12.0)))
    assert slower.start_s.likely == 0
    assert slower.item_s.likely > 0


def test_runs_of_one_size_leave_the_start_open():
    pace = fit(runs((100, 10.0), (100, 10.0)))
    span = pace.seconds(100)
    assert span.contains(10.0)
    assert pace.seconds(1000).low < 40 < 100 < pace.seconds(1000).high * 1.01


def test_runs_with_the_same_key_count_first_and_others_with_doubt():
    seen = runs((10, 1.0), (100, 10.0), key="256 px") + runs((10, 4.0), (100, 40.0), key="512 px")
    assert pace_of("prepare", "512 px", seen).seconds(100).likely == pytest.approx(40.0)
    other = pace_of("prepare", "128 px", seen)
    assert other.spread >= 1
    assert pace_of("clean", "", seen).runs == 0


def test_an_assumption_is_wide_and_says_that_nobody_measured():
    pace = pace_of("train", "probe", [])
    assert pace.runs == 0
    span = pace.seconds(10_000)
    assert span.high > 10 * span.low


def test_planned_ranges_hold_most_runs_of_sizes_not_seen():
    """Seconds that scatter by a tenth stay within the range fitted to three other sizes."""
    random = np.random.default_rng(7)

    def seconds(items: int) -> float:
        return (3 + 0.05 * items) * float(random.normal(1, 0.1))

    inside = 0
    for _ in range(200):
        pace = fit(runs(*((n, seconds(n)) for n in (50, 200, 800))))
        inside += sum(pace.seconds(n).contains(seconds(n)) for n in (100, 400, 3000))
    assert inside / 600 > 0.85
