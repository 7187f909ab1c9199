"""Give whole groups to train, validation and test: near the wanted shares, alike in classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.errors import ConfigError
from besana.statistics.hashing import mix

TRAIN, VALIDATION, TEST = 0, 1, 2
LEFT_OUT = -1
SPLITS = ("train", "validation", "test")
CHUNK = 8192
"""Stretches of samples that are looked at together, so that memory does not grow with all."""

# A group above this share of all samples is placed on its own, so at most a thousand are.
_LARGE_SHARE = 0.001


@dataclass(frozen=True)
class _Cells:
    """How many samples of each class each group has, the zeros left out, ordered by group.

    Attributes:
        group: (cells,) group of each cell.
        label: (cells,) class of each cell.
        count: (cells,) samples in it.
        totals: (classes,) samples of each class.
        sizes: (groups,) samples of each group.
    """

    group: NDArray[np.int64]
    label: NDArray[np.int64]
    count: NDArray[np.int64]
    totals: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        group: NDArray[np.integer],
        label: NDArray[np.integer],
        count: NDArray[np.integer],
        groups: int,
    ) -> _Cells:
        classes = int(label.max()) + 1 if len(label) else 1
        code, inverse = np.unique(group.astype(np.int64) * classes + label, return_inverse=True)
        cell_group, cell_label = np.divmod(code, classes)
        sums = np.zeros(len(code), dtype=np.int64)
        np.add.at(sums, inverse, count)
        totals = np.zeros(classes, dtype=np.int64)
        np.add.at(totals, cell_label, sums)
        sizes = np.zeros(groups, dtype=np.int64)
        np.add.at(sizes, cell_group, sums)
        return cls(cell_group, cell_label, sums, totals, sizes)

    def rarest(self) -> NDArray[np.int64]:
        """Give each group the rarest class in it (-1 for a group without samples)."""
        rank = np.empty(len(self.totals), dtype=np.int64)
        rank[np.lexsort((np.arange(len(rank)), self.totals))] = np.arange(len(rank))
        best = np.full(len(self.sizes), len(rank), dtype=np.int64)
        np.minimum.at(best, self.group, rank[self.label])
        by_rank = np.append(np.argsort(rank), -1)
        return np.asarray(by_rank[best])


def assign(
    group: NDArray[np.integer],
    label: NDArray[np.integer],
    shares: Sequence[float],
    *,
    keys: NDArray[np.uint64],
    count: NDArray[np.integer] | None = None,
    seed: int = 0,
    fixed: NDArray[np.integer] | None = None,
) -> NDArray[np.int8]:
    """Give every group to one of several parts, stratified by class.

    Large groups go first, each to the part that it brings nearest to what is wanted in the sense
    of chi-square over the classes; then the small ones in bulk, class by class from the rarest
    on (Sechidis, Tsoumakas and Vlahavas, 2011), in an order that is a hash of seed and key. So
    the result depends on nothing but the arguments, and is the same in any order of samples.
    Every part with a share above 0 gets a group as long as there are enough groups.

    Args:
        group: (n,) group of each sample, from 0. With several classes a sample, a sample stands
            here once for each class.
        label: (n,) class of each sample, from 0.
        shares: Wanted share of each part; they are scaled to add up to 1.
        keys: (groups,) 64-bit keys that name the groups for good.
        count: (n,) how many samples each of the n stands for; None for one each.
        seed: Another seed, another split.
        fixed: (groups,) part that a group is in already, -1 for none: these never move.

    Returns:
        (groups,) part of each group.

    Raises:
        ConfigError: If the shares are negative or all 0.
    """
    share = _scaled(shares)
    count = np.ones(len(group), dtype=np.int64) if count is None else count
    cells = _Cells.of(group, label, count, len(keys))
    part = np.full(len(keys), -1, dtype=np.int8)
    if fixed is not None:
        part[:] = fixed
    place = _Placing(cells, share, part, mix(keys, seed))
    place.large()
    place.small()
    place.empty()
    return part


def _scaled(shares: Sequence[float]) -> NDArray[np.float64]:
    share = np.asarray(shares, dtype=np.float64)
    if not np.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
        raise ConfigError(f"Shares {list(shares)} are not possible.", "Use shares from 0 to 1.")
    return np.asarray(share / share.sum())


class _Placing:
    """The work of one assignment; `part` is filled in place."""

    def __init__(
        self,
        cells: _Cells,
        share: NDArray[np.float64],
        part: NDArray[np.int8],
        order: NDArray[np.uint64],
    ) -> None:
        self.cells, self.share, self.part, self.order = cells, share, part, order
        self.want = share[:, None] * cells.totals
        self.have = np.zeros_like(self.want)
        held = part[cells.group] >= 0
        self._count(np.flatnonzero(held))

    def _count(self, cells: NDArray[np.intp]) -> None:
        """Add the cells of groups that have their part now."""
        where = (self.part[self.cells.group[cells]], self.cells.label[cells])
        np.add.at(self.have, where, self.cells.count[cells])

    def large(self) -> None:
        sizes = self.cells.sizes
        large = np.flatnonzero((self.part < 0) & (sizes > _LARGE_SHARE * sizes.sum()))
        starts = np.searchsorted(self.cells.group, large)
        ends = np.searchsorted(self.cells.group, large, side="right")
        possible = np.flatnonzero(self.share > 0)
        for i in np.lexsort((self.order[large], -sizes[large])):
            cells = np.arange(starts[i], ends[i])
            label, count = self.cells.label[cells], self.cells.count[cells]
            want, have = self.want[possible][:, label], self.have[possible][:, label]
            # How much chi-square, the sum of (have - want)² / want, changes in each part.
            change = ((2 * (have - want) + count) * count / want).sum(axis=1)
            self.part[large[i]] = possible[int(np.argmin(change))]
            self._count(cells)

    def small(self) -> None:
        stratum = np.where(self.part < 0, self.cells.rarest(), -1)[self.cells.group]
        cells = np.argsort(stratum, kind="stable")
        stratum = stratum[cells]
        for label in np.lexsort((np.arange(len(self.cells.totals)), self.cells.totals)):
            start, end = np.searchsorted(stratum, [label, label + 1])
            if end > start:
                self._fill(cells[start:end], int(label))

    def _fill(self, cells: NDArray[np.intp], label: int) -> None:
        """Cut the groups of one stratum, in hash order, where the wanted counts are reached."""
        own = cells[self.cells.label[cells] == label]
        own = own[np.argsort(self.order[self.cells.group[own]], kind="stable")]
        size = self.cells.count[own]
        lacking = np.maximum(self.want[:, label] - self.have[:, label], 0)
        if lacking.sum() <= 0:
            lacking = self.share
        # The last part takes the beginning of the order: test, then validation, then train.
        bounds = np.cumsum(lacking[::-1]) / lacking.sum() * size.sum()
        found = np.searchsorted(bounds, np.cumsum(size) - size / 2, side="right")
        self.part[self.cells.group[own]] = len(bounds) - 1 - found.clip(max=len(bounds) - 1)
        self._count(cells)

    def empty(self) -> None:
        """Give a part that got nothing the smallest group of the part with most groups."""
        sizes, movable = self.cells.sizes, self.cells.sizes > 0
        for wanted in np.flatnonzero(self.share > 0):
            held = np.bincount(self.part[movable & (self.part >= 0)], minlength=len(self.share))
            if held[wanted] or held.max(initial=0) < 2:
                continue
            giver = np.flatnonzero(movable & (self.part == int(np.argmax(held))))
            self.part[giver[np.lexsort((self.order[giver], sizes[giver]))[0]]] = wanted


def leave_out_crossing(
    group: NDArray[np.integer], split: NDArray[np.int8], groups: int
) -> NDArray[np.int8]:
    """Settle a split that was not made group by group, so that no group crosses it.

    A group belongs to the last split that it reaches into (test before validation before train):
    its samples there stay, its samples elsewhere are left out. So a test set is exactly what was
    asked for, and what is trained on has no near-duplicate in it.

    Args:
        group: (n,) group of each sample, from 0.
        split: (n,) wanted split of each sample, or `LEFT_OUT`.
        groups: How many groups there are.

    Returns:
        (n,) splits, `LEFT_OUT` where a sample had to go.
    """
    reach = np.full(groups, LEFT_OUT, dtype=np.int8)
    np.maximum.at(reach, group, split)
    return np.where(split == reach[group], split, LEFT_OUT).astype(np.int8)


def keep_apart(
    wanted: NDArray[np.int8], kin: NDArray[np.integer], block: NDArray[np.integer]
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Leave out what would cross: first what has kin in a later split, then its block mates.

    Blocks do not count as ties for what resembles what: one kinsman in an hour does not take the
    whole hour along, nor the days that the hour's other frames resemble.

    Args:
        wanted: (n,) wanted split of each item, or `LEFT_OUT`.
        kin: (n,) number of the kin of each, from 0.
        block: (n,) number of its camera and time block, from 0.

    Returns:
        (n,) splits without those that have kin in a later one; and (n,) splits without those
        either that share a block with what is left of a later one.
    """
    apart = leave_out_crossing(kin, wanted, int(kin.max(initial=-1)) + 1)
    return apart, leave_out_crossing(block, apart, int(block.max(initial=-1)) + 1)


