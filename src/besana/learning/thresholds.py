"""From which probability on a class holds, when several may."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LEAST, _MOST = 0.05, 0.95


def best_thresholds(
    probability: NDArray[np.floating], truth: NDArray[np.floating], classes: Sequence[str]
) -> dict[str, float]:
    """Choose for each class the threshold with the highest F1.

    Between two probabilities of equally good thresholds the middle is taken. A class that never
    holds, or always, keeps 0.5: nothing can be learnt from it.

    Args:
        probability: (n, classes) of samples that the model was not fitted on.
        truth: (n, classes) 0 or 1.
        classes: Names of the classes.

    >>> best_thresholds(np.array([[0.2], [0.3], [0.5]]), np.array([[0], [1], [1]]), ["weed"])
    {'weed': 0.25}
    """
    return {
        name: _best(probability[:, column].astype(np.float64), truth[:, column] > 0)
        for column, name in enumerate(classes)
    }


def _best(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    if truth.all() or not truth.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    falling, hits = probability[order], np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    # Equal probabilities cannot be told apart by any threshold.
    cuts = np.flatnonzero(np.diff(falling, append=-1.0) != 0)
    cut = cuts[int(np.argmax(f1[cuts]))]
    below = falling[cut + 1] if cut + 1 < len(falling) else 0.0
    return round(float(np.clip((falling[cut] + below) / 2, _LEAST, _MOST)), 4)
