"""The gate: a new model takes over only when it is not worse on the same frozen test set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.learning.judging import judge
from besana.models.model import Model
from besana.shards.datasets import Dataset
from besana.statistics import metrics
from besana.statistics.intervals import Difference, Floats, Statistic, paired_bootstrap
from besana.storage import Storage

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions

METRICS: dict[str, dict[str, Statistic]] = {
    "single": {
        "accuracy": metrics.accuracy,
        "balanced_accuracy": metrics.balanced_accuracy,
        "macro_f1": metrics.macro_f1,
    },
    "multi": {
        "accuracy": metrics.class_accuracy,
        "balanced_accuracy": metrics.class_macro_f1,
        "macro_f1": metrics.class_macro_f1,
    },
}


@dataclass(frozen=True)
class Verdict:
    """What the gate says about a challenger.

    Attributes:
        passes: Whether it becomes the champion.
        reason: Why, in a sentence.
        champion: The champion's figure; None without one to compare with.
        challenger: The challenger's figure on the same samples.
        difference: Challenger minus champion.
        low: Lower end of the difference's interval; None when it cannot be told.
        high: Upper end.
        samples: Samples that both judged.
        groups: Groups that they form.
    """

    passes: bool
    reason: str
    champion: float | None = None
    challenger: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    groups: int = 0


def judged(
    model: Model, dataset: Dataset, manifest: Manifest, positions: Positions, shards: Storage
) -> NDArray[np.bool_]:
    """Tell which of a dataset's classes a model finds in some samples.

    Args:
        model: Its classes may stand in another order than the dataset's.
        dataset: Whose classes.
        manifest: The dataset's index.
        positions: The samples.
        shards: Where the shards lie.

    Returns:
        (n, classes) in the dataset's order.
    """
    probability = judge(
        model.network,
        model.card.preprocessing,
        model.card.kind,
        manifest,
        positions,
        shards,
    )
    order = [model.card.classes.index(name) for name in dataset.classes]
    return np.asarray(model.holds(np.nan_to_num(probability))[:, order])


def compare(
    truth: NDArray[np.bool_],
    champion: NDArray[np.bool_],
    challenger: NDArray[np.bool_],
    group: NDArray[np.integer],
    *,
    kind: str,
    metric: str,
    margin: float,
    level: float,
) -> Verdict:
    """Compare two models on the same samples, drawing the same groups for both.

    The challenger passes when the lower end of the interval of the difference is not below
    `-margin`: a test of non-inferiority. So a test set too small to tell keeps the champion.

    Args:
        truth: (n, classes) which classes hold.
        champion: (n, classes) which ones the champion says.
        challenger: (n, classes) which ones the challenger says.
        group: (n,) group of each sample.
        kind: `single` or `multi`.
        metric: A name in `METRICS`.
        margin: How much worse does not matter, as a share.
        level: Level of the interval.
    """
    _, number = np.unique(group, return_inverse=True)
    groups = int(number.max()) + 1
    sums = [sums_of_groups(truth, said, number, groups, kind) for said in (champion, challenger)]
    statistic = METRICS[kind][metric]
    found: Difference = paired_bootstrap(sums[0], sums[1], statistic, level=level)
    value, low, high = found.intervals[0]
    before, after = (float(statistic(one.sum(axis=0))[0]) for one in sums)
    passes = not math.isnan(low) and low >= -margin
    return Verdict(
        passes=passes,
        reason=_reason(passes, value, low, high, metric, margin),
        champion=before,
        challenger=after,
        difference=value,
        low=None if math.isnan(low) else low,
        high=None if math.isnan(high) else high,
        samples=len(truth),
        groups=groups,
    )


def _reason(passes: bool, value: float, low: float, high: float, metric: str, margin: float) -> str:
    words = metric.replace("_", " ")
    if math.isnan(low):
        return "The test set is one group, so nothing can be told about a difference."
    seen = f"{words} differs by {_points(value)} points ({_points(low)} to {_points(high)})"
    if passes:
        return f"Not worse: {seen}, and {100 * margin:g} points less would not matter."
    if high < 0:
        return f"Worse: {seen}."
    return f"Not shown to be as good: {seen}, which may be more than {100 * margin:g} points worse."


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def sums_of_groups(
    truth: NDArray[np.bool_],
    said: NDArray[np.bool_],
    group: NDArray[Any],
    groups: int,
    kind: str,
) -> Floats:
    """Count right and wrong by group, as the metrics of a kind need it."""
    if kind == "multi":
        return metrics.class_counts_by_group(truth, said, group, groups=groups)
    return metrics.confusion_by_group(
        truth.argmax(axis=1),
        said.argmax(axis=1),
        group,
        classes=truth.shape[1],
        groups=groups,
    )
