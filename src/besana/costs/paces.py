"""How long a stage takes for so many items: a start and seconds an item, fitted to runs."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from besana.costs.ranges import Range

_LEAST_SPREAD = 0.2
_UNKNOWN_SPREAD = 0.5
_SPREAD_A_DECADE = 0.15
_START_S = Range(0.5, 2.0, 8.0)

# Seconds an item takes one core where nothing was measured; wide, and said to be assumed.
_ASSUMED_S = {
    "collect": (0.001, 0.02),
    "clean": (0.005, 0.06),
    "prepare": (0.005, 0.08),
    "label": (0.00005, 0.002),
    "split": (0.0001, 0.002),
    "embed": (0.003, 0.1),
    "train": (0.005, 0.3),
    "evaluate": (0.005, 0.1),
    "register": (1.0, 10.0),
    "predict": (0.003, 0.1),
    "answers": (0.00001, 0.0005),
}
_SPREADING = ("collect", "clean", "prepare", "embed", "train", "evaluate", "predict")


@dataclass(frozen=True)
class Observation:
    """One run of a stage: how many items, how many seconds.

    Attributes:
        stage: The verb.
        key: What its speed depends on besides the machine, as the network.
        items: Items that it took up; for `train`, samples times epochs.
        seconds: How long it took.
    """

    stage: str
    key: str
    items: int
    seconds: float


@dataclass(frozen=True)
class Pace:
    """A start and seconds an item, with how far they may be off.

    Attributes:
        start_s: Seconds before the first item.
        item_s: Seconds an item.
        spread: How far off the pace may be, as a share.
        largest: Most items that were seen; beyond, the spread grows.
        runs: Runs behind it; 0 for an assumption.
    """

    start_s: Range
    item_s: Range
    spread: float
    largest: int
    runs: int

    def seconds(self, items: int) -> Range:
        """Estimate the seconds for so many items."""
        if items < 1:
            return Range.exactly(0.0)
        plain = self.start_s + self.item_s * items
        beyond = max(math.log10(items / self.largest), 0.0) if self.runs else 0.0
        spread = 1 + self.spread + _SPREAD_A_DECADE * beyond
        return Range(plain.low / spread, plain.likely, plain.high * spread)


def machine_name() -> str:
    """Name this machine by what its speed depends on."""
    return f"{platform.node()}, {platform.machine()}, {cores()} cores"


def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def pace_of(stage: str, key: str, observations: Sequence[Observation]) -> Pace:
    """Fit the pace of a stage, or assume a wide one where nobody measured it.

    Args:
        stage: The verb.
        key: What its speed depends on; runs with another key count only where none has it.
        observations: Runs on this machine.
    """
    own = [run for run in observations if run.stage == stage and run.items > 0 and run.seconds > 0]
    fitting = [run for run in own if run.key == key]
    if fitting:
        return fit(fitting)
    if own:
        pace = fit(own)
        return Pace(pace.start_s, pace.item_s, 1.0, pace.largest, pace.runs)
    low, high = _ASSUMED_S.get(stage, (0.001, 0.1))
    share = 1 / cores() if stage in _SPREADING else 1.0
    return Pace(_START_S, Range.between(low * share, high * share), 0.0, 1, 0)


def fit(runs: Sequence[Observation]) -> Pace:
    """Fit start and seconds an item by least squares of the relative errors.

    Runs of one size cannot tell the start from the items, so their range says both.
    """
    largest = max(run.items for run in runs)
    if largest < 2 * min(run.items for run in runs):
        each = sum(run.seconds / run.items for run in runs) / len(runs)
        return Pace(
            Range.exactly(0.0), Range(0.3 * each, 0.8 * each, each), _LEAST_SPREAD, largest, 1
        )
    start_s, item_s = _line(runs)
    spread = _spread([(start_s + item_s * run.items) / run.seconds - 1 for run in runs])
    return Pace(Range.exactly(start_s), Range.exactly(item_s), spread, largest, len(runs))


def _spread(errors: Sequence[float]) -> float:
    """Tell from the scatter of runs how far off the next may be.

    Two runs lie on their line whatever they are, and tell nothing.
    """
    freedom = len(errors) - 2
    if freedom < 1:
        return _UNKNOWN_SPREAD
    return max(_LEAST_SPREAD, 2 * math.sqrt(sum(error**2 for error in errors) / freedom))


def _line(runs: Sequence[Observation]) -> tuple[float, float]:
    """Solve min sum(((a + b n) / s - 1)^2) for a >= 0 and b >= 0."""
    a2 = sum(1 / run.seconds**2 for run in runs)
    b2 = sum((run.items / run.seconds) ** 2 for run in runs)
    ab = sum(run.items / run.seconds**2 for run in runs)
    a1 = sum(1 / run.seconds for run in runs)
    b1 = sum(run.items / run.seconds for run in runs)
    determinant = a2 * b2 - ab**2
    start_s = (a1 * b2 - b1 * ab) / determinant
    item_s = (b1 * a2 - a1 * ab) / determinant
    if item_s < 0:
        return a1 / a2, 0.0
    if start_s < 0:
        return 0.0, b1 / b2
    return start_s, item_s
