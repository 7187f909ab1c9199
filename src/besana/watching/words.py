"""What a model's words mean: learnt from held-out samples, so that accuracy can be estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.statistics.label_free import Expectation, Line

Floats = NDArray[np.float64]

#: The last columns of `Words.said`, behind one for each class.
CONFIDENCES = ("above", "believed")


@dataclass(frozen=True)
class Words:
    """Turn probabilities into what is watched: classes that hold, and two kinds of confidence.

    Attributes:
        classes: Names in the model's order.
        kind: `single` or `multi`.
        thresholds: Several classes: from which probability on each holds.
        expectation: What the probabilities meant on held-out samples.
    """

    classes: Sequence[str]
    kind: str
    thresholds: Mapping[str, float]
    expectation: Expectation

    @staticmethod
    def learn(
        classes: Sequence[str],
        kind: str,
        thresholds: Mapping[str, float],
        probability: Floats,
        truth: NDArray[np.bool_],
    ) -> Words:
        """Learn them.

        Args:
            classes: Names in the model's order.
            kind: `single` or `multi`.
            thresholds: Several classes: from which probability on each holds.
            probability: (n, classes) of samples that were held out from training.
            truth: (n, classes) which classes hold.
        """
        if kind == "single":
            expectation = Expectation.learn(probability, truth.argmax(axis=1))
        else:
            expectation = Expectation.learn(_binary(probability), truth.ravel().astype(np.int64))
        return Words(tuple(classes), kind, dict(thresholds), expectation)

    def said(self, probability: Floats) -> Floats:
        """Say it of some samples, (n, classes + 2).

        Args:
            probability: (n, classes).
        """
        pairs = probability if self.kind == "single" else _binary(probability)
        confidence = np.stack(
            [self.expectation.above(pairs), self.expectation.believed(pairs)], axis=1
        )
        if self.kind == "multi":
            confidence = confidence.reshape(len(probability), -1, 2).mean(axis=1)
        holds = self.holds(probability).astype(np.float64)
        return np.concatenate([holds, confidence], axis=1)

    def holds(self, probability: Floats) -> NDArray[np.bool_]:
        """Tell which classes the model says hold, (n, classes)."""
        if self.kind == "single":
            best = probability.argmax(axis=1)
            return np.asarray(best[:, None] == np.arange(probability.shape[1]))
        least = np.array([self.thresholds.get(name, 0.5) for name in self.classes])
        return np.asarray(probability >= least)

    def right(self, probability: Floats, truth: NDArray[np.bool_]) -> Floats:
        """Tell how right the model is on each sample: 0 or 1, or the share of right classes.

        Args:
            probability: (n, classes).
            truth: (n, classes) which classes hold.
        """
        return (
            np.asarray((self.holds(probability) == truth).all(axis=1), np.float64)
            if (self.kind == "single")
            else np.asarray((self.holds(probability) == truth).mean(axis=1))
        )

    def truth_of(self, classes_said: Sequence[tuple[str, ...] | None]) -> NDArray[np.bool_]:
        """Write what people say as (n, classes); nobody's word is a row of False."""
        number = {name: place for place, name in enumerate(self.classes)}
        truth = np.zeros((len(classes_said), len(self.classes)), np.bool_)
        for row, said in enumerate(classes_said):
            for name in said or ():
                if name in number:
                    truth[row, number[name]] = True
        return truth


def steadiness(away: Floats, *, kind: str) -> float:
    """Say how near the shares of classes are to the expected ones: 1 when they are.

    Animals do not behave the same every day, so small distances count for nothing.

    Args:
        away: (classes,) distances of the shares.
        kind: `single`, whose distances add up to 0, or `multi`.
    """
    far = float(np.abs(away).sum()) / 2 if kind == "single" else float(np.abs(away).mean())
    return 1.0 - max(0.0, far - _USUALLY_AWAY)


# Total variation between the shares of one day and of all days that behaviour alone explains.
_USUALLY_AWAY = 0.05


def taught_line(said: Floats, accuracy: Floats, places: Floats, *, kind: str) -> Line:
    """Fit a line through what was said of sets of spoilt pictures and what was true of them.

    Args:
        said: (sets, classes + 2) means of `Words.said`; the first set is not spoilt.
        accuracy: (sets,) how right the model was.
        places: (sets, p) what they look like, as `place_of` says.
        kind: `single` or `multi`.
    """
    classes = said.shape[1] - len(CONFIDENCES)
    steady = [steadiness(away, kind=kind) for away in said[:, :classes] - said[0, :classes]]
    words = np.column_stack([said[:, classes:], steady])
    return Line.fit(words, accuracy, places, usual=np.array(_USUAL))


def place_of(looks: Floats, moved: float) -> Floats:
    """Say where pictures lie beside those that a model was judged on, (p,).

    Args:
        looks: (p - 1,) how far their looks are, in deviations of single samples.
        moved: How far what they show has moved, as a share of their width.
    """
    return np.append(looks, moved / _MOVED)


# To move by this share of a region counts like one deviation of looks.
_MOVED = 0.1


# Without spoilt pictures: the mean of both confidences, whatever the shares of classes.
_USUAL = (0.5, 0.5, 0.0)


def expected_of_labels(
    said: Floats, truth: NDArray[np.bool_], labels: NDArray[np.bool_], *, kind: str
) -> Floats:
    """Tell what a model would say of samples with these labels had it not learnt them.

    A model is surer of what it has learnt, so its own words about its training samples would
    make every later day look worse. The confusion that held-out samples show stands in for them.

    Args:
        said: (n, classes + 2) `Words.said` of held-out samples.
        truth: (n, classes) their labels.
        labels: (m, classes) labels of training samples.
        kind: `single` or `multi`.

    Returns:
        (m, classes + 2); NaN for the confidences, which depend on more than the label.
    """
    classes = truth.shape[1]
    expected = np.full((len(labels), said.shape[1]), np.nan)
    shares = said[:, :classes]
    if kind == "single":
        weight = truth.astype(np.float64)
        # One sample of each class that was said right: a class that held-out samples lack.
        table = (weight.T @ shares + np.eye(classes)) / (weight.sum(axis=0)[:, None] + 1)
        expected[:, :classes] = labels.astype(np.float64) @ table
        return expected
    for j in range(classes):
        for value in (False, True):
            mine = truth[:, j] == value
            rate = (shares[mine, j].sum() + value) / (mine.sum() + 1)
            expected[labels[:, j] == value, j] = rate
    return expected


def _binary(probability: Floats) -> Floats:
    """Turn (n, classes) independent probabilities into (n * classes, 2) that add up to 1."""
    flat = probability.ravel()
    return np.stack([1 - flat, flat], axis=1)
