"""What a random split would have promised: a probe tested on near-copies of what it learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.learning.frozen import build_for, frozen_features
from besana.learning.judging import targets_of
from besana.learning.logistic import choose_penalty
from besana.learning.losses import class_weights
from besana.learning.probe import PENALTIES
from besana.learning.settings import TrainSettings
from besana.models.model import device_name
from besana.shards.datasets import Dataset
from besana.statistics.hashing import mix
from besana.statistics.splits import assign
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions


@dataclass(frozen=True)
class Promise:
    """How a probe judges every sample when it has learnt from the other folds.

    Attributes:
        positions: (n,) the samples, as positions in the manifest.
        random: (n, classes) probabilities when the folds are dealt at random.
        grouped: (n, classes) the same when no group is in two folds; None with one group only.
    """

    positions: Positions
    random: NDArray[np.float32]
    grouped: NDArray[np.float32] | None


def promise(
    workspace: Workspace,
    settings: TrainSettings,
    dataset: Dataset,
    manifest: Manifest,
    *,
    penalty: float | None = None,
    folds: int = 5,
    most: int = 10_000,
    advance: Callable[[int], None] = lambda _count: None,
) -> Promise | None:
    """Cross-validate a probe on all samples of a dataset, test split included, in two ways.

    The frozen backbone is the one that the run started from, and its embeddings are kept, so
    this costs a few fits of a linear classifier.

    Args:
        workspace: Where shards and embeddings lie.
        settings: Those of the run.
        dataset: What was learnt.
        manifest: Its index.
        penalty: The regularisation; None to choose it.
        folds: How many folds.
        most: Samples at most, whole groups of them: this bounds the memory.
        advance: Called with the number of samples that are embedded.

    Returns:
        None when the run started from random weights, of which there is no probe.
    """
    if settings.weights_origin == "random":
        return None
    group: NDArray[Any] = np.asarray(manifest.column("group"))
    positions = _whole_groups(group, most, settings.seed)
    path = workspace.temporary / f"promise-{dataset.name}-{dataset.version}.f16"
    try:
        file, _ = frozen_features(
            settings,
            build_for(settings, dataset),
            manifest,
            positions,
            shards=workspace.shards,
            embeddings=workspace.embeddings,
            path=path,
            device=device_name(settings.device),
            advance=advance,
        )
        found = file.found
        features = file.rows(np.flatnonzero(found))
    finally:
        path.unlink(missing_ok=True)
    positions = positions[found]
    targets = targets_of(manifest, positions, len(dataset.classes))
    weights = class_weights(targets, settings.class_balance)
    penalties = [penalty] if penalty else settings.penalties or PENALTIES

    def judged(fold: NDArray[np.integer]) -> NDArray[np.float32]:
        return choose_penalty(
            features, targets, fold, penalties, kind=dataset.kind, weights=weights
        ).probability

    dealt = np.random.default_rng(settings.seed).permutation(len(positions)) % folds
    _, number = np.unique(group[positions], return_inverse=True)
    groups = int(number.max()) + 1
    grouped = None
    if groups > 1:
        keys = mix(np.arange(groups, dtype=np.uint64), settings.seed)
        shares = [1.0] * min(folds, groups)
        part = assign(number, targets.argmax(axis=1), shares, keys=keys, seed=settings.seed)
        grouped = judged(part[number])
    return Promise(positions, judged(dealt), grouped)


def _whole_groups(group: NDArray[Any], most: int, seed: int) -> Positions:
    """Choose samples of whole groups, so that what leaks in the dataset leaks here too."""
    if len(group) <= most:
        return np.arange(len(group))
    order = mix(group.astype(np.uint64), seed)
    last = np.partition(order, most)[most]
    chosen = np.flatnonzero(order < last)
    return chosen if len(chosen) else np.flatnonzero(order == last)[:most]
