"""Preprocessing: what turns a prepared picture into a network's input, the same everywhere.

Training, evaluation, batch prediction and serving call these two steps and no others, so a model
never sees pictures that were prepared differently from those it learnt from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from besana.config import Settings

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class Preprocessing(Settings):
    """Describe a network's input; it is stored in the model's folder."""

    size_px: int = Field(default=224, ge=8, le=4096, description="Height and width, px.")
    channels: int = Field(default=3, ge=1, le=64, description="Bands of a picture.")
    mean: list[float] = Field(
        default=[123.675, 116.28, 103.53], description="Mean of each band, 0 to 255."
    )
    std: list[float] = Field(
        default=[58.395, 57.12, 57.375], description="Standard deviation of each band, 0 to 255."
    )

    @model_validator(mode="after")
    def _one_value_a_band(self) -> Preprocessing:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} deviations for {self.channels} bands"
            )
        if min(self.std) <= 0:
            raise ValueError("a standard deviation is not above 0")
        return self

    def resize(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize pictures to the network's input; pictures of the right size are not touched.

        Shrinking averages the pixels that fall together, so that nothing aliases; growing
        interpolates. A picture that is not square is stretched: a region's shape is the same in
        every frame of its camera.

        Args:
            images: (n, height, width, channels) uint8.

        Returns:
            (n, size_px, size_px, channels) uint8.
        """
        count, height, width, channels = images.shape
        size = self.size_px
        if (height, width) == (size, size):
            return images
        resized = np.empty((count, size, size, channels), np.uint8)
        for picture, target in zip(images, resized, strict=True):
            _resize(picture, target)
        return resized

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Scale pixel values to the network's range.

        Args:
            images: (n, height, width, channels) uint8, on any device.

        Returns:
            (n, channels, height, width) float32 in channels-last memory layout.
        """
        import torch

        mean, std = torch.tensor([self.mean, self.std], dtype=torch.float32, device=images.device)
        return images.float().sub_(mean).div_(std).permute(0, 3, 1, 2)


def _resize(picture: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Resize one picture into another, exactly as the loader does.

    OpenCV takes at most four bands at a time.
    """
    from besana.images.resize import resize

    height, width, channels = target.shape
    for first in range(0, channels, 4):
        bands = slice(first, first + 4)
        part = np.ascontiguousarray(picture[:, :, bands])
        target[:, :, bands] = resize(part, (height, width))
