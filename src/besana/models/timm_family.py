"""The timm family: any of timm's networks by its name, `mobilenetv2_100` or `resnet18.a1_in1k`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from torch import nn

from besana.errors import ConfigError


def create(name: str, *, classes: int, channels: int, options: Mapping[str, Any]) -> nn.Module:
    """Build a timm network with random weights.

    Args:
        name: timm's name, with or without the tag of its weights.
        classes: Outputs of the classifier.
        channels: Input bands.
        options: Further arguments of `timm.create_model`, as `{"pad_type": "same"}`.

    Raises:
        ConfigError: If timm has no such network, or it does not take such an option.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"Did you mean {', '.join(close)}?" if close else "See timm.list_models()."
        raise ConfigError(f"timm has no network '{name}'.", hint)
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=classes, in_chans=channels, **options
        )
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"timm cannot build '{name}' with {channels} bands and options {dict(options)}: "
            f"{error}.",
            "Correct backbone_options.",
        ) from None
    return network
