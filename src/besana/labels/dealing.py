"""Selected samples dealt out to splits and folds, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.labels.selection import NO_DAY, Selection
from besana.statistics.local_time import day_date
from besana.statistics.splits import LEFT_OUT, SPLITS, Leaks, assign, random_leaks


@dataclass(frozen=True)
class Dealt:
    """Where each stretch of samples is; `split` and `fold` are filled in place.

    Attributes:
        samples: The samples.
        split: (n,) number of the split of each stretch, `LEFT_OUT` for none.
        fold: (n,) its fold, -1 for none.
        group: (n,) its group, -1 for none.
        keys: (groups,) 64-bit keys that name the groups for good.
    """

    samples: Selection
    split: NDArray[np.int8]
    fold: NDArray[np.int8]
    group: NDArray[np.int32]
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, samples: Selection, split: NDArray[np.int8]) -> Dealt:
        """Form the groups of what a split has left."""
        fold = np.full(len(split), -1, dtype=np.int8)
        return cls(samples, split, fold, *samples.groups(split != LEFT_OUT))

    def assign(
        self,
        target: NDArray[np.int8],
        chosen: NDArray[np.bool_],
        shares: Sequence[float],
        fixed: NDArray[np.int8] | None,
        *,
        seed: int,
    ) -> None:
        """Deal the groups of some stretches out to parts.

        Args:
            target: (n,) `split` or `fold`, where the parts go.
            chosen: (n,) which stretches.
            shares: Wanted share of each part.
            fixed: (groups,) part that a group is in already, -1 for none.
            seed: Another seed, another split.
        """
        codes, counts = self.samples.cells(np.where(chosen, self.group, -1))
        group, label = np.divmod(codes, len(self.samples.classes) + 1)
        part = assign(group, label, shares, keys=self.keys, count=counts, seed=seed, fixed=fixed)
        target[chosen] = part[self.group[chosen]]

    def random_leaks(self, *, seed: int) -> Leaks:
        """Count what a random split of the same shares would have leaked."""
        kept = self.split != LEFT_OUT
        shares = [self.samples.count(self.split == number) for number in range(len(SPLITS))]
        return random_leaks(self.group[kept], shares, size=self.samples.size[kept], seed=seed)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the samples of each class in each split."""
        classes = self.samples.classes
        table = np.zeros((len(SPLITS), len(classes) + 1), dtype=np.int64)
        codes, counts = self.samples.cells(self.split)
        table.flat[codes] = counts
        return {
            name: dict(zip(classes, table[number].tolist(), strict=False))
            for number, name in enumerate(SPLITS)
        }

    def largest_group(self) -> int:
        """Count the samples of the largest group."""
        kept = self.split != LEFT_OUT
        return int(np.bincount(self.group[kept], weights=self.samples.size[kept]).max())

    def span(self, number: int) -> tuple[int, int, str, str]:
        """Give samples, groups, first and last local day of a split."""
        chosen = self.split == number
        counted = self.samples.count(chosen), len(np.unique(self.group[chosen]))
        days = self.samples.day[chosen & (self.samples.day != NO_DAY)]
        if not len(days):
            return *counted, "", ""
        ends = [day_date(int(day)).isoformat() for day in (days.min(), days.max())]
        return *counted, ends[0], ends[1]
