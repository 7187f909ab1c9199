"""Intervals that respect correlated frames: a bootstrap that draws whole groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin, sqrt, tan
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from besana.statistics.ratios import ratio

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From sums over samples, (..., k), to numbers, (..., m): the leading axes are kept."""

_NORMAL = NormalDist()

# Numbers held at once by one step of the bootstrap: 32 MB.
_BUDGET = 4_000_000
_MOST_BAGS = 4096
_FEWEST_BAGS = 256
_FEW_GROUPS = 8


@dataclass(frozen=True)
class Intervals:
    """Numbers with the range in which they would fall on other groups of the same kind.

    Attributes:
        value: (m,) the numbers on all groups.
        low: (m,) lower ends; NaN where they cannot be told.
        high: (m,) upper ends.
        groups: How many groups they rest on.
        level: Share of such intervals that hold the true value, as 0.95.
    """

    value: Floats
    low: Floats
    high: Floats
    groups: int
    level: float

    def __getitem__(self, index: int) -> tuple[float, float, float]:
        """Give value, low and high of one of the numbers."""
        return float(self.value[index]), float(self.low[index]), float(self.high[index])


def bootstrap(
    sums: Floats,
    statistic: Statistic,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    method: Literal["bca", "percentile"] = "bca",
    seed: int = 0,
) -> Intervals:
    """Tell how far a statistic can be trusted, by drawing groups with replacement.

    Frames minutes apart show the same cow in the same place, so samples are not independent;
    groups nearly are. Drawing whole groups (Davison and Hinkley, 1997, section 3.8) keeps what
    belongs together. BCa corrects for bias and skewness (Efron, 1987, equations 6.4 to 6.6). Both
    kinds are widened for few groups as Hesterberg (2015, section 5.3) says: quantiles of
    Student's t with groups - 1 degrees of freedom, times sqrt(groups / (groups - 1)).

    With fewer than eight groups that is still too narrow, so the interval also takes in the one
    of the jackknife (Efron and Stein, 1981) with Student's t: two groups tell next to nothing.

    A bound of 0 or 1 that every group agrees on has no spread to resample. Its interval then
    comes from the exact binomial of Clopper and Pearson (1934) over groups: how many groups of
    another kind could there be, when none of so many was seen? This is cautious, as it
    takes a group with one error for a group of errors.

    More than about four thousand groups are first pooled at random into bags of equally many:
    bags of independent groups are independent, and memory stays bounded.

    Args:
        sums: (groups, k) what each group adds, as its cells of the confusion matrix.
        statistic: Turns sums into numbers from 0 to 1; vectorised over leading axes.
        replicates: How many times to draw, 100 or more.
        level: Confidence level, between 0 and 1.
        method: BCa, or plain percentiles.
        seed: Another seed, other draws.
    """
    plan = _Plan(replicates, level, method, seed, bounds=(0.0, 1.0))
    return _bootstrap(sums, statistic, plan)[0]


@dataclass(frozen=True)
class Difference:
    """How much better a challenger is than a champion on the same groups.

    Attributes:
        intervals: Challenger minus champion.
        worse_share: (m,) share of the draws in which the challenger was worse; ties count half.
    """

    intervals: Intervals
    worse_share: Floats


