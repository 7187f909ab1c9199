"""Logistic regression in blocks agrees with scikit-learn's."""

import numpy as np
import pytest

from besana.learning.logistic import choose_penalty, fit, in_memory, standardise
from besana.learning.losses import class_weights, loss, one_hot, score


def _data(count=300, features=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = rng.normal(0, 1.5, (classes, features))
    values = centres[labels] + rng.normal(0, 1, (count, features))
    return (values * 7 + 100).astype(np.float32), labels


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_multinomial_fit_is_scikit_learns(penalty):
    from sklearn.linear_model import LogisticRegression

    features, labels = _data()
    blocks = in_memory(features, one_hot(labels, 3), rows=64)
    standard = standardise(blocks)
    scaled = (features - standard.mean) / standard.deviation
    expected = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-9, max_iter=1000).fit(
        scaled, labels
    )

    linear, _ = fit(
        blocks, standard, kind="single", penalty=penalty, weights=np.ones(3, np.float32)
    )

    assert linear.predict(features) == pytest.approx(expected.predict_proba(scaled), abs=2e-3)


def test_one_vs_rest_fit_is_one_binary_fit_a_class():
    from sklearn.linear_model import LogisticRegression

    features, labels = _data()
    targets = np.stack([labels == 0, labels <= 1], axis=1).astype(np.float32)
    blocks = in_memory(features, targets, rows=64)
    standard = standardise(blocks)
    scaled = (features - standard.mean) / standard.deviation

    linear, _ = fit(blocks, standard, kind="multi", penalty=0.01, weights=np.ones(2, np.float32))

    for column in range(2):
        expected = LogisticRegression(C=100 / len(labels), tol=1e-9, max_iter=1000).fit(
            scaled, targets[:, column]
        )
        assert linear.predict(features)[:, column] == pytest.approx(
            expected.predict_proba(scaled)[:, 1], abs=2e-3
        )


def test_fit_does_not_depend_on_block_size():
    features, labels = _data()
    targets, weights = one_hot(labels, 3), np.ones(3, np.float32)
    fits = [
        fit(blocks, standardise(blocks), kind="single", penalty=0.1, weights=weights)[0]
        for blocks in (in_memory(features, targets, rows) for rows in (7, 1000))
    ]

    assert fits[0].predict(features) == pytest.approx(fits[1].predict(features), abs=1e-3)


def test_constant_feature_does_no_harm():
    features, labels = _data()
    features[:, 0] = 5
    blocks = in_memory(features, one_hot(labels, 3))

    linear, _ = fit(
        blocks, standardise(blocks), kind="single", penalty=0.1, weights=np.ones(3, np.float32)
    )

    assert np.isfinite(linear.weight).all()
    assert score(linear.predict(features), one_hot(labels, 3), kind="single").accuracy > 0.8


def test_choose_penalty_judges_each_sample_from_outside_its_fold():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 60)).astype(np.float32)
    targets = one_hot(rng.integers(0, 2, 80), 2)

    chosen = choose_penalty(
        features,
        targets,
        np.arange(80) % 4,
        [1e-4, 1e-2, 10.0],
        kind="single",
        weights=np.ones(2, np.float32),
    )

    # Pure noise: fitting it hard must look worse than chance, so no fold saw itself.
    assert chosen.penalty == 10.0
    assert chosen.losses[1e-4] > 1.0
    assert chosen.losses[10.0] == pytest.approx(np.log(2), abs=0.05)


def test_class_weights_average_one_and_favour_the_rare():
    targets = one_hot(np.array([0] * 90 + [1] * 10), 2)

    for balance in ("none", "inverse_sqrt", "inverse"):
        weights = class_weights(targets, balance)
        assert (targets @ weights).mean() == pytest.approx(1.0)
    assert class_weights(targets, "inverse").tolist() == pytest.approx([100 / 180, 5.0])
    assert class_weights(targets, "none").tolist() == [1.0, 1.0]


def test_smoothed_loss_is_least_at_the_smoothed_label():
    import torch

    weights, targets = torch.ones(2), torch.tensor([[1.0, 0.0]])
    at = [
        float(
            loss(
                torch.tensor([[float(np.log(p / (1 - p))), 0.0]]),
                targets,
                kind="single",
                weights=weights,
                smoothing=0.2,
            )
        )
        for p in (0.85, 0.9, 0.95)
    ]

    assert at[1] == min(at)


def test_score_of_several_classes_a_sample():
    truth = np.array([[1, 0], [1, 1], [0, 0]], np.float32)

    scores = score(np.array([[0.9, 0.1], [0.9, 0.2], [0.1, 0.3]]), truth, kind="multi")

    assert scores.accuracy == pytest.approx(5 / 6)
    assert scores.balanced_accuracy == pytest.approx((1 + 1 + 0 + 1) / 4)
