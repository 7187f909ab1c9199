"""Propose classes from embeddings and a few labels, in seconds, with nothing but NumPy.

A linear classifier fitted by regularised least squares (Rifkin and Klautau 2004): its solution is
one system of equations, so it is fitted again and again while people label. What it says of a
labelled sample comes from a fit that has not seen the stretch of time around that sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_STRENGTHS = (0.01, 0.1, 1.0, 10.0)
_TEMPERATURES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_FOLDS = 5
_PARTS = (0.25, 0.5)


@dataclass(frozen=True)
class Proposer:
    """A fitted classifier.

    Attributes:
        weight: (features, classes).
        bias: (classes,).
        temperature: What scores are multiplied by before they become probabilities.
        classes: Names, in the order of the columns.
    """

    weight: Floats
    bias: Floats
    temperature: float
    classes: tuple[str, ...]

    def probabilities(self, vectors: Floats) -> Floats:
        """Give (n, classes) of vectors, (n, features)."""
        return softmax(self.temperature * (vectors @ self.weight + self.bias))


@dataclass(frozen=True)
class Fitted:
    """A classifier and how good it is on what it has not seen.

    Attributes:
        proposer: Fitted on all labels.
        unseen: (n, classes) probabilities of the labelled samples by fits without their stretch.
        curve: Labels, share right and its standard error, for parts of the labels and for all.
    """

    proposer: Proposer
    unseen: Floats
    curve: tuple[tuple[int, float, float], ...]


def fit(vectors: Floats, labels: NDArray[np.integer], classes: Sequence[str]) -> Fitted | None:
    """Fit a classifier to labelled samples in the order of time.

    Args:
        vectors: (n, features).
        labels: (n,) index of each sample's class.
        classes: Names of the classes.

    Returns:
        None with fewer than two classes, or fewer than ten samples.
    """
    if len(labels) < 2 * _FOLDS or len(np.unique(labels)) < 2:
        return None
    fold = np.arange(len(labels)) * _FOLDS // len(labels)
    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    scaled = (vectors - mean) / deviation
    targets = np.eye(len(classes), dtype=np.float32)[labels]
    by_strength = _unseen(scaled, targets, fold)
    losses = {s: _best_temperature(scores, labels) for s, scores in by_strength.items()}
    strength = min(losses, key=lambda s: losses[s][0])
    temperature = losses[strength][1]
    weight, bias = _System(scaled, targets).solve(strength)
    own = (weight / deviation[:, None]).astype(np.float32)
    proposer = Proposer(own, (bias - mean @ own).astype(np.float32), temperature, tuple(classes))
    scores = by_strength[strength]
    curve = _curve(scaled, targets, labels, fold, strength, scores)
    return Fitted(proposer, softmax(temperature * scores), curve)


def softmax(scores: Floats) -> Floats:
    """Turn scores, (n, classes), into probabilities."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


def expected_gain(
    curve: Sequence[tuple[int, float, float]], more: int, labels: int = 0
) -> tuple[float, float, float] | None:
    """Tell what share right `more` labels would probably give: value, low, high.

    What doubling the labels gave last is taken to hold for the next doubling, and its standard
    error with it; the gain is never below nothing.

    Args:
        curve: From `Fitted`.
        more: Labels still to come.
        labels: How many there are, where the curve was measured on a part of them.

    >>> [round(value, 3) for value in expected_gain([(50, 0.8, 0.0), (100, 0.85, 0.0)], 100)]
    [0.9, 0.9, 0.9]
    """
    if len(curve) < 2:
        return None
    (few, before, error_before), (many, now, error) = curve[-2], curve[-1]
    labels = max(labels, many)
    doublings = np.log2((labels + more) / labels)
    step = (now - before) / np.log2(many / few)
    step_error = float(np.hypot(error, error_before)) / float(np.log2(many / few))
    ends = [now + doublings * max(0.0, step + z * step_error) for z in (0.0, -1.96, 1.96)]
    value, low, high = (min(1.0, float(end)) for end in ends)
    return value, low, high


