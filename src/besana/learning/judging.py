"""Judge samples of a dataset with a network: one way for validation, folds and the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from besana.learning.losses import one_hot
from besana.models.model import probabilities
from besana.models.preprocessing import Preprocessing
from besana.shards.loader import Loader
from besana.storage import Storage

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions


def judge(
    network: nn.Module,
    preprocessing: Preprocessing,
    kind: str,
    manifest: Manifest,
    positions: Positions,
    shards: Storage,
    *,
    batch_size: int = 32,
    advance: Callable[[int], None] = lambda _count: None,
) -> NDArray[np.float32]:
    """Classify samples of a manifest; each exactly once.

    Args:
        network: In any mode; it is left in evaluation mode.
        preprocessing: What happens to its pictures.
        kind: `single` or `multi`.
        manifest: Where samples lie.
        positions: Which ones, in rising order.
        shards: Where the shards lie.
        batch_size: Samples at a time.
        advance: Called with the number of samples done.

    Returns:
        (n, classes) probabilities; NaN where a record could not be used.
    """
    network.eval()
    device = next(network.parameters()).device
    found: NDArray[np.float32] | None = None
    with (
        torch.inference_mode(),
        Loader(
            manifest,
            None,
            max(1, min(batch_size, len(positions))),
            preprocessing.size_px,
            shards,
            positions=positions,
            shuffle="none",
            on_error="substitute",
            max_dropped_share=1.0,  # the caller counts what is missing
        ) as loader,
    ):
        for batch in loader:
            images = torch.from_numpy(batch.images).to(device)
            scores = network(preprocessing.normalise(images)).float()
            probability = probabilities(scores, kind).cpu().numpy()
            if found is None:
                found = np.full((len(positions), probability.shape[1]), np.nan, np.float32)
            rows = np.searchsorted(positions, batch.index[batch.valid])
            found[rows] = probability[batch.valid]
            advance(int((batch.index >= 0).sum()))
    return np.empty((0, 0), np.float32) if found is None else found


def targets_of(manifest: Manifest, positions: Positions, classes: int) -> NDArray[np.float32]:
    """Give the truth of some samples, (n, classes) 0 or 1."""
    if manifest.labels is not None:
        return manifest.labels[positions].astype(np.float32)
    labels: NDArray[Any] = manifest.label[positions]
    return one_hot(labels.astype(np.int64), classes)
