"""How good a classifier is: functions of sums over samples, so that a bootstrap can redo them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from besana.statistics.ratios import ratio

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]


def confusion_by_group(
    truth: Integers, predicted: Integers, group: Integers, *, classes: int, groups: int
) -> Floats:
    """Count truth against prediction in every group.

    Args:
        truth: (n,) class of each sample, from 0.
        predicted: (n,) predicted class.
        group: (n,) group, from 0.
        classes: How many classes there are.
        groups: How many groups there are.

    Returns:
        (groups, classes * classes); row-major, truth first. `bootstrap` takes it as it is.
    """
    cell = (group.astype(np.int64) * classes + truth) * classes + predicted
    counts = np.bincount(cell, minlength=groups * classes * classes)
    return counts.reshape(groups, classes * classes).astype(np.float64)


def square(cells: Floats) -> Floats:
    """Shape flat cells, (..., classes * classes), into confusion matrices."""
    classes = round(cells.shape[-1] ** 0.5)
    return cells.reshape(*cells.shape[:-1], classes, classes)


def accuracy(cells: Floats) -> Floats:
    """Give the share of the samples that was predicted right, (..., 1)."""
    matrix = square(cells)
    right = np.trace(matrix, axis1=-2, axis2=-1)
    return ratio(right, matrix.sum(axis=(-2, -1)))[..., None]


def balanced_accuracy(cells: Floats) -> Floats:
    """Give the mean recall of the classes that occur, (..., 1) (Brodersen et al., 2010)."""
    return _mean(recall(cells))


def recall(cells: Floats) -> Floats:
    """Give the share of each true class that was found, (..., classes); NaN without any."""
    matrix = square(cells)
    return ratio(_diagonal(matrix), matrix.sum(axis=-1))


def precision(cells: Floats) -> Floats:
    """Give the share of each predicted class that is right, (..., classes); NaN without any."""
    matrix = square(cells)
    return ratio(_diagonal(matrix), matrix.sum(axis=-2))


def f1(cells: Floats) -> Floats:
    """Give the harmonic mean of precision and recall of each class, (..., classes).

    2 true positives / (truths + predictions) (van Rijsbergen, 1979): 0 for a class that is
    never right, NaN for one that neither occurs nor is predicted.
    """
    matrix = square(cells)
    return ratio(2 * _diagonal(matrix), matrix.sum(axis=-1) + matrix.sum(axis=-2))


def macro_f1(cells: Floats) -> Floats:
    """Give the mean F1 of the classes that occur or are predicted, (..., 1)."""
    return _mean(f1(cells))


def reliability_by_group(
    confidence: Floats, right: NDArray[np.bool_], group: Integers, *, groups: int, bins: int = 15
) -> Floats:
    """Sum up what a reliability plot needs, in bins of equal width.

    Args:
        confidence: (n,) probability of the predicted class, 0 to 1.
        right: (n,) whether the prediction is right.
        group: (n,) group, from 0.
        groups: How many groups there are.
        bins: How many bins there are.

    Returns:
        (groups, 3 * bins): samples, then summed confidence, then right ones of each bin.
    """
    found = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    cell = group.astype(np.int64) * bins + found
    parts = [
        np.bincount(cell, weights=weight, minlength=groups * bins).reshape(groups, bins)
        for weight in (np.ones(len(cell)), confidence, right.astype(np.float64))
    ]
    return np.concatenate(parts, axis=1)


def reliability(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Give samples, mean confidence and accuracy of each bin; NaN in empty bins."""
    samples, confidence, right = np.split(sums, 3, axis=-1)
    return samples, ratio(confidence, samples), ratio(right, samples)


def expected_calibration_error(sums: Floats) -> Floats:
    """Give the mean distance of confidence and accuracy, weighted by bin, (..., 1).

    Guo, Pleiss, Sun and Weinberger (2017), equation 3.
    """
    samples, confidence, right = np.split(sums, 3, axis=-1)
    return ratio(np.abs(confidence - right).sum(axis=-1), samples.sum(axis=-1))[..., None]


def class_counts_by_group(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], group: Integers, *, groups: int
) -> Floats:
    """Count, with several classes a sample, each class apart.

    Args:
        truth: (n, classes) whether a class holds.
        predicted: (n, classes) whether it is predicted to hold.
        group: (n,) group, from 0.
        groups: How many groups there are.

    Returns:
        (groups, classes * 4): true negatives, false positives, false negatives, true positives.
    """
    classes = truth.shape[1]
    outcome = truth * 2 + predicted
    cell = (group.astype(np.int64)[:, None] * classes + np.arange(classes)) * 4 + outcome
    counts = np.bincount(cell.ravel(), minlength=groups * classes * 4)
    return counts.reshape(groups, classes * 4).astype(np.float64)


