"""What state a region was in and for how long, with unknown time kept unknown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.errors import ConfigError
from besana.statistics.ratios import ratio

UNKNOWN = -1

# A gap longer than this many frame intervals is unknown time.
GAP_INTERVALS = 3


@dataclass(frozen=True)
class Timeline:
    """Spans of time in one state each, without holes between them.

    Attributes:
        edges_s: (spans + 1,) UTC seconds; span i reaches from `edges_s[i]` to `edges_s[i + 1]`.
        states: (spans,) state of each span, `UNKNOWN` or from 0; neighbours differ.
    """

    edges_s: NDArray[np.float64]
    states: NDArray[np.int64]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Length of each span, (spans,)."""
        return np.diff(self.edges_s)


def timeline(
    captured_at_s: NDArray[np.number], states: NDArray[np.integer], *, frame_interval_s: float
) -> Timeline:
    """Turn the states seen in frames into spans of time.

    A state holds from its frame to the next one; a gap longer than three intervals is unknown,
    never filled in, so that a dead camera cannot look like an empty bed. The last frame holds
    for one interval.

    Args:
        captured_at_s: (n,) UTC seconds of the frames, in time order. Of several frames at the
            same second the last one counts.
        states: (n,) state in each frame, from 0; `UNKNOWN` where nobody can tell.
        frame_interval_s: Nominal seconds between two frames of this camera, above 0.

    Raises:
        ConfigError: If the frames are not in time order, or the interval is not above 0.
    """
    at = np.asarray(captured_at_s, dtype=np.float64)
    if not frame_interval_s > 0:
        raise ConfigError(f"A frame interval of {frame_interval_s} s is impossible.", "Use more.")
    gaps = np.diff(at)
    if (gaps < 0).any():
        raise ConfigError("The states are not in time order.", "Sort them by time first.")
    if len(at) == 0:
        return Timeline(np.zeros(1), np.zeros(0, dtype=np.int64))
    lengths = np.append(gaps, frame_interval_s)
    held = np.where(lengths > GAP_INTERVALS * frame_interval_s, UNKNOWN, states).astype(np.int64)
    starts, held = at[lengths > 0], held[lengths > 0]
    changes = np.append(True, np.diff(held) != 0)
    return Timeline(np.append(starts[changes], at[-1] + frame_interval_s), held[changes])


def time_budgets(
    line: Timeline, edges_s: NDArray[np.number], *, states: int
) -> NDArray[np.float64]:
    """Add up the seconds in each state between each two edges.

    What the timeline does not reach is unknown, so every row adds up to the length of its
    window.

    Args:
        line: The timeline.
        edges_s: (windows + 1,) rising UTC seconds, as `local_time.day_edges_s` gives them.
        states: How many states there are, numbered from 0.

    Returns:
        (windows, states + 1) seconds; the last column is unknown.

    >>> line = timeline(np.array([0, 60]), np.array([1, 0]), frame_interval_s=60)
    >>> time_budgets(line, np.array([0, 100, 200]), states=2).tolist()
    [[40.0, 60.0, 0.0], [20.0, 0.0, 80.0]]
    """
    edges = np.asarray(edges_s, dtype=np.float64)
    budgets = np.zeros((len(edges) - 1, states + 1))
    for state in range(states):
        seconds = np.where(line.states == state, line.seconds, 0.0)
        elapsed = np.append(0.0, np.cumsum(seconds))
        budgets[:, state] = np.diff(np.interp(edges, line.edges_s, elapsed))
    budgets[:, states] = np.maximum(np.diff(edges) - budgets[:, :states].sum(axis=1), 0.0)
    return budgets


def bouts(line: Timeline, state: int) -> NDArray[np.float64]:
    """Give the beginning and end of every unbroken stretch in a state, (bouts, 2) UTC seconds.

    A stretch that touches unknown time is given too, and is then shorter than it really was.
    """
    inside = line.states == state
    return np.stack([line.edges_s[:-1][inside], line.edges_s[1:][inside]], axis=1)


def occupancy(occupied_s: NDArray[np.float64], known_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the share of the known time that a place was occupied; NaN where nothing is known."""
    return ratio(occupied_s, known_s)


def cow_comfort_index(
    lying_s: NDArray[np.float64], standing_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the share of the time in a stall that cows lie: lying / (lying + standing).

    After Nelson (1996), as described by Cook, Bennett and Nordlund (2005, Journal of Dairy
    Science 88:3876): of the cows that touch a stall, the share that lies in it; here over time
    instead of over cows. NaN where no cow was seen.
    """
    return ratio(lying_s, lying_s + standing_s)
