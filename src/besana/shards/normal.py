"""Whole-number pixels to float32: full scale to 1, less a mean, divided by a deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]


class Normal:
    """Turn pictures of one width into float32, into memory that is there already.

    Args:
        mean: Of full scale, one value or one a channel.
        std: Of full scale, one value or one a channel.
        width: Columns of the pictures.
        channels: Channels of the pictures.
        found: The native library, which does the same in a third of the time; None without it.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        width: int,
        channels: int,
        found: Any = None,
    ) -> None:
        self._library = found
        deviation = np.broadcast_to(np.asarray(std, np.float64), channels)
        centre = np.broadcast_to(np.asarray(mean, np.float64), channels)
        self._add = np.tile(-centre / deviation, width).astype(np.float32)
        self._factor = {
            np.dtype(kind): np.tile(1 / (white * deviation), width).astype(np.float32)
            for kind, white in ((np.uint8, 255), (np.uint16, 65535), (np.float32, 1))
        }

    def apply(self, pixels: Pixels, out: Pixels) -> None:
        """Normalise one picture.

        Args:
            pixels: (height, width, channels) uint8, uint16 or float32, contiguous; a float32
                picture is not divided by any full scale.
            out: The same shape in float32, contiguous.
        """
        if self._library is not None and pixels.dtype == np.uint8:
            self._library.normalise(pixels, self._factor[pixels.dtype], self._add, out)
            return
        rows = out.reshape(len(out), -1)
        # Three passes over rows as long as the picture is wide beat one over three channels.
        np.copyto(rows, pixels.reshape(rows.shape))
        rows *= self._factor[pixels.dtype]
        rows += self._add


def working_type(first: Pixels, further: Sequence[memoryview]) -> np.dtype[Any]:
    """Choose the type of a record's bands before they are normalised.

    Args:
        first: The first band, decoded.
        further: Other bands, as bytes: whatever they hold, float32 holds it.
    """
    return np.dtype(np.float32) if further else first.dtype