def class_recall(counts: Floats) -> Floats:
    """Give the recall of each class from `class_counts_by_group`, (..., classes)."""
    _, _, missed, hit = _outcomes(counts)
    return ratio(hit, hit + missed)


def class_precision(counts: Floats) -> Floats:
    """Give the precision of each class from `class_counts_by_group`, (..., classes)."""
    _, wrong, _, hit = _outcomes(counts)
    return ratio(hit, hit + wrong)


def class_f1(counts: Floats) -> Floats:
    """Give the F1 of each class from `class_counts_by_group`, (..., classes)."""
    _, wrong, missed, hit = _outcomes(counts)
    return ratio(2 * hit, 2 * hit + wrong + missed)


def class_accuracy(counts: Floats) -> Floats:
    """Give the share of right yes-or-no answers over all classes, (..., 1)."""
    right, _, _, hit = _outcomes(counts)
    return ratio((right + hit).sum(axis=-1), counts.sum(axis=-1))[..., None]


def class_macro_f1(counts: Floats) -> Floats:
    """Give the mean F1 of the classes that occur or are predicted, (..., 1)."""
    return _mean(class_f1(counts))


def scores_by_group(
    truth: NDArray[np.bool_], score: Floats, group: Integers, *, groups: int, bins: int = 500
) -> Floats:
    """Sum up what the average precision of one class needs, in bins of falling score.

    Bins hold about equally many samples; equal scores share a bin, and with no more distinct
    scores than bins nothing is rounded.

    Args:
        truth: (n,) whether the class holds.
        score: (n,) its probability.
        group: (n,) group, from 0.
        groups: How many groups there are.
        bins: How many bins there are at most.

    Returns:
        (groups, 2 * bins): samples, then those for which the class holds, of each bin.
    """
    distinct = np.unique(score)
    edges = distinct
    if len(distinct) > bins:
        edges = np.unique(np.quantile(score, np.arange(bins) / bins, method="lower"))
    place = bins - np.searchsorted(edges, score, side="right")
    cell = group.astype(np.int64) * bins + place
    every = np.bincount(cell, minlength=groups * bins)
    holding = np.bincount(cell[truth], minlength=groups * bins)
    parts = [every.reshape(groups, bins), holding.reshape(groups, bins)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def average_precision(sums: Floats) -> Floats:
    """Give the average precision from `scores_by_group`, (..., 1); NaN without positives.

    The sum of precision at each threshold times the recall it adds (Manning, Raghavan and
    Schütze, 2008, section 8.4), as scikit-learn computes it.
    """
    every, holding = np.split(sums, 2, axis=-1)
    found = np.cumsum(holding, axis=-1)
    exact = np.nan_to_num(ratio(found, np.cumsum(every, axis=-1)))
    return ratio((holding * exact).sum(axis=-1), found[..., -1])[..., None]


def label_error_candidates(
    truth: Integers, probability: NDArray[np.floating]
) -> tuple[NDArray[np.intp], Floats]:
    """Find samples whose label is probably wrong, the surest first.

    Confident learning (Northcutt, Jiang and Chuang, 2021, equations 1 and 2): a class is
    plausible where its probability reaches the mean probability of that class among samples so
    labelled; a sample whose most probable plausible class is not its label is a candidate. They
    are ordered by the normalised margin, p(label) - p(that class).

    Args:
        truth: (n,) label of each sample, from 0.
        probability: (n, classes) predicted by a model that was not trained on these samples.

    Returns:
        Positions of the candidates, and p(that class) - p(label) of each, above 0, falling.
    """
    classes = probability.shape[1]
    own = probability[np.arange(len(truth)), truth]
    sums = np.bincount(truth, weights=own, minlength=classes)
    threshold = ratio(sums, np.bincount(truth, minlength=classes))
    plausible = probability >= np.nan_to_num(threshold, nan=np.inf)
    likely = np.where(plausible, probability, -1.0).argmax(axis=1)
    found = np.flatnonzero(plausible.any(axis=1) & (likely != truth))
    margin = (probability[found, likely[found]] - own[found]).astype(np.float64)
    found, margin = found[margin > 0], margin[margin > 0]
    order = np.lexsort((found, -margin))
    return found[order], margin[order]


def _outcomes(counts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    four = counts.reshape(*counts.shape[:-1], counts.shape[-1] // 4, 4)
    return four[..., 0], four[..., 1], four[..., 2], four[..., 3]


def _diagonal(matrix: Floats) -> Floats:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _mean(values: Floats) -> Floats:
    """Average the last axis over what is not NaN, (..., 1)."""
    told = ~np.isnan(values)
    counts = told.sum(axis=-1).astype(np.float64)
    return ratio(np.where(told, values, 0.0).sum(axis=-1), counts)[..., None]
