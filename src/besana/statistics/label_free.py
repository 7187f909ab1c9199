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
    confidence alone gets wrong (Deng and Zheng, 2021, Are labels always necessary?). What the
    line misses is alike for sets that look alike, so the misses of the sets nearby are added
    (kriging: Rasmussen and Williams, 2006, Gaussian processes, equation 2.25). Both are 0 for
    pictures that nobody spoilt.

    Attributes:
        weights: (k,) of the words.
        places: (m, p) where each spoilt set lies.
        pulls: (m,) how much the line's miss there pulls at what is near.
        spread: Deviation of the accuracies from what the other sets say of them.
        degrees: Degrees of freedom behind the spread.
    """

    weights: Floats
    places: Floats
    pulls: Floats
    spread: float
    degrees: int

    @staticmethod
    def fit(
        words: Floats,
        accuracy: Floats,
        places: Floats,
        *,
        usual: Floats,
        penalty: float = 0.02,
    ) -> Line:
        """Fit a line with a ridge that draws it to weights that are good without any fitting.

        Args:
            words: (m, k) what the model says of each set, each an accuracy itself.
            accuracy: (m,) what is true of it.
            places: (m, p) where it lies, in deviations of single samples.
            usual: (k,) the weights without fitting.
            penalty: Strength of the ridge, in squared accuracy.

        The first set is not spoilt; what counts is how far the others are from it.
        """
        count, k = words.shape
        centred, middle = words - words.mean(axis=0), accuracy.mean()
        ridge = centred.T @ centred + penalty * np.eye(k)
        weights = usual + np.linalg.solve(ridge, centred.T @ (accuracy - middle - centred @ usual))
        missed = accuracy - accuracy[0] - (words - words[0]) @ weights
        places = places - places[0]
        inverse = np.linalg.inv(_alike(places, places) + _BY_CHANCE**2 * np.eye(count))
        pulls = inverse @ missed
        degrees = max(1, count - k - 1)
        # What the others say of each set, without fitting anew (the same book, equation 5.12).
        left_out = pulls / np.diag(inverse)
        return Line(weights, places, pulls, float(np.sqrt((left_out**2).sum() / degrees)), degrees)

    def moved(self, words: Floats, place: Floats) -> float:
        """Tell by how much accuracy differs from that of pictures that nobody spoilt.

        Args:
            words: (k,) how far the words are from those about such pictures.
            place: (p,) where the pictures lie, such ones being at 0; NaN where nobody knows.
        """
        own = float(words @ self.weights)
        if np.isnan(place).any():
            return own
        return own + float(_alike(place[None], self.places)[0] @ self.pulls)


# How far a line may miss, up to what distance sets are alike, and how far a set is off by chance.
_MISS, _NEAR, _BY_CHANCE = 0.1, 3.0, 0.03


def _alike(one: Floats, other: Floats) -> Floats:
    """Say how alike the misses at two lists of places are, (n, m); none is missed at 0."""

    def at(squares: Floats) -> Floats:
        return np.asarray(np.exp(-squares / (2 * _NEAR**2)))

    apart = at(((one[:, None] - other[None]) ** 2).sum(axis=2))
    return _MISS**2 * (apart - np.outer(at((one**2).sum(axis=1)), at((other**2).sum(axis=1))))


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
