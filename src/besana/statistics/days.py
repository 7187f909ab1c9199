"""Frames of one camera cut into local days as they come, each day with its time budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from besana.statistics.local_time import day_date, day_edges_s, local_days
from besana.statistics.timelines import UNKNOWN, Timeline, time_budgets, timeline

# A camera that was off for longer than this was taken away; its empty days are not listed.
MOST_EMPTY_DAYS = 31


@dataclass(frozen=True)
class RegionDay:
    """What one region was in during one local day.

    Attributes:
        region: The region.
        day: The local day, as 2026-03-01.
        line: The day's timeline from midnight to midnight; unknown where nobody can tell.
        seconds: (states + 1,) seconds in each state, the last one unknown.
    """

    region: str
    day: str
    line: Timeline
    seconds: NDArray[np.float64]


class DayByDay:
    """Turn the states seen in one camera's frames into days, holding two days at most.

    A day is finished when a frame of a later day has come, because only that frame tells for how
    long the last state of the day held.

    Args:
        states: How many states there are, numbered from 0.
        zone: IANA name of the camera's time zone.
        frame_interval_s: Nominal seconds between two frames, above 0.
    """

    def __init__(self, states: int, zone: str, frame_interval_s: float) -> None:
        self._count = states
        self._zone = zone
        self._interval_s = frame_interval_s
        self._at_s = np.zeros(0)
        self._days = np.zeros(0, dtype=np.int64)
        self._states: dict[str, NDArray[np.int64]] = {}
        self._open_day: int | None = None

    def add(
        self, at_s: NDArray[np.float64], states: Mapping[str, NDArray[np.int64]]
    ) -> Iterator[RegionDay]:
        """Take in frames and give the days that are finished.

        Args:
            at_s: (n,) UTC seconds, none earlier than what was added before.
            states: Region -> (n,) state, `UNKNOWN` where nobody can tell. A region that is
                missing here, or was missing before, is unknown in those frames.
        """
        if len(at_s) == 0:
            return
        before = len(self._at_s)
        for region in {**self._states, **states}:
            old = self._states.get(region, np.full(before, UNKNOWN))
            new = states.get(region, np.full(len(at_s), UNKNOWN))
            self._states[region] = np.concatenate([old, new])
        self._at_s = np.concatenate([self._at_s, at_s])
        days = local_days(np.floor(at_s).astype(np.int64), self._zone)
        self._days = np.concatenate([self._days, days])
        if self._open_day is None:
            self._open_day = int(days[0])
        yield from self._finish(int(self._days[-1]))

    def end(self) -> Iterator[RegionDay]:
        """Give the last day; its last frame holds for one interval."""
        if self._open_day is not None:
            yield from self._finish(int(self._days[-1]) + 1)

    def _finish(self, stop: int) -> Iterator[RegionDay]:
        """Give the days before `stop` and forget their frames, but for the last one."""
        assert self._open_day is not None
        for day in self._listed(self._open_day, stop):
            yield from self._day(day)
        self._open_day = stop
        keep = max(int(np.searchsorted(self._days, stop)) - 1, 0)
        self._at_s, self._days = self._at_s[keep:], self._days[keep:]
        self._states = {region: states[keep:] for region, states in self._states.items()}

    def _listed(self, start: int, stop: int) -> Iterator[int]:
        seen = [int(day) for day in np.unique(self._days) if start <= day < stop]
        for day, following in pairwise([*seen, stop]):
            yield day
            if following - day - 1 <= MOST_EMPTY_DAYS:
                yield from range(day + 1, following)

    def _day(self, day: int) -> Iterator[RegionDay]:
        edges_s = day_edges_s(day, day, self._zone)
        first, behind = np.searchsorted(self._days, [day, day + 1])
        # One frame before tells what the day began in, one behind until when it lasted.
        part = slice(max(int(first) - 1, 0), int(behind) + 1)
        for region, states in self._states.items():
            line = timeline(self._at_s[part], states[part], frame_interval_s=self._interval_s)
            seconds = time_budgets(line, edges_s, states=self._count)[0]
            within = clipped(line, float(edges_s[0]), float(edges_s[1]))
            yield RegionDay(region, day_date(day).isoformat(), within, seconds)


def clipped(line: Timeline, start_s: float, stop_s: float) -> Timeline:
    """Cut a timeline to a stretch of time and fill what it does not reach with unknown.

    >>> line = Timeline(np.array([0.0, 50.0, 80.0]), np.array([1, 0]))
    >>> clipped(line, 40, 100).edges_s.tolist(), clipped(line, 40, 100).states.tolist()
    ([40.0, 50.0, 80.0, 100.0], [1, 0, -1])
    """
    edges = np.concatenate([[start_s], np.clip(line.edges_s, start_s, stop_s), [stop_s]])
    states = np.concatenate([[UNKNOWN], line.states, [UNKNOWN]])
    states = states[: len(edges) - 1]
    kept = np.diff(edges) > 0
    starts, held = edges[:-1][kept], states[kept]
    changes = np.append(True, np.diff(held) != 0)[: len(held)]
    return Timeline(np.append(starts[changes], stop_s), held[changes])
