"""Weights: from timm's hub by name or from a safetensors file, never from a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.storage import read_regular


class Weights(NamedTuple):
    """Where a network's weights came from.

    Attributes:
        source: `random`, `hub:<repository>` or the file's name.
        sha256: Hash of the file, hexadecimal; empty for random weights.
    """

    source: str
    sha256: str


def load_weights(network: nn.Module, weights: str, *, name: str) -> Weights:
    """Load weights into a network, all but its classifier.

    The first layer is adapted when the file is for another number of bands; a classifier of
    other size is left out. Everything else has to fit.

    Args:
        network: One of timm's networks, changed in place.
        weights: `random`, `pretrained`, or the path of a safetensors file.
        name: The network's name, for messages.

    Raises:
        ConfigError: If the weights are not for this network.
        CorruptDataError: If the file is not safetensors.
        NotFoundError: If there are no such weights here and none can be fetched.
    """
    if weights == "random":
        return Weights("random", "")
    if weights == "pretrained":
        repository = _hub_repository(network, name)
        path, source = _fetch(repository), f"hub:{repository}"
    elif weights.endswith(".safetensors"):
        path, source = Path(weights), Path(weights).name
    else:
        raise ConfigError(
            f"Unknown weights '{weights}'.",
            "Use 'pretrained', 'random' or the path of a .safetensors file.",
        )
    data = read_regular(path.resolve())
    _fit(network, _parse(data, source), name=name, source=source)
    return Weights(source, hashlib.sha256(data).hexdigest())


def _parse(data: bytes, source: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise CorruptDataError(
            f"The weights {source} are not a whole safetensors file: {error}.",
            "Fetch or convert them again.",
        ) from None


def _hub_repository(network: nn.Module, name: str) -> str:
    repository = _own(network).get("hf_hub_id")
    if not repository:
        raise NotFoundError(
            f"There are no pretrained weights for '{name}'.",
            "Use --strategy scratch, or --weights FILE.safetensors.",
        )
    return str(repository)


def _fetch(repository: str) -> Path:
    """Fetch weights from the hub, or take them from its cache on this machine."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (OSError, HfHubHTTPError) as error:
        line = str(error).strip().splitlines()[0]
        raise NotFoundError(
            f"The weights {repository} are not on this machine and cannot be fetched: {line}",
            "Connect once, or give --weights FILE.safetensors, or use --strategy scratch.",
        ) from None


def _fit(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], *, name: str, source: str
) -> None:
    own = network.state_dict()
    classifier = _names(network, "classifier")
    fitting = {
        key: _adapt(network, key, value, own.get(key))
        for key, value in tensors.items()
        if not key.startswith(classifier)
    }
    wanted = {key for key in own if not key.startswith(classifier)}
    _check_names(wanted, set(fitting), name=name, source=source)
    for key in wanted:
        if fitting[key].shape != own[key].shape:
            raise ConfigError(
                f"'{key}' is {tuple(fitting[key].shape)} in {source} but {tuple(own[key].shape)} "
                f"in '{name}'.",
                "Set backbone, size_px or backbone_options to what the weights are for.",
            )
    network.load_state_dict(fitting, strict=False)


def _check_names(wanted: set[str], found: set[str], *, name: str, source: str) -> None:
    missing, unknown = sorted(wanted - found), sorted(found - wanted)
    if missing or unknown:
        lacks = f"{len(missing)} tensors are missing" + (f" ('{missing[0]}')" if missing else "")
        more = f"{len(unknown)} are unknown" + (f" ('{unknown[0]}')" if unknown else "")
        raise ConfigError(
            f"The weights {source} are not for '{name}': {lacks}, {more}.",
            "Set backbone or backbone_options to what they are for.",
        )


def _adapt(
    network: nn.Module, key: str, value: torch.Tensor, own: torch.Tensor | None
) -> torch.Tensor:
    """Adapt the weight of a first layer to another number of bands."""
    first = _names(network, "first_conv")
    if own is None or not key.startswith(first) or value.ndim != 4 or own.ndim != 4:
        return value
    bands, known = own.shape[1], value.shape[1]
    if bands == known:
        return value
    # Repeated and scaled, so that activations keep their size: what timm does.
    repeated = value.repeat(1, -(-bands // known), 1, 1)[:, :bands]
    return repeated * (known / bands)


def _own(network: nn.Module) -> Mapping[str, Any]:
    own: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return own


def _names(network: nn.Module, kind: str) -> tuple[str, ...]:
    names = _own(network).get(kind) or ()
    names = (names,) if isinstance(names, str) else names
    return tuple(f"{name}." for name in names)
