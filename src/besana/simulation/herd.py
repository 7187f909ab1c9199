"""When each bed of the simulated barn is lain in, stood in or empty, minute by minute.

The durations follow Ito, Weary and von Keyserlingk (2009, J. Dairy Sci. 92:4412): cows lay down
11.0 +- 2.1 h a day, with bout lengths from 65 to 112 min across farm means. We take 72 min.
"""

from __future__ import annotations

import bisect
import functools
import math
from dataclasses import dataclass

import numpy as np

CLASSES = ("lying", "standing", "empty")
COWS = 14
DAY_S = 86_400.0
MILKINGS_S = ((5.0 * 3600, 6.4 * 3600), (16.0 * 3600, 17.3 * 3600))
# One stream of random numbers for each purpose, so that a change in one leaves the others alone.
STREAM_BED, STREAM_COW, STREAM_PLACE = 11, 12, 13


@dataclass(frozen=True, slots=True)
class Bout:
    """One cow in one posture in one bed, from its start to its end.

    Attributes:
        bed: Place of the bed in the row, counted from the left.
        cow: Number of the cow in the herd, 0 to `COWS` - 1.
        state: `lying` or `standing`.
        start_s: Seconds since the first midnight; below 0 for the evening before.
        end_s: Seconds since the first midnight.
        pose: Which of the posture's shapes, 0 to 3.
        shift_m: How far the cow is from the middle of the bed: to the right, towards the alley.
        turn_deg: How far the body is turned clockwise.
    """

    bed: int
    cow: int
    state: str
    start_s: float
    end_s: float
    pose: int
    shift_m: tuple[float, float]
    turn_deg: float


def _minutes(rng: np.random.Generator, mean: float, spread: float) -> float:
    """Draw a log-normal duration in seconds from a mean in minutes and a spread of its log."""
    return 60.0 * mean * math.exp(rng.normal(0.0, spread) - spread * spread / 2)


def _milking(time_s: float, early_s: float = 0.0) -> float | None:
    """Return when the milking under way ends, in seconds since the first midnight, or None."""
    day, second = divmod(time_s, DAY_S)
    for start, end in MILKINGS_S:
        if start - early_s <= second < end:
            return day * DAY_S + end
    return None


def _next_milking(time_s: float) -> float:
    day, second = divmod(time_s, DAY_S)
    later = [start for start, _ in MILKINGS_S if start > second]
    return day * DAY_S + (later[0] if later else DAY_S + MILKINGS_S[0][0])


def _gap_s(rng: np.random.Generator, time_s: float) -> float:
    """Draw how long a bed stays empty: shorter at night, when the herd rests."""
    hour = (time_s % DAY_S) / 3600
    return _minutes(rng, 34.0 if hour < 5 or hour >= 20 else 62.0, 0.7)


def _postures(rng: np.random.Generator) -> list[tuple[str, float]]:
    """Draw one visit: a cow comes, lies down once or more, stands in between, and leaves."""
    if rng.random() < 0.14:
        return [("standing", _minutes(rng, 17, 0.5))]
    visit = [("standing", _minutes(rng, 11, 0.6))]
    for again in (True, rng.random() < 0.5, rng.random() < 0.25):
        if not again:
            break
        visit += [("lying", _minutes(rng, 72, 0.45)), ("standing", _minutes(rng, 9, 0.6))]
    return visit


def _visits(seed: int, bed: int, end_s: float) -> list[list[tuple[str, float, float]]]:
    """Return the visits to one bed as (state, start, end) in seconds since the first midnight."""
    rng = np.random.default_rng([seed, STREAM_BED, bed])
    time_s = -DAY_S
    visits = []
    while time_s < end_s:
        time_s += _gap_s(rng, time_s)
        back = _milking(time_s, early_s=600.0)
        if back is not None:
            time_s = back + rng.exponential(1500.0)
        fetched = _next_milking(time_s) + rng.uniform(0.0, 1200.0)
        visit = []
        for state, duration_s in _postures(rng):
            until = min(time_s + duration_s, fetched)
            if until > time_s:
                visit.append((state, time_s, until))
            time_s = until
        visits.append(visit)
    return visits


