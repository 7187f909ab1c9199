"""Shares with intervals: how often something was wrong, judged by a random sample."""

from __future__ import annotations

from math import sqrt

_Z = 1.959963984540054


def wilson(hits: int, total: int) -> tuple[float, float, float]:
    """Give a share and its 95 % interval (Wilson 1927), which also holds for 0 hits.

    >>> [round(value, 4) for value in wilson(0, 100)]
    [0.0, 0.0, 0.037]
    """
    if not total:
        return 0.0, 0.0, 1.0
    share, z2 = hits / total, _Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low = 0.0 if not hits else max(0.0, middle - half)
    return share, low, min(1.0, middle + half)
