"""Estimate accuracy without labels, from what a model says about samples it has not learnt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FEW = 1e-7
_TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(8.0), 61))


def sureness(probability: Floats) -> Floats:
    """Say how sure a model is of each sample: negative entropy, at most 0.

    Args:
        probability: (n, classes) that add up to 1.
    """
    p = np.clip(probability, _FEW, 1.0)
    return np.asarray((p * np.log(p)).sum(axis=1))


def tempered(probability: Floats, temperature: float) -> Floats:
    """Make probabilities less sure (above 1) or surer (below 1), the classes' order kept."""
    logs = np.log(np.clip(probability, _FEW, 1.0)) / temperature
    logs -= logs.max(axis=1, keepdims=True)
    raised = np.exp(logs)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def best_temperature(probability: Floats, truth: NDArray[np.integer]) -> float:
    """Find the temperature under which a model is as sure as it is right (Guo et al., 2017).

    Args:
        probability: (n, classes) for samples that the model has not learnt.
        truth: (n,) their classes.
    """
    rows = np.arange(len(truth))
    losses = [
        -float(np.log(np.clip(tempered(probability, t)[rows, truth], _FEW, 1.0)).mean())
        for t in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


@dataclass(frozen=True)
class Expectation:
    """What a model's words have meant on samples with labels.

    Attributes:
        temperature: Makes its probabilities honest.
        threshold: Sureness above which as many labelled samples lie as are right.
        accuracy: Share that was right.
        samples: How many samples that rests on.
    """

    temperature: float
    threshold: float
    accuracy: float
    samples: int

    @staticmethod
    def learn(probability: Floats, truth: NDArray[np.integer]) -> Expectation:
        """Learn it from samples that the model has not seen in training.

        Args:
            probability: (n, classes).
            truth: (n,) classes.
        """
        right = probability.argmax(axis=1) == truth
        accuracy = float(right.mean())
        threshold = float(np.quantile(sureness(probability), 1 - accuracy))
        return Expectation(best_temperature(probability, truth), threshold, accuracy, len(truth))

    def above(self, probability: Floats) -> Floats:
        """Tell which samples lie above the threshold, 1 or 0.

        Their mean is the average-thresholded confidence of Garg et al. (2022, Leveraging
        unlabeled data to predict out-of-distribution performance, equations 1 and 2).
        """
        return np.asarray(sureness(probability) >= self.threshold, np.float64)

    def believed(self, probability: Floats) -> Floats:
        """Give the honest probability of each sample's best class; their mean is a second word."""
        return np.asarray(tempered(probability, self.temperature).max(axis=1))


@dataclass(frozen=True)
class Estimate:
    """An accuracy that nobody has measured, with the range that holds the true one.

    Attributes:
        value: The estimate, 0 to 1.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """How accuracy follows from what a model says when pictures get worse in known ways.

    Pictures with labels are spoilt (darker, blurred, stained, shifted), so that the model's
    words and the truth are both known at many levels; a line through them corrects what
    confidence alone gets wrong (Deng and Zheng, 2021, Are labels always necessary?).

    Attributes:
        weights: (k,) of the words.
        offset: Accuracy where all words are 0.
        spread: Deviation of the accuracies from the line.
        degrees: Degrees of freedom behind the spread.
    """

    weights: Floats
    offset: float
    spread: float
    degrees: int

    @staticmethod
    def fit(words: Floats, accuracy: Floats, *, usual: Floats, penalty: float = 0.02) -> Line:
        """Fit a line with a ridge that draws it to weights that are good without any fitting.

        Args:
            words: (m, k) what the model says of each spoilt set, each an accuracy itself.
            accuracy: (m,) what is true of it.
            usual: (k,) the weights without fitting.
            penalty: Strength of the ridge, in squared accuracy.
        """
        k = words.shape[1]
        centre, middle = words.mean(axis=0), float(accuracy.mean())
        x = words - centre
        y = accuracy - middle - x @ usual
        weights = usual + np.linalg.solve(x.T @ x + penalty * np.eye(k), x.T @ y)
        offset = middle - float(centre @ weights)
        degrees = max(1, len(accuracy) - k - 1)
        error = accuracy - words @ weights - offset
        return Line(weights, offset, float(np.sqrt((error**2).sum() / degrees)), degrees)


_LEAST_ALIKE, _DOUBT = 0.05, 5.0


def likeness(judged: Iterable[tuple[Floats, NDArray[np.integer]]]) -> float:
    """Tell how alike samples of one cell are in being judged right, 0.05 to 1.

    The correlation of two samples of one cell (Fleiss, Levin and Paik, 2003, section 15.2), of
    several sets together. With few mistakes nobody knows, and samples of a cell count as one.

    Args:
        judged: For each set, (n,) how right each sample was and (n,) its cell: an hour of a
            region.

    >>> likeness([(np.array([1.0, 1.0, 0.0, 0.0] * 50), np.arange(200) // 2)])
    1.0
    """
    together = spread = 0.0
    for right, cells in judged:
        away = right - right.mean()
        _, place, counts = np.unique(cells, return_inverse=True, return_counts=True)
        sums = np.bincount(place, away, minlength=len(counts))
        together += float((sums**2).sum() - (away**2).sum())
        spread += float((away**2).mean() * (counts * (counts - 1.0)).sum())
    alike = (together + _DOUBT) / (spread + _DOUBT)
    return float(min(1.0, max(_LEAST_ALIKE, alike)))
