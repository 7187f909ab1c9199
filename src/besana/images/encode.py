"""Turn pixels into the bytes that shards hold: JPEG for pictures, PNG for measured bands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode as baseline JPEG, colours at half resolution, optimised Huffman tables.

    Args:
        pixels: (height, width, 3) RGB or (height, width, 1) uint8.
        quality: libjpeg's scale, 1 to 100.
    """
    import imagecodecs

    return bytes(
        imagecodecs.jpeg8_encode(_plane(pixels), level=quality, subsampling="420", optimize=True)
    )


def encode_png(pixels: NDArray[Any], level: int = 4) -> bytes:
    """Encode without loss.

    Args:
        pixels: (height, width, 3) RGB or (height, width, 1), uint8 or uint16.
        level: zlib's effort, 0 to 9.
    """
    import imagecodecs

    return bytes(imagecodecs.png_encode(_plane(pixels), level=level))


def _plane(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