def last_days(days: NDArray[np.integer], count: int) -> NDArray[np.bool_]:
    """Mark the samples of the last days that have samples.

    Args:
        days: (n,) local day of each sample.
        count: How many days, 1 or more; at least one day always stays unmarked.
    """
    distinct = np.unique(days)
    if len(distinct) < 2:
        return np.zeros(len(days), dtype=np.bool_)
    return np.asarray(days >= distinct[-min(count, len(distinct) - 1)])


@dataclass(frozen=True)
class Leaks:
    """What a random split of the same shares would have done.

    Attributes:
        test_samples: Samples it would have put into test.
        leaked: Those of them with a sample of their own group in train.
    """

    test_samples: int
    leaked: int

    @property
    def leaked_share(self) -> float:
        """Share of its test samples that were leaked; 0 without any."""
        return self.leaked / self.test_samples if self.test_samples else 0.0


def random_leaks(
    group: NDArray[np.integer],
    shares: Sequence[float],
    *,
    size: NDArray[np.integer] | None = None,
    seed: int = 0,
) -> Leaks:
    """Count the test samples of a random split that have a sample of their group in train.

    Args:
        group: (n,) group of consecutive samples, from 0.
        shares: Shares of train, validation and test; each sample is drawn on its own.
        size: (n,) how many samples each stretch has; None for one each.
        seed: Which random split.
    """
    bounds = np.cumsum(_scaled(shares))[:-1]
    size = np.ones(len(group), dtype=np.int32) if size is None else size
    trained = np.zeros(int(group.max(initial=-1)) + 1, dtype=np.bool_)
    for groups, split in _drawn(group, size, bounds, seed):
        trained[groups[split == TRAIN]] = True
    tested = leaked = 0
    for groups, split in _drawn(group, size, bounds, seed):
        tested += int((split == TEST).sum())
        leaked += int(trained[groups[split == TEST]].sum())
    return Leaks(tested, leaked)


def _drawn(
    group: NDArray[np.integer],
    size: NDArray[np.integer],
    bounds: NDArray[np.float64],
    seed: int,
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.intp]]]:
    """Yield group and drawn split of each sample, chunk by chunk, the same every time."""
    start = 0
    for first in range(0, len(group), CHUNK):
        groups = np.repeat(group[first : first + CHUNK], size[first : first + CHUNK])
        numbers = np.arange(start, start + len(groups), dtype=np.uint64)
        yield groups, np.searchsorted(bounds, mix(numbers, seed) / 2.0**64, side="right")
        start += len(groups)
