"""From a sample's bytes to its place in a batch: decode, crop, change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from besana.errors import CorruptDataError

Pixels = npt.NDArray[Any]
Box = tuple[float, float, float, float]

_JPEG = b"\xff\xd8"


def is_jpeg(payload: memoryview) -> bool:
    """Tell whether bytes start as a JPEG does."""
    return payload[:2] == _JPEG


def jpeg_scale(height: int, width: int, box: Box, target: tuple[int, int]) -> int:
    """Choose 1, 2, 4 or 8: the largest reduction at which the crop still covers the target.

    >>> jpeg_scale(1080, 1920, (0.0, 0.0, 1.0, 1.0), (224, 224))
    4
    """
    scale = 8
    while scale > 1 and (height * box[2] < target[0] * scale or width * box[3] < target[1] * scale):
        scale //= 2
    return scale


def decode(
    payload: memoryview,
    height: int,
    width: int,
    *,
    scale: int = 1,
    scratch: npt.NDArray[np.uint8] | None = None,
) -> Pixels:
    """Decode JPEG or PNG, RGB order.

    Args:
        payload: The encoded image.
        height: Height that it must have.
        width: Width that it must have.
        scale: Divide both sides by 1, 2, 4 or 8 while decoding; JPEG only.
        scratch: Buffer of bytes to decode a JPEG into.

    Returns:
        (height, width, channels) uint8 or uint16; a view of `scratch` when that was used.

    Raises:
        CorruptDataError: If the bytes are no image, or not of this size.
    """
    if is_jpeg(payload):
        pixels = _decode_jpeg(payload, height, width, scale, scratch)
        expected = -(-height // scale), -(-width // scale)
    else:  # a band of the same sample: whole, whatever the scale of the first
        pixels = _decode_other(payload)
        expected = height, width
    if pixels.shape[:2] != expected:
        raise CorruptDataError(
            f"The image is {pixels.shape[1]}x{pixels.shape[0]} px, not {width}x{height} px.",
            "Its manifest is of other shards: run besana split.",
        )
    return pixels


def _decode_jpeg(
    payload: memoryview,
    height: int,
    width: int,
    scale: int,
    scratch: npt.NDArray[np.uint8] | None,
) -> Pixels:
    reduced = {"min_height": -(-height // scale), "min_width": -(-width // scale)}
    try:
        colours = simplejpeg.decode_jpeg_header(payload)[2]
        pixels = simplejpeg.decode_jpeg(
            payload,
            colorspace="GRAY" if colours == "Gray" else "RGB",
            buffer=scratch,
            **({"min_factor": scale, **reduced} if scale > 1 else {}),
        )
    except ValueError as error:
        raise CorruptDataError(f"The JPEG is corrupt: {error}.") from None
    return pixels  # type: ignore[no-any-return]


def _decode_other(payload: memoryview) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise CorruptDataError(f"The image is corrupt: {error.err}.") from None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise CorruptDataError("The image is no JPEG or PNG of 8 or 16 bits.")
    if pixels.ndim == 2:
        return pixels[:, :, None]
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    raise CorruptDataError(f"The image has {pixels.shape[2]} channels, not 1 or 3.")


def snap(box: Box, height: int, width: int) -> Box:
    """Move the sides of a box to whole pixels of a picture, at least one pixel apart."""
    top = min(round(box[0] * height), height - 1)
    left = min(round(box[1] * width), width - 1)
    bottom = max(round((box[0] + box[2]) * height), top + 1)
    right = max(round((box[1] + box[3]) * width), left + 1)
    return top / height, left / width, (bottom - top) / height, (right - left) / width


def crop(pixels: Pixels, box: Box) -> Pixels:
    """View the part of a picture under a box of shares, at least one pixel."""
    height, width = pixels.shape[:2]
    top, left, tall, wide = snap(box, height, width)
    first_row, first_column = round(top * height), round(left * width)
    return pixels[
        first_row : first_row + round(tall * height),
        first_column : first_column + round(wide * width),
    ]


def convert(pixels: Pixels, dtype: npt.DTypeLike) -> Pixels:
    """Convert between uint8 and uint16, full scale to full scale."""
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    return cv2.convertScaleAbs(pixels, alpha=1 / 257).reshape(pixels.shape)


def change_colour(pixels: Pixels, factors: Sequence[float]) -> None:
    """Change brightness, contrast and saturation in place, in this order, as torchvision does.

    The first three channels change when there are at least three, else all.

    Args:
        pixels: (height, width, channels) uint8 or uint16.
        factors: Of brightness, contrast and saturation; 1 leaves as is.
    """
    channels = 3 if pixels.shape[2] >= 3 else pixels.shape[2]
    top = float(np.iinfo(pixels.dtype).max)
    part = pixels[:, :, :channels].astype(np.float32)
    if factors[0] != 1:
        part = np.minimum(part * np.float32(factors[0]), top)
    if factors[1] != 1:
        middle = np.float32(_grey(part).mean() * (1 - factors[1]))
        part = np.clip(part * np.float32(factors[1]) + middle, 0, top)
    if factors[2] != 1 and channels == 3:
        grey = _grey(part)[:, :, None] * np.float32(1 - factors[2])
        part = np.clip(part * np.float32(factors[2]) + grey, 0, top)
    pixels[:, :, :channels] = np.rint(part).astype(pixels.dtype)


def _grey(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weigh RGB as ITU-R BT.601 does; other numbers of channels count evenly."""
    if pixels.shape[2] != 3:
        grey: npt.NDArray[np.float32] = pixels.mean(axis=2, dtype=np.float32)
    else:
        grey = pixels @ np.array([0.2989, 0.587, 0.114], np.float32)
    return grey
