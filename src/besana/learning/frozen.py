"""The network that a training's settings name, and the vectors of its frozen body."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from besana.learning.embeddings import Embeddings, backbone_key, embed
from besana.learning.feature_file import FeatureFile, gather
from besana.learning.settings import TrainSettings
from besana.models.network import Backbone, Built, build, linear_head
from besana.shards.datasets import Dataset
from besana.storage import Storage

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions

_CPU_BATCH = 16
_GPU_BATCH = 128


def backbone_of(settings: TrainSettings) -> Backbone:
    """Name the network that the settings ask for."""
    return Backbone(
        name=settings.backbone_name,
        weights=settings.weights_origin,
        options=settings.backbone_options,
        size_px=settings.input_px,
        mean=settings.input_mean,
        std=settings.input_std,
    )


def build_for(settings: TrainSettings, dataset: Dataset) -> Built:
    """Build that network for a dataset's classes and bands.

    Raises:
        ConfigError: If the backbone or its weights do not fit.
        NotFoundError: If weights are not there and cannot be fetched.
    """
    return build(
        backbone_of(settings),
        classes=len(dataset.classes),
        channels=dataset.channels,
        seed=settings.seed,
    )


def frozen_features(
    settings: TrainSettings,
    built: Built,
    manifest: Manifest,
    positions: Positions,
    *,
    shards: Storage,
    embeddings: Storage,
    path: Path,
    device: str,
    advance: Callable[[int], None] = lambda _count: None,
) -> tuple[FeatureFile, list[str]]:
    """Give the vectors of some samples; those that are not there yet are computed and kept.

    Args:
        settings: Of the training.
        built: From `build_for`, not trained yet.
        manifest: What lies where.
        positions: The samples, as positions in the manifest.
        shards: Where the shards lie.
        embeddings: Where vectors lie, by backbone.
        path: File for these samples' vectors; the caller removes it.
        device: Where to compute.
        advance: Called with the number of samples that are done.

    Returns:
        The vectors, and a sentence for each record that could not be used.
    """
    stored, notes = frozen_vectors(
        settings,
        built,
        manifest,
        positions,
        shards=shards,
        embeddings=embeddings,
        device=device,
        advance=advance,
    )
    return gather(stored, manifest, positions, path), notes


def frozen_vectors(
    settings: TrainSettings,
    built: Built,
    manifest: Manifest,
    positions: Positions,
    *,
    shards: Storage,
    embeddings: Storage,
    device: str,
    advance: Callable[[int], None] = lambda _count: None,
) -> tuple[Embeddings, list[str]]:
    """Make sure that samples have vectors in the store; as `frozen_features`, without a file."""
    place = embeddings.below(backbone_key(backbone_of(settings), built, settings.seed))
    stored = Embeddings(place, linear_head(built.network).in_features)
    notes = embed(
        stored,
        built,
        manifest,
        positions,
        shards,
        device=device,
        batch_size=_CPU_BATCH if device == "cpu" else _GPU_BATCH,
        advance=advance,
    )
    return stored, notes