def _bouts_of(visit: list[tuple[str, float, float]], bed: int, cow: int, seed: int) -> list[Bout]:
    """Give the bouts of a visit their shapes and places."""
    number = int(visit[0][1]) + int(DAY_S)
    rng = np.random.default_rng([seed, STREAM_PLACE, bed, number])
    bouts = []
    for state, start, end in visit:
        right, back = rng.normal(0.0, 0.07), rng.normal(0.0, 0.09)
        # Perching: the hind feet stay in the alley (about every third bout of standing).
        if state == "standing" and rng.random() < 0.33:
            back += rng.uniform(0.45, 0.8)
        turn = float(np.clip(rng.normal(0.0, 6.0), -14, 14))
        place = (float(np.clip(right, -0.15, 0.15)), float(back))
        bouts.append(Bout(bed, cow, state, start, end, int(rng.integers(4)), place, turn))
    return bouts


@dataclass(frozen=True)
class Herd:
    """The bouts of every bed, in order of time.

    Attributes:
        beds: Number of beds in the row.
        days: Number of days, each of 24 hours, from the first midnight.
        bouts: For each bed its bouts, which never overlap.
    """

    beds: int
    days: int
    bouts: tuple[tuple[Bout, ...], ...]

    def bout_at(self, bed: int, time_s: float) -> Bout | None:
        """Return the bout in a bed at a time, or None when the bed is empty.

        Args:
            bed: Place of the bed in the row.
            time_s: Seconds since the first midnight.
        """
        row = self.bouts[bed]
        place = bisect.bisect_right(row, time_s, key=lambda bout: bout.start_s) - 1
        return row[place] if place >= 0 and time_s < row[place].end_s else None

    def state_at(self, bed: int, time_s: float) -> str:
        """Return `lying`, `standing` or `empty` for a bed at a time in seconds."""
        bout = self.bout_at(bed, time_s)
        return "empty" if bout is None else bout.state

    def hours(self, bed: int, day: int) -> dict[str, float]:
        """Add up the hours that a bed was in each state on one day; they make 24 together."""
        start, end = day * DAY_S, (day + 1) * DAY_S
        seconds = {"lying": 0.0, "standing": 0.0}
        for bout in self.bouts[bed]:
            seconds[bout.state] += max(0.0, min(bout.end_s, end) - max(bout.start_s, start))
        hours = {state: value / 3600 for state, value in seconds.items()}
        return {**hours, "empty": 24.0 - sum(hours.values())}


@functools.lru_cache(maxsize=4)
def keep_herd(seed: int, days: int, beds: int) -> Herd:
    """Let the herd use the beds for some days.

    More days lengthen the story and change nothing of the days before.

    Args:
        seed: Any number of 0 or more; the same seed tells the same story.
        days: Number of days, 1 or more.
        beds: Number of beds in the row, at most half of `COWS`.
    """
    visits = sorted(
        (
            (visit[0][1], bed, visit)
            for bed in range(beds)
            for visit in _visits(seed, bed, days * DAY_S)
            if visit
        ),
        key=lambda entry: entry[:2],
    )
    rng = np.random.default_rng([seed, STREAM_COW])
    in_bed_until = np.full(COWS, -math.inf)
    rows: list[list[Bout]] = [[] for _ in range(beds)]
    for start, bed, visit in visits:
        free = np.flatnonzero(in_bed_until + 600.0 < start)
        cow = int(free[int(rng.random() * len(free))])
        in_bed_until[cow] = visit[-1][2]
        rows[bed] += _bouts_of(visit, bed, cow, seed)
    return Herd(beds, days, tuple(tuple(row) for row in rows))
