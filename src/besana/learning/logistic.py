"""Logistic regression whose features may lie on disk: multinomial, or one-vs-rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from besana.learning.losses import score

Floats = NDArray[np.float32]

#: Blocks of features, (n, features) float, and of targets, (n, classes); walked once a pass.
Blocks = Callable[[], Iterator[tuple[Floats, Floats]]]

_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Linear:
    """A linear classifier.

    Attributes:
        weight: (classes, features).
        bias: (classes,).
        kind: `single` (softmax) or `multi` (a sigmoid a class).
    """

    weight: Floats
    bias: Floats
    kind: str

    def predict(self, features: Floats) -> Floats:
        """Give probabilities, (n, classes), of features, (n, features)."""
        return _probabilities(features @ self.weight.T + self.bias, self.kind)


class Standard(NamedTuple):
    """Mean and deviation of each feature.

    Attributes:
        mean: (features,).
        deviation: (features,), above 0.
        samples: How many samples they come from.
    """

    mean: Floats
    deviation: Floats
    samples: int


def standardise(blocks: Blocks) -> Standard:
    """Measure mean and deviation of each feature in one pass."""
    wide = (features.astype(np.float64) for features, _ in blocks())
    return standard_of((len(each), each.sum(axis=0), (each**2).sum(axis=0)) for each in wide)


def standard_of(sums: Iterable[tuple[int, NDArray[np.float64], NDArray[np.float64]]]) -> Standard:
    """Put counts, sums and sums of squares of parts together."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for own_count, own_total, own_squares in sums:
        count, total, squares = count + own_count, total + own_total, squares + own_squares
    mean = np.asarray(total / count)
    variance = np.maximum(np.asarray(squares / count) - mean**2, 0.0)
    deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
    return Standard(mean.astype(np.float32), deviation.astype(np.float32), count)


