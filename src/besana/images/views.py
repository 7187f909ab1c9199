"""Tell where a camera looked and when it was moved for good, from measured shifts in time order.

A shift is told against the reference of one light. What is told here is told against the view
that the camera had at first, so a reference may come from any time, and day and night agree.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

# Frames of one light that must agree before a view counts: a cow may hide the floor for some.
_AGREEING = 5

Offset = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Move:
    """A camera that looks elsewhere from a frame on.

    Attributes:
        first: Id of the first frame of the new view.
        offset: How far it lies right of and below the first view, in px; one as far as the
            frame is wide when it shows something else.
        is_told: Whether that is further than what the settings let pass.
    """

    first: str
    offset: Offset
    is_told: bool


@dataclass
class _View:
    """A view that frames of one light agree on."""

    offset: Offset
    seen: list[Offset] = field(default_factory=list)
    first: str = ""

    def fits(self, offset: Offset, tolerance_px: float) -> bool:
        return _distance(offset, self.offset) < tolerance_px

    def add(self, offset: Offset) -> None:
        """Take a frame in; the median of the first ones stays, so that a view cannot creep."""
        if len(self.seen) < 2 * _AGREEING:
            self.seen.append(offset)
            x, y = np.median(np.array(self.seen), axis=0).tolist()
            self.offset = (x, y)


@dataclass
class _Light:
    """What the frames of one light have shown so far."""

    view: _View | None = None
    next: _View | None = None
    last: str = ""
    origin: Offset = (0.0, 0.0)


class Views:
    """Follow the views of one camera.

    Args:
        above_share: Shift that is told, as a share of the width; also what counts as another view.
    """

    def __init__(self, above_share: float) -> None:
        self.moves: list[Move] = []
        self._above_share = above_share
        self._lights: dict[str, _Light] = {}
        self._firsts: list[str] = []

    def add(self, frame_id: str, light: str, shift: Offset, width_px: int) -> None:
        """Take the next frame in the order of time.

        Args:
            frame_id: Its id.
            light: Which reference its shift was measured against.
            shift: Its shift in x and y.
            width_px: Its width.
        """
        tolerance_px = self._above_share * width_px
        seen = self._lights.setdefault(light, _Light())
        agrees = seen.view is not None and seen.view.fits(shift, tolerance_px)
        if agrees and not self._contradicts(seen, tolerance_px):
            assert seen.view is not None
            seen.view.add(shift)
            seen.next, seen.last = None, frame_id
            return
        if seen.next is None or not seen.next.fits(shift, tolerance_px):
            seen.next = _View(shift, first=frame_id)
        seen.next.add(shift)
        if len(seen.next.seen) >= _AGREEING:
            self._settle(seen, seen.next, width_px, is_back=agrees)
            seen.next, seen.last = None, frame_id

    def _here(self) -> Offset:
        return self.moves[-1].offset if self.moves else (0.0, 0.0)

    def _contradicts(self, seen: _Light, tolerance_px: float) -> bool:
        """Tell whether a light still has the view that another light told to be left."""
        if not self.moves or seen.view is None or seen.last >= self.moves[-1].first:
            return False
        offset = _sum(seen.origin, seen.view.offset)
        return _distance(offset, self._here()) > tolerance_px

    def _settle(self, seen: _Light, view: _View, width_px: int, *, is_back: bool) -> None:
        """Let the frames of one light that agree be its view: its first one, or after a move."""
        is_first = seen.view is None
        is_told_already = bool(self.moves) and seen.last < self.moves[-1].first and not is_back
        seen.view = view
        if is_first or is_told_already:
            here = self._here()
            seen.origin = (here[0] - view.offset[0], here[1] - view.offset[1])
            return
        offset = _sum(seen.origin, view.offset)
        if view.offset[0] >= width_px:
            offset = (float(width_px), 0.0)
        is_told = _distance(offset, (0.0, 0.0)) > self._above_share * width_px
        self.moves.append(Move(view.first, offset, is_told))
        self._firsts.append(view.first)

    def of(self, frame_id: str) -> Move | None:
        """Return the move that a frame comes after; None for the first view, or back to it."""
        place = bisect_right(self._firsts, frame_id) - 1
        return self.moves[place] if place >= 0 and self.moves[place].is_told else None


def _sum(one: Offset, other: Offset) -> Offset:
    return one[0] + other[0], one[1] + other[1]


def _distance(one: Offset, other: Offset) -> float:
    return math.hypot(one[0] - other[0], one[1] - other[1])
