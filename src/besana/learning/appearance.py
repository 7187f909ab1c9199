"""Changes of how training pictures look that are made on the whole batch, where it is learnt from.

Crops, turns and light come from the loader. What is here makes a network rely less on colour and
fine texture, which differ from camera to camera and are missing in infrared. Draws come from
torch's generator, whose state is in every checkpoint, so a resumed training draws the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

_COLOURS = 3


@dataclass(frozen=True)
class Appearance:
    """Say how often pictures lose colour or sharpness.

    Attributes:
        grey_share: Share of the pictures whose first three bands become their mean.
        blur_share: Share of the pictures that are blurred, each by another amount.
    """

    grey_share: float = 0.0
    blur_share: float = 0.0

    def change(self, inputs: torch.Tensor) -> torch.Tensor:
        """Change some pictures of a batch.

        Args:
            inputs: (n, channels, height, width) normalised.

        Returns:
            The same tensor if nothing may change, else a new one.
        """
        if self.grey_share and inputs.shape[1] >= _COLOURS:
            inputs = _grey(inputs, self.grey_share)
        if self.blur_share:
            inputs = _blurred(inputs, self.blur_share)
        return inputs


def _chosen(inputs: torch.Tensor, share: float) -> torch.Tensor:
    # Drawn on the CPU, so that one generator's state is enough.
    drawn = torch.rand(len(inputs)) < share
    return drawn.to(inputs.device)[:, None, None, None]


def _grey(inputs: torch.Tensor, share: float) -> torch.Tensor:
    colours = inputs[:, :_COLOURS]
    grey = colours.mean(dim=1, keepdim=True).expand_as(colours)
    changed = torch.where(_chosen(inputs, share), grey, colours)
    return torch.cat([changed, inputs[:, _COLOURS:]], dim=1)


def _blurred(inputs: torch.Tensor, share: float) -> torch.Tensor:
    """Mix pictures with their mean over 5 by 5 pixels, by any amount up to all of it."""
    amount = torch.rand(len(inputs)).to(inputs.device)[:, None, None, None]
    amount = amount * _chosen(inputs, share)
    soft = functional.avg_pool2d(inputs, 5, stride=1, padding=2, count_include_pad=False)
    return torch.lerp(inputs, soft, amount)
