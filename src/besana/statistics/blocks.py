"""Sums over blocks of time, and how far one stretch of time is from others of the same hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.statistics.ratios import ratio

Floats = NDArray[np.float64]

_DAY_S = 86_400


@dataclass(frozen=True)
class Blocks:
    """What samples add up to in each block of each unit of time.

    Attributes:
        units: (u,) numbers of the units, rising: local days, or blocks by themselves.
        sums: (u, slots, k) sums of k signals; a slot is a time of the day.
        counts: (u, slots, k) how many samples each sum is of.
    """

    units: NDArray[np.int64]
    sums: Floats
    counts: Floats

    @property
    def samples(self) -> int:
        """Count the samples behind the signal that has most."""
        return int(self.counts.sum(axis=(0, 1)).max(initial=0))

    def means(self) -> Floats:
        """Give the mean of each unit, (u, k); NaN where it has no sample."""
        return ratio(self.sums.sum(axis=1), self.counts.sum(axis=1))

    def part(self, chosen: NDArray[np.bool_]) -> Blocks:
        """Give some of the units."""
        return Blocks(self.units[chosen], self.sums[chosen], self.counts[chosen])


def slot_of(local_s: NDArray[np.int64], block_hours: int) -> NDArray[np.int64]:
    """Number the block of the day that each time falls into.

    Args:
        local_s: (n,) seconds since 1970 of the camera's own clock.
        block_hours: Length of a block, a divisor of 24.
    """
    return local_s % _DAY_S // (3600 * block_hours)


def add_up(
    unit: NDArray[np.int64], slot: NDArray[np.int64], values: Floats, *, slots: int
) -> Blocks:
    """Add values up by unit and slot; NaN adds nothing.

    Args:
        unit: (n,) unit of each sample.
        slot: (n,) slot of each sample, 0 to `slots` - 1.
        values: (n, k) signals.
        slots: How many slots a unit has.
    """
    units, place = np.unique(unit, return_inverse=True)
    told = ~np.isnan(values)
    row = place * slots + slot
    k = values.shape[1]
    sums, counts = (
        np.stack([np.bincount(row, column, minlength=len(units) * slots) for column in of.T], -1)
        .astype(np.float64)
        .reshape(len(units), slots, k)
        for of in (np.where(told, values, 0.0), told.astype(np.float64))
    )
    return Blocks(units.astype(np.int64), sums, counts)


def residual(reference: Blocks, window: Blocks) -> Floats:
    """Tell how far a stretch of time is from the reference at the same hours of the day.

    Hours that the reference has never seen are compared with all its hours together.

    Args:
        reference: What is usual.
        window: The stretch, whose units count together.

    Returns:
        (k,) mean distance of its samples, in units of the signals; NaN without samples.
    """
    sums, counts = reference.sums.sum(axis=0), reference.counts.sum(axis=0)
    return _distance(sums, counts, window.sums.sum(axis=0), window.counts.sum(axis=0))


def usual_residuals(reference: Blocks) -> Floats:
    """Give the distance of each unit of the reference from all its others, (u, k).

    Units are left out one at a time, so that a distance is what a day that nobody had seen
    would have had; the day-and-night rhythm cancels, what whole days have in common stays.
    """
    sums, counts = reference.sums.sum(axis=0), reference.counts.sum(axis=0)
    found = [
        _distance(sums - own, counts - weight, own, weight)
        for own, weight in zip(reference.sums, reference.counts, strict=True)
    ]
    return np.stack(found) if found else np.empty((0, sums.shape[-1]))


def _distance(sums: Floats, counts: Floats, own: Floats, weight: Floats) -> Floats:
    """Compare (slots, k) sums with others, slot by slot, weighted by the second's counts."""
    overall = ratio(sums.sum(axis=0), counts.sum(axis=0))
    usual = np.where(counts > 0, ratio(sums, counts), overall)
    away = (own - np.where(weight > 0, usual * weight, 0.0)).sum(axis=0)
    return ratio(away, weight.sum(axis=0))


def by_day_or_block(
    local_s: NDArray[np.int64], block_hours: int, *, fewest: int
) -> NDArray[np.int64]:
    """Choose units of time: local days, or single blocks when there are too few days.

    Days stand for themselves whatever happens within one. Blocks of one day resemble each
    other, so fewer than `fewest` days tell less than they seem to.

    Args:
        local_s: (n,) seconds of the camera's own clock.
        block_hours: Length of a block.
        fewest: Days from which on days are the units.
    """
    days = local_s // _DAY_S
    if len(np.unique(days)) >= fewest:
        return days
    return local_s // (3600 * block_hours)
