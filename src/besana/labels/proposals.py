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
_SIZES = (0.25, 0.5, 1.0)


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
    by_strength = {s: _unseen(scaled, targets, fold, s) for s in _STRENGTHS}
    losses = {s: _best_temperature(scores, labels) for s, scores in by_strength.items()}
    strength = min(losses, key=lambda s: losses[s][0])
    temperature = losses[strength][1]
    weight, bias = _solve(scaled, targets, strength)
    own = (weight / deviation[:, None]).astype(np.float32)
    proposer = Proposer(own, (bias - mean @ own).astype(np.float32), temperature, tuple(classes))
    unseen = softmax(temperature * by_strength[strength])
    return Fitted(proposer, unseen, _curve(scaled, targets, labels, fold, strength))


def softmax(scores: Floats) -> Floats:
    """Turn scores, (n, classes), into probabilities."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


def expected_gain(
    curve: Sequence[tuple[int, float, float]], more: int
) -> tuple[float, float, float] | None:
    """Tell what share right `more` labels would probably give: value, low, high.

    What doubling the labels gave last is taken to hold for the next doubling, and its standard
    error with it; the gain is never below nothing.

    Args:
        curve: From `Fitted`.
        more: Labels still to come.

    >>> [round(value, 3) for value in expected_gain([(50, 0.8, 0.0), (100, 0.85, 0.0)], 100)]
    [0.9, 0.9, 0.9]
    """
    if len(curve) < 2:
        return None
    (few, before, error_before), (many, now, error) = curve[-2], curve[-1]
    doublings = np.log2((many + more) / many)
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


def _solve(x: Floats, y: Floats, strength: float) -> tuple[Floats, Floats]:
    """Solve ridge regression: in features or in samples, whichever are fewer."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x0, y0 = (x - mean_x).astype(np.float64), y - mean_y
    penalty = strength * float((x0**2).sum()) / x0.shape[1] / 10
    penalty = max(penalty, 1e-6)
    if len(x0) < x0.shape[1]:
        kernel = x0 @ x0.T
        kernel[np.diag_indices_from(kernel)] += penalty
        weight = x0.T @ np.linalg.solve(kernel, y0)
    else:
        gram = x0.T @ x0
        gram[np.diag_indices_from(gram)] += penalty
        weight = np.linalg.solve(gram, x0.T @ y0)
    return weight.astype(np.float32), (mean_y - mean_x @ weight).astype(np.float32)


def _unseen(x: Floats, y: Floats, fold: NDArray[np.integer], strength: float) -> Floats:
    scores = np.empty_like(y)
    for number in range(_FOLDS):
        held = fold == number
        weight, bias = _solve(x[~held], y[~held], strength)
        scores[held] = x[held] @ weight + bias
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
) -> tuple[tuple[int, float, float], ...]:
    """Measure the share right with parts of the labels, on folds that were not seen."""
    rng = np.random.default_rng(0)
    curve = []
    for size in _SIZES:
        right = []
        for number in range(_FOLDS):
            held = fold == number
            seen = rng.permutation(np.flatnonzero(~held))[: max(2, int(size * (~held).sum()))]
            weight, bias = _solve(x[seen], y[seen], strength)
            guess = (x[held] @ weight + bias).argmax(axis=1)
            right.append(float((guess == labels[held]).mean()))
        error = float(np.std(right, ddof=1)) / _FOLDS**0.5
        curve.append((int(size * len(labels)), float(np.mean(right)), error))
    return tuple(curve)
