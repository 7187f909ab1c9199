"""Measure how usable a picture is: light, contrast, sharpness, information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Light = Literal["day", "ir"]

LONG_SIDE_PX = 640
"""Longer side of the picture on which quality is measured."""

_COLOUR_SIDE_PX = 160
_DARK, _BRIGHT = 20, 250
# A colour camera's infrared frames keep less colour than this, its dullest day frames more.
_COLOURLESS = 2.5


@dataclass(frozen=True)
class Quality:
    """Figures of one picture, measured on a grey version of at most 640 px.

    Attributes:
        brightness: Mean grey value, 0 to 255.
        dark_share: Share of pixels below 20.
        bright_share: Share of pixels above 250.
        contrast: Standard deviation of the grey values.
        sharpness: Variance of the Laplacian (Pech-Pacheco et al. 2000).
        entropy_bits: Shannon entropy of the grey histogram, 0 to 8.
        light: `ir` for pictures without colour, else `day`.
    """

    brightness: float
    dark_share: float
    bright_share: float
    contrast: float
    sharpness: float
    entropy_bits: float
    light: Light


def measure(pixels: NDArray[Any]) -> Quality:
    """Measure one picture.

    Args:
        pixels: (height, width, channels) uint8 or uint16; three channels are RGB.
    """
    import cv2

    plain = grey(shrink(pixels, LONG_SIDE_PX))
    histogram = cv2.calcHist([plain], [0], None, [256], [0, 256]).ravel() / plain.size
    values = np.arange(256)
    brightness = float(histogram @ values)
    seen = histogram[histogram > 0].astype(np.float64)
    return Quality(
        brightness=brightness,
        dark_share=float(histogram[:_DARK].sum()),
        bright_share=float(histogram[_BRIGHT + 1 :].sum()),
        contrast=float(np.sqrt(histogram @ (values - brightness) ** 2)),
        sharpness=float(cv2.meanStdDev(cv2.Laplacian(plain, cv2.CV_32F))[1].item() ** 2),
        entropy_bits=float(max(0.0, -(seen * np.log2(seen)).sum())),
        light=_light(shrink(pixels, _COLOUR_SIDE_PX)),
    )


def grey(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (height, width) uint8: luma of RGB, the mean of other channels, 16 bits to 8.

    Args:
        pixels: (height, width, channels) uint8 or uint16.
    """
    import cv2

    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels[..., 0])
    if pixels.shape[2] == 3:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY))
    return np.asarray(pixels.mean(axis=2).round(), dtype=np.uint8)


def shrink(pixels: NDArray[Any], long_side_px: int) -> NDArray[Any]:
    """Return the picture with its longer side at most this long; three dimensions stay.

    Args:
        pixels: (height, width, channels).
        long_side_px: Longest side of the result.
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = long_side_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small.reshape(size[1], size[0], -1)


def _light(pixels: NDArray[Any]) -> Light:
    """Tell infrared by its lack of colour; pictures that never had colour are day."""
    if pixels.shape[2] != 3:
        return "day"
    import cv2

    red, green, blue = cv2.split(np.ascontiguousarray(pixels))
    spread = cv2.mean(cv2.absdiff(red, green))[0] + cv2.mean(cv2.absdiff(red, blue))[0]
    full = 257 if pixels.dtype == np.uint16 else 1
    return "ir" if spread / full < _COLOURLESS else "day"
