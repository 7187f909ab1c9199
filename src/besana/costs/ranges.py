"""Figures that nobody knows exactly: from, likely, to."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Say a figure as what it may be at least, will likely be, and may be at most.

    >>> Range.between(2, 8) * 10 + 5
    Range(low=25, likely=45.0, high=85)
    """

    low: float
    likely: float
    high: float

    @staticmethod
    def exactly(value: float) -> Range:
        """A figure that is known."""
        return Range(value, value, value)

    @staticmethod
    def between(low: float, high: float) -> Range:
        """A figure between two others; likely is their geometric middle."""
        return Range(low, math.sqrt(low * high), high)

    def __add__(self, other: Range | float) -> Range:
        other = other if isinstance(other, Range) else Range.exactly(other)
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def __mul__(self, other: Range | float) -> Range:
        other = other if isinstance(other, Range) else Range.exactly(other)
        return Range(self.low * other.low, self.likely * other.likely, self.high * other.high)

    def per(self, other: Range) -> Range:
        """Divide by a figure, which must be above 0."""
        return Range(self.low / other.high, self.likely / other.likely, self.high / other.low)

    def contains(self, value: float) -> bool:
        """Tell whether a figure lies within."""
        return self.low <= value <= self.high


NONE = Range.exactly(0.0)


def total(ranges: list[Range]) -> Range:
    """Add ranges up, as if all went well or ill together."""
    return sum(ranges, NONE)
