"""What share of a field each class covers, by area, with intervals that respect neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from besana.statistics.intervals import Intervals, bootstrap
from besana.statistics.ratios import ratio

# 8192 blocks of ten classes are 0.7 MB; beyond that two neighbours become one block.
_MOST_BLOCKS = 8192


class Coverage:
    """Add up areas by class in blocks of neighbouring frames, in bounded memory.

    Neighbouring frames show neighbouring ground, so a block, not a tile, is what the bootstrap
    draws (Künsch, 1989, with blocks that do not overlap).

    Args:
        classes: How many classes there are.
        block_frames: Frames that make one block, 1 or more.
    """

    def __init__(self, classes: int, block_frames: int) -> None:
        self._block_frames = block_frames
        self._frames = 0
        self._blocks: list[NDArray[np.float64]] = []
        self._classes = classes
        self.tiles = 0

    @property
    def frames(self) -> int:
        """Frames added so far."""
        return self._frames

    def add_frame(self, areas: Sequence[float], classes: Sequence[Sequence[int]]) -> None:
        """Add the tiles of the next frame.

        Args:
            areas: Area of each tile, in any unit, above 0.
            classes: For each tile the numbers of the classes that it shows: one, or several, or
                none of them.
        """
        if self._frames % self._block_frames == 0:
            self._begin_block()
        block = self._blocks[-1]
        for area, shown in zip(areas, classes, strict=True):
            block[-1] += area
            block[list(shown)] += area
        self._frames += 1
        self.tiles += len(areas)

    def shares(self, *, level: float = 0.95, seed: int = 0) -> Intervals:
        """Give the share of the area that each class covers, (classes,), with intervals."""
        sums = np.array(self._blocks) if self._blocks else np.zeros((0, self._classes + 1))
        return bootstrap(sums, _shares, level=level, seed=seed)

    def _begin_block(self) -> None:
        if len(self._blocks) >= _MOST_BLOCKS:
            pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
            self._blocks = [one + other for one, other in pairs]
            self._block_frames *= 2
        self._blocks.append(np.zeros(self._classes + 1))


def tile_areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the area that each tile of a grid stands for, overlaps shared out.

    Where tiles overlap, as the last one of a row does, each counts an equal part of the common
    ground; so the areas add up to the ground that is covered.

    Args:
        boxes: (n, 4) left, top, right, bottom of the tiles of a full grid.

    >>> tile_areas(np.array([[0, 0, 10, 10], [5, 0, 15, 10]])).tolist()
    [75.0, 75.0]
    """
    widths = _own_lengths(boxes[:, 0], boxes[:, 2])
    heights = _own_lengths(boxes[:, 1], boxes[:, 3])
    return np.asarray(widths * heights)


def _own_lengths(starts: NDArray[np.float64], stops: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share out one axis among the intervals on it; equal intervals are one column or row."""
    spans = np.unique(np.stack([starts, stops], axis=1), axis=0)
    cuts = np.unique(spans)
    inside = (spans[:, :1] <= cuts[:-1]) & (cuts[1:] <= spans[:, 1:])
    own = (inside * np.diff(cuts) / np.maximum(inside.sum(axis=0), 1)).sum(axis=1)
    return np.array(
        [
            own[np.flatnonzero((spans[:, 0] == start) & (spans[:, 1] == stop))[0]]
            for start, stop in zip(starts, stops, strict=True)
        ]
    )


def _shares(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return ratio(sums[..., :-1], sums[..., -1:])
