"""Bodies of cows, lying and standing, put together from ellipsoids."""

from __future__ import annotations

import math
from dataclasses import dataclass

SKIN, MUZZLE, UDDER = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Part:
    """One ellipsoid in metres: x towards the head, y towards the cow's left, z up.

    Attributes:
        centre: Its middle.
        radii: Its half axes before it is turned.
        turn_deg: Turn about the vertical axis, counted from x towards y.
        kind: `SKIN` wears the coat, `MUZZLE` and `UDDER` do not.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn_deg: float = 0.0
    kind: int = SKIN


def _head(x: float, y: float, z: float, turn_deg: float) -> list[Part]:
    """Return skull, muzzle and ears of a head whose poll is at (x, y, z)."""
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))

    def at(ahead: float, left: float, up: float) -> tuple[float, float, float]:
        return (x + ahead * cos - left * sin, y + ahead * sin + left * cos, z + up)

    return [
        Part(at(0.2, 0, 0), (0.26, 0.125, 0.13), turn_deg),
        Part(at(0.42, 0, -0.05), (0.11, 0.085, 0.09), turn_deg, MUZZLE),
        Part(at(0.03, 0.19, 0.05), (0.05, 0.12, 0.05), turn_deg),
        Part(at(0.03, -0.19, 0.05), (0.05, 0.12, 0.05), turn_deg),
    ]


def _standing(pose: int) -> list[Part]:
    """Return a standing cow: legs under the body, the head ahead, aside or lowered."""
    swing = (0.0, 16.0, -18.0, 6.0)[pose]
    drop = (0.0, 0.1, 0.05, 0.4)[pose]
    aside = math.sin(math.radians(swing))
    legs = [(0.62, 0.2), (0.68, -0.19), (-0.66, 0.22), (-0.74, -0.22)]
    return [
        Part((0.0, 0.0, 0.98), (0.82, 0.36, 0.38)),
        Part((-0.62, 0.0, 1.1), (0.36, 0.28, 0.27)),
        Part((0.58, 0.0, 1.06), (0.36, 0.26, 0.34)),
        Part((-0.45, 0.0, 0.6), (0.24, 0.2, 0.18), kind=UDDER),
        *(Part((x, y, 0.42), (0.1, 0.085, 0.46)) for x, y in legs),
        Part((1.02, 0.16 * aside, 1.14 - drop / 2), (0.38, 0.15, 0.2), swing),
        *_head(1.26, 0.42 * aside, 1.2 - drop, swing * 1.5),
        Part((-0.98, 0.04, 0.75), (0.05, 0.05, 0.42)),
    ]


def _lying(pose: int) -> list[Part]:
    """Return a cow lying on her breast, leaning to one side, with her legs folded beside her."""
    left = 1.0 if pose % 2 == 0 else -1.0
    parts = [
        Part((0.0, -0.05 * left, 0.42), (0.8, 0.46, 0.38), 3 * left),
        Part((-0.6, -0.1 * left, 0.4), (0.38, 0.37, 0.33), 8 * left),
        Part((0.56, 0.0, 0.42), (0.36, 0.31, 0.36)),
        Part((-0.42, 0.42 * left, 0.22), (0.34, 0.17, 0.2), 24 * left),
        Part((-0.2, 0.62 * left, 0.09), (0.34, 0.07, 0.08), -12 * left),
        Part((-0.55, 0.5 * left, 0.08), (0.3, 0.07, 0.07), 35 * left),
        Part((-0.2, 0.38 * left, 0.2), (0.2, 0.14, 0.14), kind=UDDER),
        Part((0.72, 0.3 * left, 0.12), (0.24, 0.09, 0.1), -30 * left),
        Part((-0.98, 0.22 * left, 0.08), (0.3, 0.04, 0.04), -50 * left),
    ]
    if pose < 2:
        return [
            *parts,
            Part((0.98, -0.02 * left, 0.56), (0.36, 0.15, 0.18), 4 * left),
            *_head(1.2, 0.02 * left, 0.62, 14 * left),
            Part((1.0, 0.26 * left, 0.08), (0.3, 0.07, 0.07), 15 * left),
        ]
    # The head is laid back against the flank.
    return [
        *parts,
        Part((0.86, 0.16 * left, 0.52), (0.3, 0.16, 0.18), 62 * left),
        Part((0.86, 0.42 * left, 0.42), (0.22, 0.13, 0.14), 120 * left),
        *_head(0.74, 0.54 * left, 0.36, 160 * left),
    ]


BODIES = {"standing": _standing, "lying": _lying}
