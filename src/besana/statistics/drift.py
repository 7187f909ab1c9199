"""Tell a change from chance: distances of whole days, with a budget of false alarms."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from besana.statistics.intervals import student_quantile

Floats = NDArray[np.float64]
Side = Literal["both", "above", "below"]

HOURS_A_MONTH = 730.5
FEWEST_UNITS = 3
"""Fewer units of reference than this tell nothing about a change."""


@dataclass(frozen=True)
class Verdict:
    """What one look at one signal says.

    Attributes:
        score: How many of its own prediction errors the signal is away; NaN when untold.
        limit: Score from which on this cannot be chance, at the level asked for.
        state: `ok`, `drift`, or `unknown` when the reference is too short.
    """

    score: float
    limit: float
    state: Literal["ok", "drift", "unknown"]


def look_level(false_alarms: float, *, every_hours: float, signals: int) -> float:
    """Share a budget of false alarms out among all looks at all signals of one camera.

    Expected false alarms add up whatever depends on what (Bonferroni), so neither the overlap
    of two windows nor the likeness of two beds can break the promise.

    Args:
        false_alarms: How many a month of 730.5 hours are bearable.
        every_hours: Hours between two looks.
        signals: How many signals each look tests.

    >>> round(look_level(0.5, every_hours=6, signals=20), 6)
    0.000205
    """
    return min(0.5, false_alarms * every_hours / HOURS_A_MONTH / max(signals, 1))


def judge(
    usual: Floats, now: float, *, level: float, least: float = 0.0, side: Side = "both"
) -> Verdict:
    """Say whether a distance is more than the reference's own days are from each other.

    A prediction interval for one more draw (Student's t, as in Hahn and Meeker, 1991, section
    4.7): the reference is few days, and a day is one draw however many frames it has.

    Args:
        usual: (u,) distances of the reference's units, each from all the others.
        now: The distance of the stretch that is judged.
        level: Probability of a false alarm at this look.
        least: Distance below which a change does not matter, in the signal's unit.
        side: Which direction is a change.
    """
    usual = usual[~np.isnan(usual)]
    if len(usual) < FEWEST_UNITS or isnan(now):
        return Verdict(float("nan"), inf, "unknown")
    tail = level / 2 if side == "both" else level
    limit = student_quantile(1 - tail, len(usual) - 1)
    spread = float(np.sqrt((usual**2).mean())) * sqrt(len(usual) / (len(usual) - 1))
    score = now / spread if spread > 0 else (0.0 if now == 0 else float(np.copysign(inf, now)))
    away = {"both": abs(score), "above": score, "below": -score}[side]
    far = {"both": abs(now), "above": now, "below": -now}[side]
    return Verdict(score, limit, "drift" if away > limit and far >= least else "ok")


def judge_length(usual: Floats, now: Floats, *, level: float) -> Verdict:
    """Say whether a vector of distances is longer than those of the reference's own days.

    Lengths are compared as logarithms, which are nearly normal for a length that many
    directions add to.

    Args:
        usual: (u, k) distances of the reference's units.
        now: (k,) distance of the stretch.
        level: Probability of a false alarm.
    """
    lengths = np.linalg.norm(usual, axis=1)
    own = float(np.linalg.norm(now))
    lengths = lengths[lengths > 0]
    if len(lengths) < FEWEST_UNITS or isnan(own):
        return Verdict(float("nan"), inf, "unknown")
    logs = np.log(lengths)
    centre = float(logs.mean())
    spread = float(logs.std(ddof=1)) * sqrt(1 + 1 / len(logs))
    limit = student_quantile(1 - level, len(logs) - 1)
    score = (np.log(max(own, 1e-12)) - centre) / max(spread, _SMALLEST_SPREAD)
    return Verdict(float(score), limit, "drift" if score > limit else "ok")


# A length that never varied by more than this much would call every ripple a change.
_SMALLEST_SPREAD = 0.05


class RandomFeatures:
    """Turn vectors into features whose means differ when distributions do.

    The distance of two means is the maximum mean discrepancy (Gretton et al., 2012) with a
    Gaussian kernel, approximated by random Fourier features (Rahimi and Recht, 2007). Means add
    up, so a block of a thousand samples is kept as one row.

    Args:
        reference: (n, features) vectors of the reference, some thousands at most; they set the
            scale: the largest component has unit variance, the kernel the median distance.
        count: How many features.
        components: How many principal components to look at.
        seed: What the features are drawn from.
    """

    def __init__(
        self, reference: Floats, *, count: int = 256, components: int = 32, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self._centre = reference.mean(axis=0)
        _, spread, axes = np.linalg.svd(reference - self._centre, full_matrices=False)
        kept = max(1, min(components, int((spread > 1e-6 * max(spread[0], 1e-12)).sum())))
        self._axes = axes[:kept].T / (spread[0] / sqrt(len(reference)) or 1.0)
        placed = self._placed(reference)
        pairs = rng.integers(len(placed), size=(2, 2000))
        apart = np.linalg.norm(placed[pairs[0]] - placed[pairs[1]], axis=1)
        width = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
        self._waves = rng.normal(size=(kept, count // 2)) / width

    def __call__(self, vectors: Floats) -> Floats:
        """Compute the features of some vectors, (n, count)."""
        phase = self._placed(vectors) @ self._waves
        parts = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
        return np.asarray(parts / sqrt(self._waves.shape[1]))

    def _placed(self, vectors: Floats) -> Floats:
        return np.asarray((vectors.astype(np.float64) - self._centre) @ self._axes)
