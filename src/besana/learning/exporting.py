"""Export registered versions: pictures from their dataset, files into their folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from besana.errors import NotReadyError
from besana.learning.parity import Origin, export_model
from besana.models.golden import Pixels
from besana.models.model import Card, load_model
from besana.models.onnx_model import CERTIFICATE, Certificate, Precision, read_certificate
from besana.registry import EXPORT_FOLDER, EXPORT_TAG
from besana.shards.datasets import open_dataset
from besana.shards.loader import Loader
from besana.storage import Storage
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.registry import Registry, Version
    from besana.shards.datasets import Dataset


_GOLDEN, _CALIBRATION = 48, 128


def export_folder(workspace: Workspace, version: Version) -> Storage:
    """Give the place where a version's export lies."""
    return workspace.models.below(f"{version.model}/{version.number}/{EXPORT_FOLDER}")


def export_version(
    workspace: Workspace,
    registry: Registry,
    version: Version,
    precisions: Sequence[Precision] = ("fp32", "fp16", "int8"),
) -> Certificate:
    """Export a registered version once, and register its certificate's hash.

    Args:
        workspace: Where models, datasets and shards are.
        registry: Where the version stands.
        version: Which one.
        precisions: Which files.

    Raises:
        NotReadyError: If its dataset is gone.
        CorruptDataError: If the model is not the one that was registered.
    """
    place = export_folder(workspace, version)
    if place.size(CERTIFICATE) is not None:
        certificate = read_certificate(place)
        registered = version.tags.get(EXPORT_TAG) == _hash(place)
        if registered and set(precisions) <= set(certificate.exports):
            return certificate
    model = load_model(workspace.models.below(f"{version.model}/{version.number}"), device="cpu")
    dataset = _dataset(workspace, model.card)
    certificate = export_model(
        model,
        place,
        Origin(version.model, version.number, version.run),
        pictures=golden_pictures(workspace, dataset, min(dataset.size_px)),
        calibration=calibration_pictures(workspace, dataset, model.card.preprocessing.size_px),
        precisions=precisions,
    )
    registry.tag(version, EXPORT_TAG, _hash(place))
    return certificate


def golden_pictures(workspace: Workspace, dataset: Dataset, size_px: int) -> list[Pixels]:
    """Choose pictures of a dataset, as many of each class as there are, spread over its order."""
    manifest = dataset.manifest()
    labels = manifest.labels
    first = manifest.label if labels is None else labels.argmax(axis=1)
    chosen: list[int] = []
    for name in range(len(dataset.classes)):
        positions = np.flatnonzero(np.asarray(first) == name)
        chosen += _spread(positions, _GOLDEN // len(dataset.classes) or 1)
    return list(_pictures(workspace, dataset, sorted(chosen), size_px))


def calibration_pictures(workspace: Workspace, dataset: Dataset, size_px: int) -> NDArray[np.uint8]:
    """Choose pictures of a dataset's training split, spread over its order."""
    positions = dataset.manifest().select("train")
    return _pictures(workspace, dataset, _spread(positions, _CALIBRATION), size_px)


def _spread(positions: NDArray[np.integer], count: int) -> list[int]:
    if not len(positions):
        return []
    places = np.linspace(0, len(positions) - 1, min(count, len(positions))).round().astype(int)
    return [int(position) for position in positions[np.unique(places)]]


def _pictures(
    workspace: Workspace, dataset: Dataset, positions: Sequence[int], size_px: int
) -> NDArray[np.uint8]:
    if not positions:
        raise NotReadyError(f"Dataset {dataset.place} has no samples.", "Run: besana split")
    with Loader(
        dataset.manifest(),
        None,
        min(16, len(positions)),
        size_px,
        workspace.shards,
        positions=np.asarray(sorted(positions)),
        shuffle="none",
        on_error="substitute",
        max_dropped_share=1.0,
    ) as loader:
        return np.concatenate([batch.images[batch.valid].copy() for batch in loader])


def _dataset(workspace: Workspace, card: Card) -> Dataset:
    dataset = open_dataset(workspace, card.dataset["name"], card.dataset["version"])
    if dataset.hash != card.dataset["hash"]:
        raise NotReadyError(
            f"Dataset {dataset.place} is not the one that the model was trained on.",
            "Restore it, or register a model of this one.",
        )
    return dataset


def _hash(place: Storage) -> str:
    return hashlib.sha256(place.read(CERTIFICATE)).hexdigest()