def paired_bootstrap(
    champion: Floats,
    challenger: Floats,
    statistic: Statistic,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compare two models on the same groups, drawing the same groups for both.

    What makes a group hard is hard for both models and drops out of the difference, so a
    small gain shows that two separate intervals would hide.

    Args:
        champion: (groups, k) sums of the one model.
        challenger: (groups, k) sums of the other, on the same samples in the same groups.
        statistic: As in `bootstrap`; more is better.
        replicates: How many times to draw.
        level: Confidence level.
        seed: Another seed, other draws.
    """
    k = champion.shape[1]

    def difference(both: Floats) -> Floats:
        return np.asarray(statistic(both[..., k:]) - statistic(both[..., :k]))

    both = np.concatenate([champion, challenger], axis=1)
    plan = _Plan(replicates, level, "bca", seed, bounds=(-1.0, 1.0))
    intervals, drawn = _bootstrap(both, difference, plan)
    worse = _share(drawn < 0, drawn) + _share(drawn == 0, drawn) / 2
    return Difference(intervals, worse)


@dataclass(frozen=True)
class _Plan:
    replicates: int
    level: float
    method: str
    seed: int
    bounds: tuple[float, float]


def _bootstrap(sums: Floats, statistic: Statistic, plan: _Plan) -> tuple[Intervals, Floats]:
    groups = len(sums)
    value = np.asarray(statistic(sums.sum(axis=0)), dtype=np.float64)
    if groups < 2:
        missing = np.full(value.shape, np.nan)
        unknown = Intervals(value, missing, missing, groups, plan.level)
        return unknown, np.full((1, len(value)), np.nan)
    rng = np.random.default_rng(plan.seed)
    bags = _pooled(np.asarray(sums, dtype=np.float64), rng)
    drawn = _draws(bags, statistic, plan.replicates, rng)
    away = _jackknifed(bags, statistic)
    shift = _shift(value, drawn, away) if plan.method == "bca" else _no_shift(value)
    low, high = _ends(drawn, shift, len(bags), plan.level)
    if groups < _FEW_GROUPS:
        error = np.sqrt((groups - 1) / groups * (away**2).sum(axis=0))
        reach = error * student_quantile((1 + plan.level) / 2, groups - 1)
        low = np.minimum(low, np.maximum(value - reach, plan.bounds[0]))
        high = np.maximum(high, np.minimum(value + reach, plan.bounds[1]))
    low, high = _settle_bounds(value, low, high, drawn, groups, plan)
    return Intervals(value, low, high, groups, plan.level), drawn


def _pooled(sums: Floats, rng: np.random.Generator) -> Floats:
    most = max(min(_MOST_BAGS, _BUDGET // max(sums.shape[1], 1)), _FEWEST_BAGS)
    if len(sums) <= most:
        return sums
    bags = np.zeros((most, sums.shape[1]))
    np.add.at(bags, rng.permutation(len(sums)) % most, sums)
    return bags


def _draws(sums: Floats, statistic: Statistic, replicates: int, rng: np.random.Generator) -> Floats:
    """Draw groups again and again; (replicates, m) statistics."""
    groups = len(sums)
    step = max(1, _BUDGET // max(groups, sums.shape[1]))
    parts = []
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        picked = rng.integers(groups, size=(rows, groups)) + np.arange(rows)[:, None] * groups
        times = np.bincount(picked.ravel(), minlength=rows * groups).reshape(rows, groups)
        parts.append(np.asarray(statistic(times.astype(np.float64) @ sums)))
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Shift:
    bias: Floats
    acceleration: Floats


def _no_shift(value: Floats) -> _Shift:
    return _Shift(np.zeros(value.shape), np.zeros(value.shape))


def _jackknifed(sums: Floats, statistic: Statistic) -> Floats:
    """Leave out each group in turn: (groups, m) distances of the mean from what is found then."""
    steps = max(1, -(-sums.size // _BUDGET))
    total = sums.sum(axis=0)
    found = [np.asarray(statistic(total - part)) for part in np.array_split(sums, steps)]
    left_out = np.concatenate(found)
    centre = ratio(np.nansum(left_out, axis=0), (~np.isnan(left_out)).sum(axis=0))
    return np.nan_to_num(centre - left_out)


def _shift(value: Floats, drawn: Floats, away: Floats) -> _Shift:
    """Measure bias (Efron, 1987, equation 4.1) and acceleration (equation 6.6, jackknife)."""
    below = _share(drawn < value, drawn) + _share(drawn == value, drawn) / 2
    edge = 0.5 / len(drawn)
    bias = _each(_NORMAL.inv_cdf, np.clip(np.nan_to_num(below, nan=0.5), edge, 1 - edge))
    spread = (away**2).sum(axis=0) ** 1.5
    return _Shift(bias, np.nan_to_num(ratio((away**3).sum(axis=0), 6 * spread)))


def _share(claim: NDArray[np.bool_], drawn: Floats) -> Floats:
    """Give the share of the draws with a value for which a claim holds, column by column."""
    told = ~np.isnan(drawn)
    return ratio((claim & told).sum(axis=0), told.sum(axis=0))


def _each(function: Callable[[float], float], values: Floats) -> Floats:
    return np.array([function(float(value)) for value in values], dtype=np.float64)


def _ends(drawn: Floats, shift: _Shift, groups: int, level: float) -> tuple[Floats, Floats]:
    """Read both ends off the draws, at the corrected probabilities."""
    tail = student_quantile((1 + level) / 2, groups - 1) * sqrt(groups / (groups - 1))
    ends = []
    for z in (-tail, tail):
        moved = shift.bias + z
        corrected = shift.bias + moved / np.maximum(1 - shift.acceleration * moved, 1e-9)
        probability = _each(_NORMAL.cdf, corrected)
        ends.append(_quantiles(drawn, probability))
    return ends[0], ends[1]


def _quantiles(drawn: Floats, probability: Floats) -> Floats:
    """Give column j's quantile at probability j; NaN draws are left out."""
    found = [
        np.quantile(kept, p) if len(kept := column[~np.isnan(column)]) else np.nan
        for column, p in zip(drawn.T, probability, strict=True)
    ]
    return np.asarray(found, dtype=np.float64)


def _settle_bounds(
    value: Floats, low: Floats, high: Floats, drawn: Floats, groups: int, plan: _Plan
) -> tuple[Floats, Floats]:
    """Open intervals that have no width because every group agrees on a bound."""
    unseen = 1 - ((1 - plan.level) / 2) ** (1 / groups)
    certain = ((drawn == value) | np.isnan(drawn)).all(axis=0)
    low = np.where(certain & (value == plan.bounds[1]), value - unseen, low)
    high = np.where(certain & (value == plan.bounds[0]), value + unseen, high)
    return low, high


def student_quantile(probability: float, degrees: int) -> float:
    """Give a quantile of Student's t distribution.

    Abramowitz and Stegun (1964), 26.7.3 and 26.7.4, solved by halving; above a thousand degrees
    of freedom the thousandth is close enough (1.962 for 1.960 at 0.975).

    Args:
        probability: From 0.5 to below 1.
        degrees: Degrees of freedom, 1 or more.
    """
    degrees = min(degrees, 1000)
    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _student_central(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return sqrt(degrees) * tan(high)


def _student_central(angle: float, degrees: int) -> float:
    """Give the probability of |t| below sqrt(degrees) * tan(angle)."""
    odd = degrees % 2
    k = np.arange(1, (degrees - odd) // 2)
    ratio = (2 * k - 1 + odd) / (2 * k + odd) * cos(angle) ** 2
    series = 1 + float(np.cumprod(ratio).sum())
    if not odd:
        return sin(angle) * series
    return 2 / pi * (angle + (sin(angle) * cos(angle) * series if degrees > 1 else 0.0))