def fit(
    blocks: Blocks,
    standard: Standard,
    *,
    kind: str,
    penalty: float,
    weights: Floats,
    start: NDArray[np.float64] | None = None,
    most_passes: int = 200,
) -> tuple[Linear, NDArray[np.float64]]:
    """Fit a classifier by L-BFGS; memory is bounded by one block.

    Minimises the class-weighted mean log loss + penalty / 2 * |weights|² over standardised
    features. Scikit-learn's `LogisticRegression` minimises the same with
    C = 1 / (penalty * samples).

    Args:
        blocks: The features and targets, in the same order in every pass.
        standard: From `standardise`.
        kind: `single` or `multi`.
        penalty: Strength of the regularisation, above 0.
        weights: (classes,) weight of each class.
        start: Where to start from: the second result of an earlier fit.
        most_passes: Passes over the blocks at most.

    Returns:
        The classifier for features as they are, and its parameters for standardised ones.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    features = len(standard.mean)
    size = (len(weights), features + 1)
    objective = _Objective(blocks, standard, kind, penalty, weights)
    begin = np.zeros(size) if start is None else start
    # L-BFGS asks BLAS for thousands of short products; threads that wait for the next one in a
    # loop cost 25 times the work.
    with threadpool_limits(1, user_api="blas"):
        found = minimize(
            objective,
            begin.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxfun": most_passes, "maxiter": most_passes, "gtol": 1e-5, "ftol": 1e-9},
        )
    parameters = np.asarray(found.x).reshape(size)
    weight = parameters[:, :-1] / standard.deviation
    bias = parameters[:, -1] - weight @ standard.mean
    return Linear(weight.astype(np.float32), bias.astype(np.float32), kind), parameters


@dataclass(frozen=True)
class _Objective:
    blocks: Blocks
    standard: Standard
    kind: str
    penalty: float
    weights: Floats

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = flat.reshape(len(self.weights), -1)
        weight, bias = parameters[:, :-1], parameters[:, -1]
        mean, deviation, count = self.standard
        # Scaling the few parameters instead of the many features, which stay untouched.
        scaled = weight / deviation
        offset = bias - scaled @ mean
        turned = scaled.T.astype(np.float32)
        total, gradient = 0.0, np.zeros_like(parameters)
        for features, targets in self.blocks():
            value, slope = self._block(features @ turned + offset, targets)
            total += value
            gradient[:, :-1] += slope.T @ features
            gradient[:, -1] += slope.sum(axis=0, dtype=np.float64)
        gradient[:, :-1] = (gradient[:, :-1] - gradient[:, -1:] * mean) / deviation
        gradient /= count
        gradient[:, :-1] += self.penalty * weight
        return total / count + self.penalty / 2 * float((weight**2).sum()), gradient.ravel()

    def _block(
        self, scores: NDArray[np.float64], targets: Floats
    ) -> tuple[float, NDArray[np.float32]]:
        """Give the summed loss and its slope by score, (n, classes)."""
        weights = self.weights.astype(np.float64)
        if self.kind == "single":
            shifted = scores - scores.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            own = (targets @ weights)[:, None]
            value = -float((own * targets * log_p).sum())
            return value, (own * (np.exp(log_p) - targets)).astype(np.float32)
        # log(1 + exp(-|s|)) never overflows.
        soft = np.log1p(np.exp(-np.abs(scores)))
        loss_yes, loss_no = soft + np.maximum(-scores, 0), soft + np.maximum(scores, 0)
        value = float((weights * targets * loss_yes + (1 - targets) * loss_no).sum())
        p = _probabilities(scores, "multi")
        slope = -weights * targets * (1 - p) + (1 - targets) * p
        return value, slope.astype(np.float32)


@dataclass(frozen=True)
class Chosen:
    """What cross-validation found.

    Attributes:
        penalty: The best one.
        losses: Penalty to mean log loss outside the folds it was fitted on.
        probability: (n, classes) of the best penalty, each sample judged by a classifier that
            has not seen its fold.
    """

    penalty: float
    losses: dict[float, float]
    probability: Floats


def choose_penalty(
    features: Floats,
    targets: Floats,
    fold: NDArray[np.integer],
    penalties: Sequence[float],
    *,
    kind: str,
    weights: Floats,
) -> Chosen:
    """Choose the regularisation by cross-validation over given folds.

    Args:
        features: (n, features), in memory.
        targets: (n, classes) 0 or 1.
        fold: (n,) fold of each sample, from 0; at least two folds.
        penalties: What to try; each fit starts from the one before.
        kind: `single` or `multi`.
        weights: (classes,).
    """
    ordered = sorted(penalties, reverse=True)
    found = {penalty: np.empty(targets.shape, np.float32) for penalty in ordered}
    for number in np.unique(fold):
        held = fold == number
        seen = in_memory(features[~held], targets[~held])
        standard, start = standardise(seen), None
        for penalty in ordered:
            linear, start = fit(
                seen, standard, kind=kind, penalty=penalty, weights=weights, start=start
            )
            found[penalty][held] = linear.predict(features[held])
    losses = {penalty: score(found[penalty], targets, kind=kind).loss for penalty in ordered}
    best = min(losses, key=lambda penalty: losses[penalty])
    return Chosen(best, losses, found[best])


def in_memory(features: Floats, targets: Floats, rows: int = 8192) -> Blocks:
    """Walk over arrays in blocks, so that no pass copies them whole."""

    def blocks() -> Iterator[tuple[Floats, Floats]]:
        for start in range(0, len(features), rows):
            yield features[start : start + rows], targets[start : start + rows]

    return blocks


def _probabilities(scores: NDArray[np.floating], kind: str) -> Floats:
    if kind == "multi":
        # The exponent is never above 0, so nothing overflows.
        e = np.exp(-np.abs(scores))
        return np.asarray(np.where(scores >= 0, 1, e) / (1 + e), np.float32)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float32)
