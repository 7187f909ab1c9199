"""Metrics: agreement with scikit-learn, groups that add up, planted label errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as theirs

from besana.statistics import metrics as ours
from besana.statistics.intervals import bootstrap

N, CLASSES, GROUPS = 600, 4, 25


@pytest.fixture
def answers() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Give truth, probabilities and groups of a fair classifier."""
    rng = np.random.default_rng(21)
    truth = rng.integers(CLASSES, size=N)
    score = rng.normal(size=(N, CLASSES)) + 1.5 * np.eye(CLASSES)[truth]
    probability = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    return truth, probability, rng.integers(GROUPS, size=N)


def test_confusion_metrics_agree_with_scikit_learn(answers) -> None:
    truth, probability, group = answers
    predicted = probability.argmax(axis=1)
    cells = ours.confusion_by_group(truth, predicted, group, classes=CLASSES, groups=GROUPS)
    total = cells.sum(axis=0)

    expected = theirs.precision_recall_fscore_support(truth, predicted)
    assert np.array_equal(ours.square(total), theirs.confusion_matrix(truth, predicted))
    assert ours.accuracy(total)[0] == theirs.accuracy_score(truth, predicted)
    assert ours.balanced_accuracy(total)[0] == pytest.approx(
        theirs.balanced_accuracy_score(truth, predicted)
    )
    assert ours.precision(total) == pytest.approx(expected[0])
    assert ours.recall(total) == pytest.approx(expected[1])
    assert ours.f1(total) == pytest.approx(expected[2])
    assert ours.macro_f1(total)[0] == pytest.approx(expected[2].mean())


def test_metrics_keep_leading_axes(answers) -> None:
    truth, probability, group = answers
    cells = ours.confusion_by_group(
        truth, probability.argmax(axis=1), group, classes=CLASSES, groups=GROUPS
    )
    for metric in (ours.accuracy, ours.balanced_accuracy, ours.f1, ours.macro_f1):
        assert np.array_equal(metric(cells)[3], metric(cells[3]), equal_nan=True)
    found = bootstrap(cells, ours.recall, replicates=200)
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()


def test_a_class_that_never_occurs_has_no_recall_and_does_not_lower_the_mean() -> None:
    cells = np.array([5.0, 0, 0, 0, 5, 0, 0, 0, 0])
    assert np.array_equal(ours.recall(cells), [1, 1, np.nan], equal_nan=True)
    assert ours.balanced_accuracy(cells)[0] == 1


def test_calibration_error_of_a_known_case() -> None:
    # Ten samples at 0.95 of which six are right, ten at 0.55 of which five are right.
    confidence = np.repeat([0.95, 0.55], 10)
    right = np.array([True] * 6 + [False] * 4 + [True] * 5 + [False] * 5)
    sums = ours.reliability_by_group(confidence, right, np.zeros(20, dtype=int), groups=1)

    assert ours.expected_calibration_error(sums)[0, 0] == pytest.approx((0.35 + 0.05) / 2)
    samples, mean, share = ours.reliability(sums[0])
    assert samples.sum() == 20
    assert mean[14] == pytest.approx(0.95)
    assert share[8] == 0.5


def test_class_counts_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(22)
    truth, predicted = rng.random((2, N, CLASSES)) < 0.4
    group = rng.integers(GROUPS, size=N)
    counts = ours.class_counts_by_group(truth, predicted, group, groups=GROUPS).sum(axis=0)

    expected = theirs.precision_recall_fscore_support(truth, predicted)
    assert ours.class_precision(counts) == pytest.approx(expected[0])
    assert ours.class_recall(counts) == pytest.approx(expected[1])
    assert ours.class_f1(counts) == pytest.approx(expected[2])
    assert ours.class_macro_f1(counts)[0] == pytest.approx(expected[2].mean())
    assert ours.class_accuracy(counts)[0] == pytest.approx((truth == predicted).mean())


@pytest.mark.parametrize(("n", "decimals"), [(400, 12), (20_000, 12), (400, 1)])
def test_average_precision_agrees_with_scikit_learn(n: int, decimals: int) -> None:
    rng = np.random.default_rng(23)
    truth = rng.random(n) < 0.3
    score = np.round(np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1), decimals)
    sums = ours.scores_by_group(truth, score, rng.integers(GROUPS, size=n), groups=GROUPS)

    expected = theirs.average_precision_score(truth, score)
    assert ours.average_precision(sums.sum(axis=0))[0] == pytest.approx(expected, abs=2e-3)
    if n == 400:
        assert ours.average_precision(sums.sum(axis=0))[0] == pytest.approx(expected, abs=1e-12)


def test_average_precision_without_positives_is_not_a_number() -> None:
    none = np.zeros(10, dtype=bool)
    sums = ours.scores_by_group(none, np.linspace(0, 1, 10), np.zeros(10, dtype=int), groups=1)
    assert np.isnan(ours.average_precision(sums)).all()


def test_planted_label_errors_are_found(answers) -> None:
    truth, _, _ = answers
    rng = np.random.default_rng(24)
    score = rng.normal(size=(N, CLASSES)) + 5 * np.eye(CLASSES)[truth]
    probability = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    planted = rng.choice(N, size=20, replace=False)
    given = truth.copy()
    given[planted] = (truth[planted] + 1) % CLASSES

    found, margin = ours.label_error_candidates(given, probability)
    assert (np.diff(margin) <= 0).all()
    assert (margin > 0).all()
    assert len(found) >= 14
    assert len(set(found) - set(planted)) <= 2


def test_a_clean_set_has_no_label_errors() -> None:
    truth = np.arange(30) % 3
    probability = np.eye(3)[truth] * 0.9 + 0.1 / 3
    assert len(ours.label_error_candidates(truth, probability)[0]) == 0
