"""Which records of a stretch of the stream lie together, and when they are first needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from besana.shards.manifest import Manifest, Positions
from besana.shards.order import in_place_order
from besana.shards.stream import Piece


class ReadPlan(NamedTuple):
    """Segments of neighbouring records, numbered in the order of their first use.

    Attributes:
        segments: Segment of each sample, in the order of use.
        places: Manifest position of each sample, segment by segment, by offset inside one.
        starts: Where each segment starts in `places`; its last entry is the end.
    """

    segments: npt.NDArray[Any]
    places: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]

    def members(self, segment: int) -> Positions:
        """Give the manifest positions of a segment's records, by offset."""
        found: Positions = self.places[self.starts[segment] : self.starts[segment + 1]]
        return found


def plan_reads(
    manifest: Manifest, positions: Positions, pieces: Sequence[Piece], mine: slice
) -> ReadPlan:
    """Plan the reads of one rank.

    Args:
        manifest: Where records lie.
        positions: The selection.
        pieces: The stretch of the stream, all ranks together, with segments.
        mine: Which of its samples are this rank's.
    """
    samples = np.concatenate([piece.samples for piece in pieces])[mine]
    spaced = 2 * len(positions)  # so that the segments of two epochs differ
    names = [np.asarray(piece.segments) + n * spaced for n, piece in enumerate(pieces)]
    segments = np.concatenate(names)[mine]
    del names
    order = _by_segment(manifest, positions, samples, segments, len(pieces) > 1)
    inside = segments[order]
    starts = np.flatnonzero(np.diff(inside, prepend=-1))
    # Samples of a segment follow each other in `order`; the smallest place is the first use.
    first_use = np.minimum.reduceat(order, starts) if len(starts) else starts
    turn = np.argsort(first_use)
    sizes = np.diff(np.append(starts, len(order)))
    number = np.empty(len(starts), np.int32)
    number[turn] = np.arange(len(starts), dtype=np.int32)
    used = np.empty(len(order), np.int32)
    used[order] = np.repeat(number, sizes)
    moved = np.concatenate([[0], np.cumsum(sizes[turn])])
    places = np.empty(len(order), positions.dtype)
    offset = np.repeat(moved[number] - starts, sizes) + np.arange(len(order))
    places[offset] = positions[samples[order]]
    return ReadPlan(used, places, moved)


def _by_segment(
    manifest: Manifest,
    positions: Positions,
    samples: npt.NDArray[Any],
    segments: npt.NDArray[Any],
    several: bool,
) -> npt.NDArray[Any]:
    """Order samples of a stretch so that segments are whole and offsets rise inside them."""
    shard, offset = manifest.shard[positions], manifest.offset_bytes[positions]
    if not several and in_place_order(shard, offset):
        return np.argsort(samples)  # numbers of samples rise as blocks and offsets do
    return np.lexsort((offset[samples], segments))
