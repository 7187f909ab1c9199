"""What samples look like to a model: its features, written once, along principal directions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.learning.embeddings import Embeddings, backbone_key, embed, sample_keys
from besana.learning.sample_pages import manifest_of
from besana.models.network import Backbone, Built, linear_head
from besana.models.weights import Weights
from besana.statistics.drift import Projection

if TYPE_CHECKING:
    from besana.learning.vector_blocks import Vectors
    from besana.models.model import Model
    from besana.shards.manifest import Manifest, Positions
    from besana.storage import Storage
    from besana.workspace import Workspace

Floats = NDArray[np.float64]


class Looks:
    """Embed samples with a model's own body.

    A probe's body is the pretrained backbone, so its vectors are those of `besana embed`.

    Args:
        workspace: Where embeddings and shards lie.
        model: The registered model.
        batch_size: Samples at a time.
    """

    def __init__(self, workspace: Workspace, model: Model, batch_size: int) -> None:
        card = model.card
        is_probe = card.lineage.get("strategy") == "probe"
        origin = card.lineage.get("weights_sha256", "") if is_probe else card.weights_sha256
        self._built = Built(
            model.network, card.preprocessing, Weights(card.backbone, origin or card.weights_sha256)
        )
        backbone = Backbone(card.backbone, "", card.backbone_options)
        storage = workspace.embeddings.below(backbone_key(backbone, self._built))
        self._embeddings = Embeddings(storage, linear_head(model.network).in_features)
        self._known = self._embeddings.known()
        self._shards: Storage = workspace.shards
        self._temporary: Path = workspace.temporary
        self._device, self._batch_size = str(model.device), batch_size

    def of_manifest(self, manifest: Manifest, positions: Positions) -> Vectors:
        """Give the vectors of some samples of a manifest, (n, features); NaN without."""
        self._embed(manifest, positions)
        return self._embeddings.vectors(_keys(manifest, positions))

    def of_places(self, places: Sequence[dict[str, Any]]) -> Vectors:
        """Give the vectors of some rows with the keys of `PLACE`."""
        if not places:
            return np.empty((0, self._embeddings.features), np.float16)
        with manifest_of(places, self._temporary) as manifest:
            return self.of_manifest(manifest, np.arange(len(places)))

    def _embed(self, manifest: Manifest, positions: Positions) -> None:
        before = len(self._embeddings)
        embed(
            self._embeddings,
            self._built,
            manifest,
            positions,
            self._shards,
            device=self._device,
            batch_size=self._batch_size,
            known=self._known,
        )
        if len(self._embeddings) != before:
            self._known = np.union1d(self._known, _keys(manifest, positions))


def _keys(manifest: Manifest, positions: Positions) -> NDArray[np.uint64]:
    return sample_keys(manifest.identities(positions), manifest.crc32c[positions])


def fit_projection(vectors: Vectors, truth: NDArray[np.bool_]) -> Projection:
    """Fit the directions on vectors of the reference, (n, features), and their labels."""
    told = ~np.isnan(vectors).any(axis=1)
    return Projection(vectors[told].astype(np.float64), truth[told])


def placed(projection: Projection, vectors: Vectors) -> Floats:
    """Place vectors along the directions, (n, components); NaN where there is no vector."""
    found = np.full((len(vectors), projection.components), np.nan)
    told = ~np.isnan(vectors).any(axis=1)
    if told.any():
        found[told] = projection(vectors[told].astype(np.float64))
    return found
