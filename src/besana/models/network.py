"""Build a network by name, with the preprocessing that belongs to it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from besana.config import suggestion
from besana.errors import ConfigError
from besana.models import MODELS
from besana.models.preprocessing import Preprocessing
from besana.models.weights import Weights, load_weights


@dataclass(frozen=True)
class Backbone:
    """Say which network to build and what to start it from.

    Attributes:
        name: `timm/<name>`, `besana/<name>`, or a plain timm name.
        weights: `random`, `pretrained` (timm's, from the hub) or the path of a safetensors file.
        options: Further arguments of the network, as `{"pad_type": "same"}`.
        size_px: Height and width of the input; 0 for the network's own.
        mean: Mean of each band, 0 to 255; empty for the network's own.
        std: Standard deviation of each band, 0 to 255; empty for the network's own.
    """

    name: str
    weights: str = "random"
    options: Mapping[str, Any] | None = None
    size_px: int = 0
    mean: Sequence[float] = ()
    std: Sequence[float] = ()


@dataclass(frozen=True)
class Built:
    """A network, its preprocessing, and where its weights came from."""

    network: nn.Module
    preprocessing: Preprocessing
    weights: Weights


def build(backbone: Backbone, *, classes: int, channels: int = 3, seed: int = 0) -> Built:
    """Build a network; its classifier always starts from random weights.

    Args:
        backbone: What to build and from which weights.
        classes: Outputs of the classifier, 1 or more.
        channels: Input bands; the first layer is adapted to them.
        seed: What random weights are drawn from.

    Raises:
        ConfigError: If a name, option or shape does not fit.
        NotFoundError: If the weights are not there and cannot be fetched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create(backbone.name, classes, channels, backbone.options or {})
    preprocessing = _preprocessing(backbone, network, channels)
    weights = load_weights(network, backbone.weights, name=backbone.name)
    return Built(network, preprocessing, weights)


def create(name: str, classes: int, channels: int, options: Mapping[str, Any]) -> nn.Module:
    """Create a network with random weights, in channels-last memory layout.

    Args:
        name: `<family>/<name>` of `MODELS`, or a plain timm name.
        classes: Outputs of the classifier.
        channels: Input bands.
        options: Further arguments of the family's `create`.

    Raises:
        ConfigError: If a name or option is unknown.
    """
    family, slash, rest = name.partition("/")
    if not slash:
        family, rest = "timm", name
    if family not in MODELS:
        raise ConfigError(
            f"Unknown family of networks '{family}' in '{name}'.", suggestion(family, MODELS)
        )
    module = importlib.import_module(MODELS[family])
    network: nn.Module = module.create(rest, classes=classes, channels=channels, options=options)
    return network.to(memory_format=torch.channels_last)


def linear_head(network: nn.Module) -> nn.Linear:
    """Return a network's classifier.

    Raises:
        ConfigError: If it is not one linear layer, which the probe and class weights need.
    """
    head = network.get_classifier()  # type: ignore[operator]  # timm's networks have it
    if not isinstance(head, nn.Linear):
        raise ConfigError(
            f"The classifier of this network is a {type(head).__name__}, not a linear layer.",
            "Choose another backbone.",
        )
    return head


def features(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Compute what a network's classifier sees.

    Args:
        network: One of timm's networks.
        inputs: (n, channels, height, width) normalised.

    Returns:
        (n, features).
    """
    maps = network.forward_features(inputs)  # type: ignore[operator]  # timm's networks have it
    vectors: torch.Tensor = network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
    return vectors


def _preprocessing(backbone: Backbone, network: nn.Module, channels: int) -> Preprocessing:
    own: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    native = int(own["input_size"][-1])
    size = backbone.size_px or native
    if own.get("fixed_input_size") and size != native and not _takes_any_size(backbone):
        raise ConfigError(
            f"'{backbone.name}' takes pictures of {native} px, not {size} px.",
            "Leave size_px out, or set backbone_options = {dynamic_img_size = true}.",
        )
    return Preprocessing(
        size_px=size,
        channels=channels,
        mean=_per_band(backbone.mean, own["mean"], channels, "input_mean"),
        std=_per_band(backbone.std, own["std"], channels, "input_std"),
    )


def _takes_any_size(backbone: Backbone) -> bool:
    options = backbone.options or {}
    return bool(options.get("dynamic_img_size") or options.get("img_size"))


def _per_band(
    chosen: Sequence[float], own: Sequence[float], channels: int, setting: str
) -> list[float]:
    """Give one value a band; bands beyond those a network knows get the average of its values."""
    values = [float(value) for value in chosen] or [255.0 * float(value) for value in own]
    if len(values) == channels:
        return values
    if chosen and len(chosen) > 1:
        raise ConfigError(
            f"{setting} has {len(chosen)} values for {channels} bands.", "Give one a band."
        )
    average = sum(values) / len(values)
    if len(values) == 1 or channels < len(values):
        return [average] * channels
    return values + [average] * (channels - len(values))
