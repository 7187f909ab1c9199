"""AdamW with a rate a layer, and its state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from besana.learning.recipe import Recipe
from besana.models.network import linear_head


def create(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter, 2019) for a network.

    Biases and the weights of normalisations do not decay. The classifier learns at
    `head_factor` times the body's rate; blocks nearer to the picture at `layer_decay` times that
    of the next one.
    """
    depth = _depths(network) if recipe.layer_decay < 1 else {}
    deepest = max(depth.values(), default=0)
    head = {id(parameter) for parameter in linear_head(network).parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        factor = recipe.layer_decay ** (deepest - depth.get(name, deepest))
        if id(parameter) in head:
            factor = recipe.head_factor
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((recipe.learning_rate * factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "highest": rate, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ]
    )


def tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Give the state of every parameter, by its number and the state's name.

    In the same order in every process, also where the state was read from a file.
    """
    return {
        f"{number}/{name}": torch.as_tensor(value)
        for number, parameter in enumerate(_parameters(optimiser))
        for name, value in sorted(optimiser.state.get(parameter, {}).items())
    }


def load(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put the state from `tensors` back."""
    parameters = _parameters(optimiser)
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        parameter = parameters[int(number)]
        # AdamW keeps its step count, a scalar, on the CPU.
        place = value if value.ndim == 0 else value.to(parameter.device)
        if value.ndim == parameter.ndim == 4:
            place = place.contiguous(memory_format=torch.channels_last)
        optimiser.state[parameter][name] = place


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _depths(network: nn.Module) -> dict[str, int]:
    """Number the blocks of a timm network from the picture on, by parameter name."""
    from timm.models import group_parameters

    matcher: Any = network.group_matcher(coarse=False)  # type: ignore[operator]
    numbered: dict[str, int] = group_parameters(network, matcher, reverse=True)
    return numbered
