"""The probe: a linear classifier on a frozen backbone, its regularisation cross-validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from besana.errors import NotReadyError
from besana.learning.logistic import Floats, Linear, choose_penalty
from besana.learning.losses import Balance, Scores, class_weights, score
from besana.models.network import linear_head
from besana.statistics.hashing import mix
from besana.statistics.splits import assign

#: Strengths of the regularisation that are tried: the range in which standardised features of
#: ten to a hundred thousand samples have their best one.
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)

#: Samples of the cross-validation at most: they have to fit in memory.
MOST_VALIDATED = 5_000

_UNTESTED_PENALTY = 0.1
_UNFITTED = Linear(np.empty((0, 0), np.float32), np.empty(0, np.float32), "")


class Features(Protocol):
    """Vectors of samples, wherever they lie."""

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,) whether a sample has a vector."""

    def rows(self, chosen: NDArray[np.integer]) -> Floats:
        """Read some vectors, those of `some_groups`, into memory."""

    def fit(self, targets: Floats, *, kind: str, penalty: float, weights: Floats) -> Linear:
        """Fit a classifier to all vectors."""


@dataclass(frozen=True)
class Samples:
    """What a probe learns from.

    Attributes:
        features: The vectors.
        targets: (n, classes) 0 or 1.
        group: (n,) samples of one group stay in one fold.
        fold: (n,) the dataset's folds, -1 for none.
        kind: `single` or `multi`.
    """

    features: Features
    targets: NDArray[np.float32]
    group: NDArray[np.integer]
    fold: NDArray[np.integer]
    kind: str


@dataclass(frozen=True)
class Probe:
    """A fitted probe, and how good it is on samples that it did not see.

    Attributes:
        linear: The classifier.
        penalty: Strength of its regularisation.
        losses: Penalty to cross-validated log loss; empty with fewer than two groups.
        grouped: Scores by cross-validation in which no group crosses; None without.
        random: The same with samples dealt at random: what a leaking split would promise.
        unseen: Cross-validated probabilities and the truth, (n, classes) each; None without.
        notes: Sentences about what was left out.
    """

    linear: Linear
    penalty: float
    losses: dict[float, float]
    grouped: Scores | None
    random: Scores | None
    unseen: tuple[Floats, Floats] | None
    notes: list[str]


def fit_probe(
    samples: Samples,
    *,
    balance: Balance = "inverse_sqrt",
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
    most_validated: int = MOST_VALIDATED,
    seed: int = 0,
) -> Probe:
    """Fit a probe.

    The regularisation is chosen by cross-validation over groups, on at most `most_validated`
    samples; then one fit walks over all samples from disk.

    Args:
        samples: What to learn from.
        balance: How rare classes are weighed.
        penalties: What to try.
        folds: Folds of the cross-validation where the dataset has none.
        most_validated: Bounds memory and time of the cross-validation.
        seed: Another seed, other folds.

    Raises:
        NotReadyError: If there is no sample to learn from.
    """
    found = samples.features.found
    if not found.any():
        raise NotReadyError("The dataset has no training sample.", "Run: besana split")
    weights = class_weights(samples.targets[found], balance)
    chosen = _choose(samples, weights, penalties, folds, most_validated, seed)
    linear = samples.features.fit(
        samples.targets, kind=samples.kind, penalty=chosen.penalty, weights=weights
    )
    return replace(chosen, linear=linear)


def _choose(
    samples: Samples,
    weights: NDArray[np.float32],
    penalties: Sequence[float],
    folds: int,
    most: int,
    seed: int,
) -> Probe:
    """Choose the regularisation; the classifier itself is still to be fitted."""
    rows = some_groups(samples.features.found, samples.group, most, seed)
    groups = len(np.unique(samples.group[rows]))
    if groups < 2:
        note = "All samples are of one group, so the regularisation was not cross-validated."
        return Probe(_UNFITTED, _UNTESTED_PENALTY, {}, None, None, None, [note])
    fold = _folds(samples, rows, min(folds, groups), seed)
    features, targets = samples.features.rows(rows), samples.targets[rows]
    kind = samples.kind
    chosen = choose_penalty(features, targets, fold, penalties, kind=kind, weights=weights)
    # Fitted with the same regularisation, so that nothing but the leak differs.
    dealt = np.random.default_rng(seed).permutation(len(rows)) % (int(fold.max()) + 1)
    leaking = choose_penalty(features, targets, dealt, [chosen.penalty], kind=kind, weights=weights)
    notes = []
    if len(rows) < int(samples.features.found.sum()):
        notes.append(f"The regularisation was cross-validated on {len(rows):,} samples.")
    return Probe(
        _UNFITTED,
        chosen.penalty,
        chosen.losses,
        score(chosen.probability, targets, kind=kind),
        score(leaking.probability, targets, kind=kind),
        (chosen.probability, targets),
        notes,
    )


def some_groups(
    found: NDArray[np.bool_], group: NDArray[np.integer], most: int, seed: int
) -> NDArray[np.int64]:
    """Choose rows of whole groups, at random by hash, until there are `most`; in rising order."""
    rows = np.flatnonzero(found)
    if len(rows) <= most:
        return rows
    order = mix(group[rows].astype(np.uint64), seed)
    by_group = np.argsort(order, kind="stable")
    last = order[by_group[most - 1]]
    return rows[order < last] if (order < last).any() else rows[by_group[:most]]


def _folds(samples: Samples, rows: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.integer]:
    """Take the dataset's folds when all rows have one, else deal the groups out, by class."""
    own = samples.fold[rows]
    if (own >= 0).all() and len(np.unique(own)) > 1:
        return own
    _, group = np.unique(samples.group[rows], return_inverse=True)
    label = samples.targets[rows].argmax(axis=1)
    keys = mix(np.arange(int(group.max()) + 1, dtype=np.uint64), seed)
    part = assign(group, label, [1.0] * folds, keys=keys, seed=seed)
    return np.asarray(part[group])


def put_into(network: nn.Module, linear: Linear) -> None:
    """Make a probe's classifier the network's own."""
    head = linear_head(network)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(linear.weight))
        head.bias.copy_(torch.from_numpy(linear.bias))
