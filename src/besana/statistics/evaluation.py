"""Everything that is measured about a classifier on samples it has not seen, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.statistics import metrics
from besana.statistics.intervals import Floats, Intervals, Statistic, bootstrap

Figure = dict[str, float | None]
"""`value`, `low` and `high`; None where a number cannot be told."""


@dataclass(frozen=True)
class Judged:
    """Samples with their truth and what a model says about them.

    Attributes:
        truth: (n,) classes from 0; or (n, classes) truths when several may hold.
        probability: (n, classes).
        predicted: In the shape of `truth`.
        group: (n,) group from 0; groups are what is drawn for the intervals.
        classes: Names of the classes.
    """

    truth: NDArray[Any]
    probability: NDArray[np.float32]
    predicted: NDArray[Any]
    group: NDArray[np.integer]
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def is_multi(self) -> bool:
        """Whether several classes may hold."""
        return self.truth.ndim == 2

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which samples are right, (n,): with several classes, right in all of them."""
        same = self.truth == self.predicted
        return np.asarray(same.all(axis=1) if self.is_multi else same)

    def part(self, chosen: NDArray[np.bool_]) -> Judged:
        """Give some of the samples, their groups numbered anew."""
        _, group = np.unique(self.group[chosen], return_inverse=True)
        return Judged(
            self.truth[chosen],
            self.probability[chosen],
            self.predicted[chosen],
            group,
            self.classes,
        )


def measure(judged: Judged, *, replicates: int = 2000, level: float = 0.95) -> dict[str, Any]:
    """Measure a classifier, with a bootstrap over groups for every figure.

    Args:
        judged: The samples, 1 or more.
        replicates: Draws of the bootstrap.
        level: Confidence level.

    Returns:
        Plain values for JSON: `samples`, `groups`, `metrics` (name to figure), `classes` (name
        to `samples` and figures), `confusion` (truth by prediction; with several classes, each
        class's true negatives, false positives, false negatives, true positives) and
        `reliability` (of each bin: samples, mean confidence, share that is right).
    """
    groups = int(judged.group.max()) + 1
    measuring = _Measuring(judged, groups, replicates, level)
    sums = _counts(judged, groups)
    if judged.is_multi:
        found = measuring.figures(
            sums, accuracy=metrics.class_accuracy, macro_f1=metrics.class_macro_f1
        )
        per_class: dict[str, Statistic] = {
            "precision": metrics.class_precision,
            "recall": metrics.class_recall,
            "f1": metrics.class_f1,
        }
        confusion = sums.sum(axis=0).reshape(-1, 4)
        occurring = judged.truth.sum(axis=0)
    else:
        found = measuring.figures(
            sums,
            accuracy=metrics.accuracy,
            balanced_accuracy=metrics.balanced_accuracy,
            macro_f1=metrics.macro_f1,
        )
        per_class = {"precision": metrics.precision, "recall": metrics.recall, "f1": metrics.f1}
        confusion = metrics.square(sums.sum(axis=0))
        occurring = np.bincount(judged.truth, minlength=len(judged.classes))
    of_classes: dict[str, dict[str, Any]] = {
        name: {"samples": int(count)} for name, count in zip(judged.classes, occurring, strict=True)
    }
    for metric, statistic in per_class.items():
        intervals = measuring.interval(sums, statistic)
        for number, name in enumerate(judged.classes):
            of_classes[name][metric] = _figure(intervals, number)
    if judged.is_multi:
        measuring.add_average_precision(found, of_classes)
    reliability = measuring.reliability()
    found["calibration_error"] = _figure(
        measuring.interval(reliability, metrics.expected_calibration_error), 0
    )
    return {
        "samples": len(judged),
        "groups": groups,
        "metrics": found,
        "classes": of_classes,
        "confusion": confusion.astype(int).tolist(),
        "reliability": _bins(reliability.sum(axis=0)),
    }


def measure_slice(judged: Judged, *, replicates: int = 1000, level: float = 0.95) -> dict[str, Any]:
    """Measure a part of the samples: their number and the accuracy, balanced where that is told."""
    groups = int(judged.group.max()) + 1
    measuring = _Measuring(judged, groups, replicates, level)
    statistics: dict[str, Statistic] = {"accuracy": metrics.class_accuracy}
    if not judged.is_multi:
        statistics = {
            "accuracy": metrics.accuracy,
            "balanced_accuracy": metrics.balanced_accuracy,
        }
    figures = measuring.figures(_counts(judged, groups), **statistics)
    return {"samples": len(judged), "groups": groups, **figures}


def _counts(judged: Judged, groups: int) -> Floats:
    if judged.is_multi:
        return metrics.class_counts_by_group(
            judged.truth, judged.predicted, judged.group, groups=groups
        )
    return metrics.confusion_by_group(
        judged.truth,
        judged.predicted,
        judged.group,
        classes=len(judged.classes),
        groups=groups,
    )


@dataclass(frozen=True)
class _Measuring:
    judged: Judged
    groups: int
    replicates: int
    level: float

    def interval(self, sums: Floats, statistic: Statistic) -> Intervals:
        return bootstrap(sums, statistic, replicates=self.replicates, level=self.level)

    def figures(self, sums: Floats, **statistics: Statistic) -> dict[str, Figure]:
        return {
            name: _figure(self.interval(sums, statistic), 0)
            for name, statistic in statistics.items()
        }

    def reliability(self) -> Floats:
        """Sum up reliability; with several classes, of the surer answer about each class."""
        judged = self.judged
        group, right = judged.group, judged.truth == judged.predicted
        if judged.is_multi:
            confidence = np.maximum(judged.probability, 1 - judged.probability).ravel()
            group, right = np.repeat(group, len(judged.classes)), right.ravel()
        else:
            confidence = judged.probability.max(axis=1)
        return metrics.reliability_by_group(
            confidence.astype(np.float64), right, group, groups=self.groups
        )

    def add_average_precision(
        self, found: dict[str, Figure], of_classes: dict[str, dict[str, Any]]
    ) -> None:
        values = []
        for number, name in enumerate(self.judged.classes):
            sums = metrics.scores_by_group(
                self.judged.truth[:, number],
                self.judged.probability[:, number].astype(np.float64),
                self.judged.group,
                groups=self.groups,
            )
            intervals = self.interval(sums, metrics.average_precision)
            of_classes[name]["average_precision"] = _figure(intervals, 0)
            values.append(intervals.value[0])
        told = [value for value in values if not np.isnan(value)]
        found["mean_average_precision"] = {
            "value": float(np.mean(told)) if told else None,
            "low": None,
            "high": None,
        }


def _figure(intervals: Intervals, number: int) -> Figure:
    value, low, high = (None if np.isnan(v) else round(v, 6) for v in intervals[number])
    return {"value": value, "low": low, "high": high}


def _bins(sums: Floats) -> list[dict[str, float]]:
    return [
        {"samples": int(samples), "confidence": round(mean, 6), "accuracy": round(share, 6)}
        for samples, mean, share in zip(*metrics.reliability(sums), strict=True)
        if samples
    ]
