"""Where a film strip changes: runs of frames that look alike, found all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_DIMENSIONS = 12
_LONGEST = 5000
_SURE = 0.7


def change_points(looks: Floats, *, sensitivity: float = 1.0) -> list[int]:
    """Cut a strip into runs: the best cut of all, at a price a run (Jackson et al. 2005).

    Every look is set to mean 0 and deviation 1, so that light that comes and goes changes little;
    then all are turned to the directions in which they differ most. The noise is read from
    neighbouring frames.

    Args:
        looks: (frames, pixels) of small pictures in the order of time, 5000 at most.
        sensitivity: Above 1 more runs, below 1 fewer.

    Returns:
        Where runs begin, rising from 0.

    >>> still = np.tile(np.array([[0, 1, 2, 3]], np.float32), (6, 1))
    >>> rng = np.random.default_rng(0)
    >>> moving = np.concatenate([still, still[:, ::-1]]) + 0.01 * rng.random((12, 4))
    >>> change_points(moving.astype(np.float32))
    [0, 6]
    """
    frames = min(len(looks), _LONGEST)
    if frames < 2:
        return [0] if frames else []
    x = _turned(looks[:frames])
    steps = (np.diff(x, axis=0) ** 2).sum(axis=1) / 2
    price = 3.0 * max(_noise(steps), 1e-9) * np.log(frames) / sensitivity
    return _cheapest(x, price)


def _noise(steps: NDArray[np.float64]) -> float:
    """Tell how far neighbours are apart that show the same.

    That is what half of them are, unless so many show something else, as where frames are far
    apart in time, that the middle one is a change itself; then a quarter of them tell.
    """
    quarter, middle = (float(step) for step in np.quantile(steps, (0.25, 0.5)))
    return 4.0 * quarter if middle > 8.0 * quarter else 1.5 * middle


def _turned(looks: Floats) -> NDArray[np.float64]:
    x = looks.astype(np.float64)
    x = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-6)
    x = x - x.mean(axis=0)
    _, vectors = np.linalg.eigh(x.T @ x)
    return np.asarray(x @ vectors[:, ::-1][:, :_DIMENSIONS])


def _cheapest(x: NDArray[np.float64], price: float) -> list[int]:
    """Minimise the squares within runs plus a price a run, by dynamic programming."""
    frames = len(x)
    sums = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum((x**2).sum(axis=1))])
    best = np.full(frames + 1, np.inf)
    best[0] = -price
    before = np.zeros(frames + 1, np.int64)
    for end in range(1, frames + 1):
        starts = np.arange(end)
        within = squares[end] - squares[:end]
        within = within - ((sums[end] - sums[:end]) ** 2).sum(axis=1) / (end - starts)
        cost = best[:end] + within + price
        before[end] = int(cost.argmin())
        best[end] = cost[before[end]]
    found, end = [], frames
    while end > 0:
        end = int(before[end])
        found.append(end)
    return found[::-1]


@dataclass(frozen=True, slots=True)
class Run:
    """Frames that follow each other and look alike, or get one class.

    Attributes:
        start: First frame.
        end: First frame behind it.
        proposed: Index of the class that a model proposes for it; -1 for none.
    """

    start: int
    end: int
    proposed: int


def runs_of(
    starts: Sequence[int],
    proposed: NDArray[np.integer],
    certainty: Floats,
) -> list[Run]:
    """Join runs that a model calls the same, and cut those inside which it sees a change.

    An animal that shifts looks different and is still the same class; one that lies down behind a
    rail looks alike and is another. Where the model knows nothing the runs stay as they are.

    Args:
        starts: From `change_points`.
        proposed: (frames,) index of the class a model proposes for each frame, -1 for none.
        certainty: (frames,) its probability.

    >>> sure = np.ones(8, np.float32)
    >>> [(run.start, run.end) for run in runs_of([0, 3], np.array([0] * 5 + [1] * 3), sure)]
    [(0, 5), (5, 8)]
    >>> [(run.start, run.end) for run in runs_of([0, 3], np.full(8, -1), sure)]
    [(0, 3), (3, 8)]
    """
    frames = len(proposed)
    sure = np.where(certainty >= _SURE, proposed, -1)
    smooth = _most_of_three(sure)
    runs: list[Run] = []
    for start, end in zip(starts, [*starts[1:], frames], strict=True):
        for first, last, name in _parts(smooth, start, end):
            if runs and name >= 0 and runs[-1].proposed == name:
                runs[-1] = Run(runs[-1].start, last, name)
            else:
                runs.append(Run(first, last, name))
    return runs


def _parts(smooth: NDArray[np.integer], start: int, end: int) -> list[tuple[int, int, int]]:
    """Cut a run where the class changes for good; frames of no class go with those before."""
    known = [place for place in range(start, end) if smooth[place] >= 0]
    if not known:
        return [(start, end, -1)]
    parts, first, name = [], start, int(smooth[known[0]])
    for place in known[1:]:
        if smooth[place] != name:
            parts.append((first, place, name))
            first, name = place, int(smooth[place])
    parts.append((first, end, name))
    return parts


def _most_of_three(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """Replace a value that neither neighbour shares, where the neighbours agree."""
    smooth = values.copy()
    alone = (values[1:-1] != values[:-2]) & (values[:-2] == values[2:])
    smooth[1:-1][alone] = values[:-2][alone]
    return smooth
