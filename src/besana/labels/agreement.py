"""How far annotators agree beyond chance: Cohen, Fleiss, Krippendorff, added up as samples come."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """How far two annotators agree on the samples that both have labelled.

    Attributes:
        first: One of them.
        second: The other.
        samples: Samples labelled by both.
        observed: Share of them on which they say the same.
        kappa: Cohen's kappa, None where chance alone makes them agree on everything.
    """

    first: str
    second: str
    samples: int
    observed: float
    kappa: float | None


@dataclass
class Agreement:
    """Counts from which all coefficients follow; memory grows with annotators and classes only.

    >>> agreement = Agreement()
    >>> for words in ({"ana": "cow", "eva": "cow"}, {"ana": "cow", "eva": "empty"}):
    ...     agreement.add(words)
    >>> agreement.units, agreement.krippendorff_alpha()
    (2, 0.0)
    """

    units: int = 0
    _ratings: Counter[Hashable] = field(default_factory=Counter)
    _disagreeing: float = 0.0
    _agreeing_shares: float = 0.0
    _pairs: dict[tuple[str, str], Counter[tuple[Hashable, Hashable]]] = field(default_factory=dict)

    def add(self, words: Mapping[str, Hashable]) -> None:
        """Add what each annotator says about one sample; a single word tells nothing.

        Args:
            words: Annotator -> class.
        """
        if len(words) < 2:
            return
        raters = len(words)
        counts = Counter(words.values())
        same = sum(count * (count - 1) for count in counts.values())
        self.units += 1
        self._ratings.update(counts)
        self._agreeing_shares += same / (raters * (raters - 1))
        self._disagreeing += (raters * (raters - 1) - same) / (raters - 1)
        for pair in itertools.combinations(sorted(words), 2):
            first, second = pair
            self._pairs.setdefault(pair, Counter())[words[first], words[second]] += 1

    def cohen_kappas(self) -> Iterator[PairAgreement]:
        """Yield Cohen's kappa (Cohen 1960) for every two annotators who share samples."""
        for (first, second), counts in sorted(self._pairs.items()):
            total = counts.total()
            observed = sum(n for (one, other), n in counts.items() if one == other) / total
            firsts, seconds = Counter[Hashable](), Counter[Hashable]()
            for (one, other), n in counts.items():
                firsts[one] += n
                seconds[other] += n
            chance = sum(firsts[name] * seconds[name] for name in firsts) / total**2
            yield PairAgreement(first, second, total, observed, _beyond(observed, chance))

    def fleiss_kappa(self) -> float | None:
        """Return Fleiss' kappa (Fleiss 1971) over samples with two or more annotators.

        Where all samples have as many annotators this is Fleiss' own formula; else the mean of
        the samples' agreement and the shares of all ratings stand in it.
        """
        if not self.units:
            return None
        total = self._ratings.total()
        chance = sum((count / total) ** 2 for count in self._ratings.values())
        return _beyond(self._agreeing_shares / self.units, chance)

    def krippendorff_alpha(self) -> float | None:
        """Return Krippendorff's alpha for nominal data (Krippendorff 2011, section C)."""
        total = self._ratings.total()
        expected = total**2 - sum(count**2 for count in self._ratings.values())
        if not expected:
            return None
        return 1 - (total - 1) * self._disagreeing / expected


def _beyond(observed: float, chance: float) -> float | None:
    return None if chance >= 1 else (observed - chance) / (1 - chance)
