"""The endless stream of a loader's samples: epoch after epoch, each in its own order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

from besana.shards.order import BlockOrder, Order

Tail = Literal["drop", "carry", "pad"]


class Piece(NamedTuple):
    """Samples of one epoch that follow each other.

    Attributes:
        epoch: Number of the epoch.
        samples: Indices into the selection.
        segments: Segment of each when blocks are shuffled, else None.
    """

    epoch: int
    samples: Order
    segments: npt.NDArray[Any] | None


class Stream:
    """Give any stretch of the stream; position p is sample p modulo n of epoch p // n.

    Args:
        count: Samples an epoch, n.
        order: Order of an epoch.
    """

    def __init__(self, count: int, order: Callable[[int], BlockOrder]) -> None:
        self.count = count
        self._order = order
        self._held: dict[int, BlockOrder] = {}

    def take(self, start: int, stop: int) -> list[Piece]:
        """Give the samples from stream position `start` up to `stop`."""
        for epoch in [held for held in self._held if (held + 1) * self.count <= start]:
            del self._held[epoch]  # the stream goes forward
        pieces = []
        while start < stop:
            epoch, first = divmod(start, self.count)
            last = min(self.count, first + stop - start)
            held = self._epoch(epoch)
            samples = held.order[first:last]
            segments = None if held.segment is None else held.segment[samples]
            pieces.append(Piece(epoch, samples, segments))
            start += last - first
        return pieces

    def _epoch(self, epoch: int) -> BlockOrder:
        if epoch not in self._held:
            for other in [held for held in self._held if held not in (epoch - 1, epoch)]:
                del self._held[other]
            self._held[epoch] = self._order(epoch)
        return self._held[epoch]


class Span(NamedTuple):
    """The stretch of the stream that one pass over the loader goes through.

    Attributes:
        start: First stream position.
        stop: Position after the last one.
    """

    start: int
    stop: int

    def batches(self, batch_size: int) -> int:
        """Count the batches, a last one that is not full included."""
        return -(-(self.stop - self.start) // batch_size)


def span_of(epoch: int, start: int, count: int, batch_size: int, tail: Tail) -> Span:
    """Find where a pass ends.

    Args:
        epoch: The epoch that the pass finishes.
        start: Stream position where it begins: in this epoch, or in the tail of the one before.
        count: Samples an epoch.
        batch_size: Samples of a batch, all ranks together.
        tail: `pad` goes to the end; `drop` and `carry` stop at the last full batch.
    """
    end = (epoch + 1) * count
    if tail != "pad":
        end -= max(0, end - start) % batch_size
    return Span(start, max(start, end))
