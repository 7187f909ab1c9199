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

    Each direction is measured in its own usual distance, drawn to the mean of all directions
    because days are few. Lengths are compared as logarithms, which are nearly normal for a
    length that many directions add to. Their spread is moderated (Smyth, 2004) by what so many
    directions give by themselves, which counts as much as ten days.

    Args:
        usual: (u, k) distances of the reference's units.
        now: (k,) distance of the stretch.
        level: Probability of a false alarm.
    """
    usual = usual[~np.isnan(usual).any(axis=1)]
    if len(usual) < FEWEST_UNITS or np.isnan(now).any():
        return Verdict(float("nan"), inf, "unknown")
    squares = usual**2
    total = squares.sum(axis=0)
    lengths = np.array(
        [_length(one, total - own, len(usual) - 1) for one, own in zip(usual, squares, strict=True)]
    )
    logs = np.log(np.maximum(lengths, _SHORTEST))
    degrees = len(logs) - 1 + _PRIOR_DEGREES
    own = degrees - _PRIOR_DEGREES
    spread = sqrt((own * float(logs.var(ddof=1)) + _PRIOR_DEGREES * _PRIOR_SPREAD**2) / degrees)
    away = np.log(max(_length(now, total, len(usual)), _SHORTEST)) - float(logs.mean())
    score = float(away) / (spread * sqrt(1 + 1 / len(logs)))
    limit = student_quantile(1 - level, degrees)
    return Verdict(score, limit, "drift" if score > limit else "ok")


def _length(vector: Floats, squares: Floats, units: int) -> float:
    """Measure a vector in each direction's usual distance."""
    scale = (squares + _DRAWN * squares.mean() / units) / (units + _DRAWN)
    return float(np.sqrt((vector**2 / np.maximum(scale, _SHORTEST)).mean()))


_PRIOR_SPREAD, _PRIOR_DEGREES = 0.2, 10
_DRAWN, _SHORTEST = 5.0, 1e-12


class Projection:
    """Place vectors along principal directions within classes, each with a variance of 1.

    Distances of means are then Mahalanobis distances. Directions in which classes differ are
    left out, so that another mix of classes is no change of looks; shares of classes are
    watched by themselves. Means add up, so an hour of samples is kept as one row.

    The last component is the logarithm of the distance from all these directions (the squared
    prediction error of Jackson and Mudholkar, 1979): what the reference never varied in, as
    infrared pictures for a model that has seen days, is far from them wherever it lies. There is
    none where the directions are all there are.

    Args:
        reference: (n, features) vectors of the reference, some thousands at most.
        truth: (n, classes) which classes hold.
        components: How many directions to keep.
    """

    def __init__(
        self, reference: Floats, truth: NDArray[np.bool_], *, components: int = 16
    ) -> None:
        self._centre = reference.mean(axis=0)
        away = reference - self._centre
        told = truth - truth.mean(axis=0)
        by_class = np.linalg.lstsq(told, away, rcond=None)[0]
        _, spread, axes = np.linalg.svd(away - told @ by_class, full_matrices=False)
        spread = spread / sqrt(max(len(reference) - 1, 1))
        kept = min(components, max(1, int((spread > 1e-4 * max(spread[0], 1e-12)).sum())))
        self._axes = axes[:kept].T / np.maximum(spread[:kept], 1e-12)
        self._axes = self._axes @ _without(by_class @ self._axes)
        self._inside = np.linalg.qr(np.concatenate([axes[:kept], by_class]).T)[0]
        self._least = _NEARLY_INSIDE * float((away**2).sum(axis=1).mean())
        outside = self._outside(away)
        self._usual, self._spread = float(outside.mean()), float(outside.std())

    @property
    def components(self) -> int:
        """Number of directions, and one for the distance from all of them."""
        return int(self._axes.shape[1]) + (self._spread > _NO_REST)

    def __call__(self, vectors: Floats) -> Floats:
        """Place some vectors, (n, components)."""
        away = vectors.astype(np.float64) - self._centre
        inside = np.asarray(away @ self._axes)
        if self._spread <= _NO_REST:
            return inside
        return np.column_stack([inside, (self._outside(away) - self._usual) / self._spread])

    def _outside(self, away: Floats) -> Floats:
        """Measure how far vectors are from all directions, as a logarithm, (n,)."""
        rest = away - (away @ self._inside) @ self._inside.T
        return np.asarray(np.log((rest**2).sum(axis=1) + self._least + _SHORTEST) / 2)


# What lies within this share of the reference's variance of the directions lies in them.
_NEARLY_INSIDE, _NO_REST = 1e-4, 1e-3


def _without(directions: Floats) -> Floats:
    """Give a basis, (k, fewer), of everything at right angles to some directions, (m, k)."""
    _, sizes, axes = np.linalg.svd(directions)
    taken = int((sizes > 1e-6 * max(float(sizes.max(initial=0.0)), 1e-12)).sum())
    kept = axes[min(taken, axes.shape[0] - 1) :]
    return np.asarray(kept.T)
