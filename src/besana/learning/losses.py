"""Losses, class balance, and what a validation is scored by."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Balance = Literal["none", "inverse_sqrt", "inverse"]

_POWERS: dict[str, float] = {"none": 0.0, "inverse_sqrt": 0.5, "inverse": 1.0}
_LEAST = 1e-7


def class_weights(targets: NDArray[np.floating], balance: Balance) -> NDArray[np.float32]:
    """Weigh rare classes more; the weights of all samples average 1.

    Args:
        targets: (n, classes) 0 or 1: one 1 a row, or any number of them (multi-label).
        balance: `inverse`: every class counts the same; `inverse_sqrt`: halfway there, which
            does not blow up the noise of a class of a few samples; `none`.

    Returns:
        (classes,).

    >>> class_weights(np.array([[1, 0], [1, 0], [1, 0], [0, 1]]), "inverse").tolist()
    [0.6666666865348816, 2.0]
    """
    counts = targets.sum(axis=0).astype(np.float64)
    weights = np.maximum(counts, 1) ** -_POWERS[balance]
    scale = counts.sum() / max(float((weights * counts).sum()), _LEAST)
    return np.asarray(weights * scale, np.float32)


def loss(
    scores: torch.Tensor,
    targets: torch.Tensor,
    *,
    kind: str,
    weights: torch.Tensor,
    smoothing: float,
) -> torch.Tensor:
    """Compute the mean loss of a batch.

    Single: cross-entropy with smoothed labels (Szegedy et al., 2016, section 7). Multi: binary
    cross-entropy of each class, those that hold weighed by class.

    Args:
        scores: (n, classes) before softmax or sigmoid.
        targets: (n, classes) 0 to 1.
        kind: `single` or `multi`.
        weights: (classes,) from `class_weights`.
        smoothing: Share of the label that is spread, 0 to below 1.
    """
    classes = scores.shape[1]
    if kind == "single":
        smoothed = targets * (1 - smoothing) + smoothing / classes
        each = -(smoothed * functional.log_softmax(scores, dim=1)).sum(dim=1)
        return (each * (targets @ weights)).mean()
    smoothed = targets * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(scores, smoothed, pos_weight=weights)


class Scores(NamedTuple):
    """How good probabilities are.

    Attributes:
        loss: Mean log loss, nats.
        accuracy: Share of right answers; multi-label: of right yes-or-no answers.
        balanced_accuracy: Mean recall of the classes that occur; multi-label: mean over classes
            of the mean recall of yes and no.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float


def score(probability: NDArray[np.floating], targets: NDArray[np.floating], *, kind: str) -> Scores:
    """Score probabilities against the truth.

    Args:
        probability: (n, classes), n above 0.
        targets: (n, classes) 0 or 1.
        kind: `single` or `multi`.
    """
    p = np.clip(probability.astype(np.float64), _LEAST, 1 - _LEAST)
    truth = targets.astype(bool)
    if kind == "single":
        right = probability.argmax(axis=1) == truth.argmax(axis=1)
        recalls = [float(right[own].mean()) for own in truth.T if own.any()]
        return Scores(float(-np.log(p[truth]).mean()), float(right.mean()), float(np.mean(recalls)))
    right = (probability >= 0.5) == truth
    each = -np.where(truth, np.log(p), np.log1p(-p))
    recalls = [
        float(ok[own].mean())
        for ok, holds in zip(right.T, truth.T, strict=True)
        for own in (holds, ~holds)
        if own.any()
    ]
    return Scores(float(each.mean()), float(right.mean()), float(np.mean(recalls)))


def one_hot(labels: NDArray[np.integer], classes: int) -> NDArray[np.float32]:
    """Spread class numbers, (n,), into targets, (n, classes)."""
    return np.asarray(labels[:, None] == np.arange(classes), np.float32)
