"""Changes of how training pictures look that are made on the whole batch, where it is learnt from.

Crops, turns and light come from the loader. What is here makes a network rely less on colour and
fine texture, which differ from camera to camera and are missing in infrared. Draws come from
torch's generator, whose state is in every checkpoint, so a resumed training draws the same.
"""

from __future__ import annotations

from collections.abc import Callable
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
        draw: Gives one number from 0 to 1 for each of so many pictures, on the CPU, so that one
            generator's state is enough.
    """

    grey_share: float = 0.0
    blur_share: float = 0.0
    draw: Callable[[int], torch.Tensor] = torch.rand

    def change(self, inputs: torch.Tensor) -> torch.Tensor:
        """Change some pictures of a batch.

        Args:
            inputs: (n, channels, height, width) normalised.

        Returns:
            The same tensor if nothing may change, else a new one.
        """
        if self.grey_share and inputs.shape[1] >= _COLOURS:
            inputs = self._grey(inputs)
        if self.blur_share:
            inputs = self._blurred(inputs)
        return inputs

    def _grey(self, inputs: torch.Tensor) -> torch.Tensor:
        colours = inputs[:, :_COLOURS]
        grey = colours.mean(dim=1, keepdim=True).expand_as(colours)
        chosen = self._drawn(inputs) < self.grey_share
        return torch.cat([torch.where(chosen, grey, colours), inputs[:, _COLOURS:]], dim=1)

    def _blurred(self, inputs: torch.Tensor) -> torch.Tensor:
        """Mix pictures with their mean over 5 by 5 pixels, by any amount up to all of it."""
        amount = self._drawn(inputs)
        amount = amount * (self._drawn(inputs) < self.blur_share)
        soft = functional.avg_pool2d(inputs, 5, stride=1, padding=2, count_include_pad=False)
        return torch.lerp(inputs, soft, amount)

    def _drawn(self, inputs: torch.Tensor) -> torch.Tensor:
        """Draw one number a picture, (n, 1, 1, 1)."""
        return self.draw(len(inputs)).to(inputs.device)[:, None, None, None]
