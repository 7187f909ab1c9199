"""Tensors of a network as one vector, so that they travel as one message."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put float tensors one behind the other, (numbers,) float32."""
    return torch.cat([tensor.detach().float().reshape(-1) for tensor in tensors])


@torch.no_grad()
def spread(vector: torch.Tensor, tensors: Sequence[torch.Tensor], *, add: bool = False) -> None:
    """Put a vector from `flat` back into tensors of the same shapes.

    Args:
        vector: What to put there.
        tensors: Changed in place.
        add: Whether to add it to what is there.
    """
    parts = torch.split(vector, [tensor.numel() for tensor in tensors])
    for tensor, own in zip(tensors, parts, strict=True):
        shaped = own.view(tensor.shape).to(tensor.dtype)
        if add:
            tensor.add_(shaped)
        else:
            tensor.copy_(shaped)
