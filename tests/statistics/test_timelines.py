"""Timelines: gaps stay unknown, budgets add up, days end at local midnight."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from besana.errors import ConfigError
from besana.statistics.local_time import (
    day_date,
    day_edges_s,
    day_number,
    local_days,
    local_seconds,
)
from besana.statistics.timelines import (
    UNKNOWN,
    bouts,
    cow_comfort_index,
    occupancy,
    time_budgets,
    timeline,
)

LYING, STANDING, EMPTY = 0, 1, 2


def test_a_state_holds_until_the_next_frame() -> None:
    line = timeline(
        np.array([0, 300, 600, 900]),
        np.array([LYING, LYING, STANDING, EMPTY]),
        frame_interval_s=300,
    )
    assert line.edges_s.tolist() == [0, 600, 900, 1200]
    assert line.states.tolist() == [LYING, STANDING, EMPTY]


def test_a_long_gap_is_unknown_and_a_short_one_is_not() -> None:
    line = timeline(np.array([0, 900, 1801]), np.array([EMPTY] * 3), frame_interval_s=300)
    assert line.edges_s.tolist() == [0, 900, 1801, 2101]
    assert line.states.tolist() == [EMPTY, UNKNOWN, EMPTY]


def test_frames_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="time order"):
        timeline(np.array([300, 0]), np.array([0, 0]), frame_interval_s=300)
    with pytest.raises(ConfigError, match="interval"):
        timeline(np.array([0]), np.array([0]), frame_interval_s=0)


def test_no_frames_are_all_unknown() -> None:
    line = timeline(np.array([]), np.array([], dtype=int), frame_interval_s=300)
    assert time_budgets(line, np.array([0, 50, 100]), states=3)[:, 3].tolist() == [50, 50]
    assert len(bouts(line, LYING)) == 0


@given(
    rows=st.lists(st.tuples(st.integers(0, 90_000), st.integers(-1, 2)), max_size=40),
    edges=st.lists(st.integers(-10_000, 120_000), min_size=2, max_size=6, unique=True),
    interval=st.integers(1, 5000),
)
def test_budgets_add_up(rows: list[tuple[int, int]], edges: list[int], interval: int) -> None:
    rows.sort(key=lambda row: row[0])
    at = np.array([row[0] for row in rows], dtype=np.int64)
    states = np.array([row[1] for row in rows], dtype=np.int64)
    line = timeline(at, states, frame_interval_s=interval)
    windows = np.array(sorted(edges))
    budgets = time_budgets(line, windows, states=3)

    assert (budgets >= 0).all()
    assert budgets.sum(axis=1) == pytest.approx(np.diff(windows))
    whole = time_budgets(line, windows[[0, -1]], states=3)
    assert budgets.sum(axis=0) == pytest.approx(whole[0])
    assert (np.diff(line.states) != 0).all()
    if len(at):
        spans = [np.diff(bouts(line, state)).sum() for state in range(-1, 3)]
        assert sum(spans) == pytest.approx(at[-1] + interval - at[0])


def test_indices_of_a_known_day() -> None:
    lying, standing, empty = np.array([12.0, 0.0]), np.array([3.0, 0.0]), np.array([5.0, 0.0])
    assert cow_comfort_index(lying, standing)[0] == 0.8
    assert occupancy(lying + standing, lying + standing + empty)[0] == 0.75
    assert np.isnan(cow_comfort_index(lying, standing)[1])


def test_days_are_the_cameras_own() -> None:
    # 17:00 UTC is already tomorrow in Shanghai.
    at = np.array([int(dt.datetime(2021, 3, 7, 17, tzinfo=dt.UTC).timestamp())])
    assert day_date(int(local_days(at, "Asia/Shanghai")[0])) == dt.date(2021, 3, 8)
    assert day_date(int(local_days(at, "UTC")[0])) == dt.date(2021, 3, 7)


def test_days_are_shorter_and_longer_when_clocks_change() -> None:
    spring = day_number(dt.date(2024, 3, 31))
    autumn = day_number(dt.date(2024, 10, 27))
    assert np.diff(day_edges_s(spring - 1, spring, "Europe/Madrid")).tolist() == [86_400, 82_800]
    assert np.diff(day_edges_s(autumn, autumn, "Europe/Madrid")).tolist() == [90_000]


@given(
    seconds=st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=20),
    zone=st.sampled_from(["UTC", "Europe/Madrid", "America/St_Johns", "Asia/Kathmandu"]),
)
def test_local_seconds_are_what_the_wall_clock_shows(seconds: list[int], zone: str) -> None:
    from zoneinfo import ZoneInfo

    shown = local_seconds(np.array(seconds), zone)
    for at, local in zip(seconds, shown.tolist(), strict=True):
        wall = dt.datetime.fromtimestamp(at, ZoneInfo(zone)).replace(tzinfo=dt.UTC)
        assert local == int(wall.timestamp())


def test_an_unknown_time_zone_is_an_error() -> None:
    with pytest.raises(ConfigError, match="Barnland"):
        local_seconds(np.array([0]), "Europe/Barnland")