def likely_errors(
    unseen: Floats, labels: NDArray[np.integer], limit: int = 500
) -> NDArray[np.int64]:
    """Find labels that are probably wrong (confident learning, Northcutt et al. 2021).

    A label is suspected when another class is more probable than samples of that class are on
    average, while its own is not; the least probable labels come first.

    Args:
        unseen: (n, classes) from fits that had not seen the sample.
        labels: (n,) what people said.
        limit: How many at most.
    """
    classes = unseen.shape[1]
    threshold = np.array(
        [unseen[labels == c, c].mean() if (labels == c).any() else 1.0 for c in range(classes)]
    )
    confident = np.where(unseen >= threshold, unseen, 0)
    other = confident.argmax(axis=1)
    own = unseen[np.arange(len(labels)), labels]
    suspected = (confident.max(axis=1) > 0) & (other != labels) & (own < threshold[labels])
    found = np.flatnonzero(suspected)
    return found[np.argsort(own[found], kind="stable")][:limit]


class _System:
    """Ridge regression in features or in samples, whichever are fewer; solved for any strength.

    Making the system costs far more than solving it, so each part of the samples makes one.
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        self._mean_x, self._mean_y = x.mean(axis=0), y.mean(axis=0)
        self._x, self._y = (x - self._mean_x).astype(np.float64), y - self._mean_y
        self._in_samples = len(x) < x.shape[1]
        self._matrix = self._x @ self._x.T if self._in_samples else self._x.T @ self._x
        self._right = self._y if self._in_samples else self._x.T @ self._y
        self._scale = float(np.trace(self._matrix)) / x.shape[1] / 10

    def solve(self, strength: float) -> tuple[Floats, Floats]:
        """Give weights, (features, classes), and bias, (classes,)."""
        matrix = self._matrix.copy()
        matrix[np.diag_indices_from(matrix)] += max(strength * self._scale, 1e-6)
        weight = np.linalg.solve(matrix, self._right)
        if self._in_samples:
            weight = self._x.T @ weight
        bias = self._mean_y - self._mean_x @ weight
        return weight.astype(np.float32), bias.astype(np.float32)


def _unseen(x: Floats, y: Floats, fold: NDArray[np.integer]) -> dict[float, Floats]:
    """Give scores of all samples by fits without their fold, for each strength."""
    scores = {strength: np.empty_like(y) for strength in _STRENGTHS}
    for number in range(_FOLDS):
        held = fold == number
        system = _System(x[~held], y[~held])
        for strength, found in scores.items():
            weight, bias = system.solve(strength)
            found[held] = x[held] @ weight + bias
    return scores


def _best_temperature(scores: Floats, labels: NDArray[np.integer]) -> tuple[float, float]:
    """Give the smallest log loss and the temperature that reaches it."""
    own = np.arange(len(labels)), labels
    found = []
    for temperature in _TEMPERATURES:
        probability = np.maximum(softmax(temperature * scores)[own], 1e-7)
        found.append((float(-np.log(probability).mean()), temperature))
    return min(found)


def _curve(
    x: Floats,
    y: Floats,
    labels: NDArray[np.integer],
    fold: NDArray[np.integer],
    strength: float,
    unseen: Floats,
) -> tuple[tuple[int, float, float], ...]:
    """Measure the share right with parts of the labels and, by `unseen`, with all of them."""
    rng = np.random.default_rng(0)
    curve = []
    for size in (*_PARTS, 1.0):
        right = []
        for number in range(_FOLDS):
            held = fold == number
            scores = unseen[held]
            if size < 1:
                seen = rng.permutation(np.flatnonzero(~held))[: max(2, int(size * (~held).sum()))]
                weight, bias = _System(x[seen], y[seen]).solve(strength)
                scores = x[held] @ weight + bias
            right.append(float((scores.argmax(axis=1) == labels[held]).mean()))
        error = float(np.std(right, ddof=1)) / _FOLDS**0.5
        curve.append((int(size * len(labels)), float(np.mean(right)), error))
    return tuple(curve)
