"""The besana family: small networks for training from random weights without a network or a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from besana.config import suggestion
from besana.errors import ConfigError
from besana.models import timm_family

#: Name: timm's network and the arguments that make it narrow.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    # A residual network of 0.7 M weights: about 1,000 pictures of 64 px a second through
    # training on two cores, where a ResNet-18 takes 190.
    "small": ("resnet10t", {"channels": (24, 48, 96, 192), "stem_width": 12}),
}


def create(name: str, *, classes: int, channels: int, options: Mapping[str, Any]) -> nn.Module:
    """Build one of besana's networks with random weights.

    Args:
        name: A key of `NETWORKS`.
        classes: Outputs of the classifier.
        channels: Input bands.
        options: Further arguments of `timm.create_model`.

    Raises:
        ConfigError: If there is no such network, or it does not take such an option.
    """
    if name not in NETWORKS:
        raise ConfigError(f"No network 'besana/{name}'.", suggestion(name, NETWORKS))
    base, narrow = NETWORKS[name]
    network: Any = timm_family.create(
        base, classes=classes, channels=channels, options={**narrow, **options}
    )
    # The weights that timm has for the wide network do not fit this one.
    network.pretrained_cfg = {**network.pretrained_cfg, "hf_hub_id": None}
    return cast("nn.Module", network)
