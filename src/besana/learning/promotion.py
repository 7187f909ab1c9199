"""May a retrained model take over? Only with a gain that is shown, and nobody harmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.learning.gate import METRICS, sums_of_groups
from besana.statistics.intervals import paired_bootstrap

ALL = "all"
RECENT = "recent"
FEWEST_GROUPS = 8
"""A camera or light with fewer groups in the test set is told, and stops nothing."""

_REPLICATES = 2000


@dataclass(frozen=True)
class Check:
    """One comparison of challenger and champion on some of the test samples.

    Attributes:
        part: `all`, `recent`, or a camera or light, as `camera: pen-a`.
        champion: The champion's figure.
        challenger: The challenger's.
        difference: Challenger minus champion.
        low: What the difference is at least, at the level of the check; None when untold.
        least: What `low` must not be below; None where the check decides nothing.
        samples: Samples that both judged.
        groups: Groups that they form.
    """

    part: str
    champion: float
    challenger: float
    difference: float
    low: float | None
    least: float | None
    samples: int
    groups: int

    @property
    def passes(self) -> bool:
        """Whether the check has nothing against the challenger."""
        return self.least is None or (self.low is not None and self.low >= self.least)


@dataclass(frozen=True)
class Decision:
    """What the gate of a retraining says.

    Attributes:
        promotes: Whether the challenger may take over.
        gains: Whether a gain is shown, on all test samples or on the recent ones.
        harmed: Parts on which the challenger was not shown to be as good.
        checks: All comparisons.
    """

    promotes: bool
    gains: bool
    harmed: tuple[str, ...]
    checks: tuple[Check, ...]

    def record(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {**asdict(self), "harmed": list(self.harmed)}


@dataclass(frozen=True)
class Terms:
    """On what terms a challenger takes over.

    Attributes:
        metric: A name in `METRICS`.
        margin: How much worse on all samples does not matter, as a share.
        part_margin: How much worse on one camera or light does not matter.
        error: Probability of promoting without a gain, all looks at one test set together.
        look: Number of this look at the test set, from 1.
    """

    metric: str = "accuracy"
    margin: float = 0.01
    part_margin: float = 0.05
    error: float = 0.05
    look: int = 1

    @property
    def look_error(self) -> float:
        """What this look may spend: 6 / (pi k)^2 of the whole, which adds up to the whole."""
        return float(self.error * 6 / (pi * self.look) ** 2)


def decide(
    truth: NDArray[np.bool_],
    champion: NDArray[np.bool_],
    challenger: NDArray[np.bool_],
    group: NDArray[np.integer],
    parts: Mapping[str, NDArray[np.bool_]],
    *,
    kind: str,
    terms: Terms,
) -> Decision:
    """Compare two models on the same test samples, groups drawn together.

    A gain has to be shown on all samples or on the recent ones, each at half of what this look
    may spend, so a test set that is asked again and again promises no more than the first time.
    And nobody may be harmed: on all samples and on each camera and light the difference must be
    shown not to be below its margin (non-inferiority), each at the full error, because passing
    needs all of them (Berger, 1982, intersection-union).

    Args:
        truth: (n, classes) which classes hold.
        champion: (n, classes) what the champion says.
        challenger: (n, classes) what the challenger says.
        group: (n,) group of each sample.
        parts: Name to (n,) which samples belong; `recent` among them when there are any.
        kind: `single` or `multi`.
        terms: On what terms.
    """

    def compared(chosen: NDArray[np.bool_], error: float) -> tuple[float, float, float, int]:
        _, number = np.unique(group[chosen], return_inverse=True)
        groups = int(number.max(initial=-1)) + 1
        sums = [
            sums_of_groups(truth[chosen], said[chosen], number, groups, kind)
            for said in (champion, challenger)
        ]
        statistic = METRICS[kind][terms.metric]
        replicates = int(min(max(_REPLICATES, 40 / error), 50_000))
        found = paired_bootstrap(
            sums[0], sums[1], statistic, level=1 - 2 * error, replicates=replicates
        )
        before, after = (float(statistic(one.sum(axis=0))[0]) for one in sums)
        return before, after, found.intervals[0][1], groups

    def check(part: str, chosen: NDArray[np.bool_], error: float, least: float | None) -> Check:
        before, after, low, groups = compared(chosen, error)
        return Check(
            *(part, before, after, after - before),
            low=None if isnan(low) else low,
            least=least,
            samples=int(chosen.sum()),
            groups=groups,
        )

    everything = np.ones(len(truth), np.bool_)
    spent = terms.look_error / 2
    gains = [check(ALL, everything, spent, None)]
    if RECENT in parts and parts[RECENT].any():
        gains.append(check(RECENT, parts[RECENT], spent, None))
    unharmed = [check(ALL, everything, terms.error, -terms.margin)]
    for name, chosen in parts.items():
        if name != RECENT and chosen.any() and not chosen.all():
            enough = len(np.unique(group[chosen])) >= FEWEST_GROUPS
            least = -terms.part_margin if enough else None
            unharmed.append(check(name, chosen, terms.error, least))
    gained = any(one.low is not None and one.low > 0 for one in gains)
    harmed = tuple(one.part for one in unharmed if not one.passes)
    return Decision(gained and not harmed, gained, harmed, (*gains, *unharmed))
