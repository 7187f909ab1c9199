"""A model: a network with everything it needs to judge a picture, in one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from besana.config import Settings, parse
from besana.errors import ConfigError, CorruptDataError
from besana.models.network import create, features, linear_head
from besana.models.preprocessing import Preprocessing
from besana.storage import Storage, open_storage

CARD, WEIGHTS = "model.json", "weights.safetensors"
_FORMAT = 1


class Card(Settings):
    """Say what a model is and where it comes from: `model.json`."""

    format: Literal[1] = Field(default=1, description="Version of this file's layout.")
    backbone: str = Field(description="Name of the network, `timm/<name>`.")
    backbone_options: dict[str, Any] = Field(default={}, description="Its further arguments.")
    preprocessing: Preprocessing = Field(description="What happens to a picture first.")
    classes: list[str] = Field(min_length=1, description="Class names in output order.")
    kind: Literal["single", "multi"] = Field(
        default="single", description="One class a sample, or any number of them."
    )
    thresholds: dict[str, float] = Field(
        default={}, description="Multi-label: probability from which a class holds; else 0.5."
    )
    dataset: dict[str, Any] = Field(default={}, description="Name, version and hash.")
    recipe: str = Field(default="", description="Hash of what prepare did to the samples.")
    lineage: dict[str, Any] = Field(
        default={}, description="Run, strategy, origin of the weights, libraries."
    )
    weights_sha256: str = Field(default="", description="Hash of weights.safetensors.")


class Model:
    """Judge pictures.

    Attributes:
        card: What the model is.
        network: The network, in evaluation mode.
        device: Where it runs.
    """

    def __init__(self, network: nn.Module, card: Card, device: str = "auto") -> None:
        self.card = card
        self.device = torch.device(device_name(device))
        self.network = network.to(self.device).eval()

    def predict(self, images: NDArray[np.uint8], *, batch_size: int = 64) -> NDArray[np.float32]:
        """Classify pictures of any one size; resizing and normalising happen inside.

        Args:
            images: (n, height, width, channels) uint8, RGB or the dataset's bands in order.
            batch_size: Pictures at a time; it bounds the memory.

        Returns:
            (n, classes) probabilities; rows add up to 1 unless the model is multi-label.

        Raises:
            ConfigError: If the pictures have another number of bands.
        """
        channels = self.card.preprocessing.channels
        if images.ndim != 4 or images.shape[3] != channels:
            raise ConfigError(
                f"Pictures of shape {images.shape} for a model of {channels} bands.",
                "Give (n, height, width, channels).",
            )
        parts = [
            self._predict(images[start : start + batch_size])
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.card.classes)), np.float32)

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores = self.network(self._inputs(images)).float()
        return probabilities(scores, self.card.kind).cpu().numpy()

    def _inputs(self, images: NDArray[np.uint8]) -> torch.Tensor:
        resized = torch.from_numpy(self.card.preprocessing.resize(images)).to(self.device)
        return self.card.preprocessing.normalise(resized)

    def look(
        self, images: NDArray[np.uint8], *, batch_size: int = 64
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify pictures, and give what the classifier sees of them.

        Args:
            images: As `predict` takes them.
            batch_size: Pictures at a time; it bounds the memory.

        Returns:
            (n, classes) probabilities and (n, features) vectors.

        Raises:
            ConfigError: If the classifier is not one linear layer.
        """
        head = linear_head(self.network)
        found = []
        for start in range(0, len(images), batch_size):
            with torch.inference_mode():
                vectors = features(self.network, self._inputs(images[start : start + batch_size]))
                scores = head(vectors).float()
            both = probabilities(scores, self.card.kind), vectors.float()
            found.append([part.cpu().numpy() for part in both])
        judged, seen = zip(*found, strict=True)
        return np.concatenate(judged), np.concatenate(seen)

    def names(self, probability: NDArray[np.float32]) -> list[str]:
        """Name the most probable class of each row."""
        return [self.card.classes[index] for index in probability.argmax(axis=1)]

    def holds(self, probability: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which classes hold: the most probable one, or all above their thresholds."""
        if self.card.kind == "single":
            best = probability.argmax(axis=1)
            return np.asarray(best[:, None] == np.arange(probability.shape[1]))
        least = [self.card.thresholds.get(name, 0.5) for name in self.card.classes]
        return np.asarray(probability >= np.asarray(least, np.float32))


def probabilities(scores: torch.Tensor, kind: str) -> torch.Tensor:
    """Turn a network's scores, (n, classes), into probabilities."""
    return torch.softmax(scores, dim=1) if kind == "single" else torch.sigmoid(scores)


def device_name(device: str = "auto") -> str:
    """Choose where networks run; `auto` means a GPU when there is one.

    Raises:
        ConfigError: If torch cannot use the device that was asked for.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no GPU that torch can use.", "Leave device at 'auto'.")
    return device


def save_model(folder: Path | Storage, network: nn.Module, card: Card) -> Card:
    """Write a model folder; `model.json` comes last, so that half a model is none.

    Returns:
        The card with the hash of the weights.
    """
    from safetensors.torch import save

    storage = folder if isinstance(folder, Storage) else open_storage(folder)
    state = {
        key: value.detach().to("cpu").contiguous() for key, value in network.state_dict().items()
    }
    data = save(state)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(data).hexdigest()})
    storage.write(WEIGHTS, data)
    storage.write(CARD, (card.model_dump_json(indent=2) + "\n").encode())
    return card


def load_model(folder: Path | str | Storage, *, device: str = "auto") -> Model:
    """Load a model folder; every model that besana runs comes through here.

    Args:
        folder: A path, a URL or an open storage.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        NotFoundError: If there is no model.
        CorruptDataError: If the weights are not those that `model.json` names.
    """
    from safetensors.torch import load

    storage = folder if isinstance(folder, Storage) else open_storage(folder)
    card = read_card(storage)
    data = storage.read(WEIGHTS)
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise CorruptDataError(
            f"The weights in {storage.url} are not those that its {CARD} names.",
            "Restore the model, or train it again.",
        )
    network = create(
        card.backbone, len(card.classes), card.preprocessing.channels, card.backbone_options
    )
    _load_exactly(network, load(data), storage.url)
    return Model(network, card, device)


def read_card(folder: Path | str | Storage) -> Card:
    """Read what a model is, without its weights.

    Raises:
        NotFoundError: If there is no model.
        CorruptDataError: If its description is not whole or of a later besana.
    """
    storage = folder if isinstance(folder, Storage) else open_storage(folder)
    try:
        values = json.loads(storage.read(CARD))
        if not isinstance(values, Mapping):
            raise ValueError("not an object")
        return parse(Card, values, where=CARD)
    except ConfigError as error:
        raise CorruptDataError(f"{storage.url}: {error.problem}", _NEWER) from None
    except ValueError as error:
        raise CorruptDataError(f"{storage.url}/{CARD} is not JSON: {error}.", _NEWER) from None


_NEWER = "Restore the model; if a later besana wrote it, use that one."


def classes_hash(classes: Sequence[str]) -> str:
    """Hash class names in order; models and checkpoints of other classes do not fit.

    >>> classes_hash(["cow", "empty"]) == classes_hash(["empty", "cow"])
    False
    """
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()


def _load_exactly(network: nn.Module, state: Mapping[str, torch.Tensor], url: str) -> None:
    own = network.state_dict()
    if {key: value.shape for key, value in own.items()} != {
        key: value.shape for key, value in state.items()
    }:
        raise CorruptDataError(
            f"The weights in {url} do not fit the network that its {CARD} names.",
            "Restore the model, or train it again.",
        )
    network.load_state_dict(state)
