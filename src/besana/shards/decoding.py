"""From a sample's bytes to its place in a batch: decode, crop, change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from besana.errors import ConfigError, CorruptDataError
from besana.images.segments import Part, part_under
from besana.images.shortening import Shorter, shorter

Pixels = npt.NDArray[Any]
Box = tuple[int, int, int, int]
"""First row, first column, rows and columns, px."""

_JPEG = b"\xff\xd8"


def is_jpeg(payload: memoryview) -> bool:
    """Tell whether bytes start as a JPEG does."""
    return payload[:2] == _JPEG


def jpeg_scales(
    height: npt.NDArray[Any], width: npt.NDArray[Any], boxes: Pixels, target: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Choose 1, 2, 4 or 8 for each picture: the largest at which the crop covers the target.

    Args:
        height: Rows of each picture.
        width: Columns of each picture.
        boxes: (pictures, 4) top, left, height, width of each crop as shares of its picture.
        target: Height and width to make.
    """
    scales = np.ones(len(boxes), np.int64)
    for scale in (2, 4, 8):
        enough = height * boxes[:, 2] >= target[0] * scale
        scales[enough & (width * boxes[:, 3] >= target[1] * scale)] = scale
    return scales


def snap(
    boxes: Pixels, height: npt.NDArray[np.int64], width: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Move the sides of boxes to whole pixels of their pictures, at least one pixel apart.

    Args:
        boxes: (pictures, 4) top, left, height, width as shares.
        height: Rows of each picture.
        width: Columns of each picture.

    Returns:
        (pictures, 4) first row, first column, rows and columns.
    """
    first = np.rint(boxes[:, :2] * np.stack([height, width], axis=1))
    last = np.rint((boxes[:, :2] + boxes[:, 2:]) * np.stack([height, width], axis=1))
    first = np.minimum(first, np.stack([height, width], axis=1) - 1).astype(np.int64)
    sides = np.maximum(last.astype(np.int64), first + 1) - first
    return np.concatenate([first, sides], axis=1)


def decode_crop(
    payload: memoryview,
    height: int,
    width: int,
    box: Box,
    *,
    scale: int = 1,
    scratch: npt.NDArray[np.uint8] | None = None,
    sound: bool = False,
) -> Pixels:
    """Decode what lies under a box of a JPEG, PNG or float TIFF, RGB order.

    Of a JPEG with a table of segments only those under the box are decoded, of another that is
    known to be sound only the rows down to its end; the pixels are the same, bit by bit.

    Args:
        payload: The encoded image.
        height: Height that it must have.
        width: Width that it must have.
        box: Part of the picture at that scale.
        scale: Divide both sides by 1, 2, 4 or 8 while decoding a JPEG. A PNG is decoded whole,
            as a band of the same sample, and the same place is cut at full scale.
        scratch: Buffer of bytes to decode a JPEG into.
        sound: Whether the same bytes were decoded whole before, without any complaint.

    Returns:
        (rows, columns, channels) uint8, uint16 or float32; a view of `scratch` when that was used.

    Raises:
        CorruptDataError: If the bytes are no image, or not of this size.
    """
    if not is_jpeg(payload):
        pixels = _decode_other(payload)
        _check_size(pixels, height, width, 1)
        grid = -(-height // scale), -(-width // scale)
        return pixels[
            _slice(box[0], box[2], height, grid[0]), _slice(box[1], box[3], width, grid[1])
        ]
    part = part_of(payload, height, width, box, scale)
    if part is not None:
        return decode_part(part, box, scale=scale, scratch=scratch)
    top, left, tall, wide = box
    cut = shorter(payload, height, (top + tall) * scale) if sound else None
    if cut is not None:
        pixels = _decode_upper(payload, cut, width, scale, scratch)
    else:
        pixels = _decode_jpeg(payload, height, width, scale, scratch)
    return pixels[top : top + tall, left : left + wide]


def part_of(payload: memoryview, height: int, width: int, box: Box, scale: int) -> Part | None:
    """Copy what a box at some scale needs of a JPEG; None where that is all of it."""
    if not is_jpeg(payload):
        return None
    top, left, tall, wide = box
    return part_under(
        payload, height, width, (top * scale, left * scale, tall * scale, wide * scale)
    )


def decode_part(
    part: Part, box: Box, *, scale: int = 1, scratch: npt.NDArray[np.uint8] | None = None
) -> Pixels:
    """Decode what lies under a box of a picture from the part of it that covers the box."""
    pixels = _decode_jpeg(part.data, part.height, part.width, scale, scratch)
    top, left = box[0] - part.top // scale, box[1] - part.left // scale
    return pixels[top : top + box[2], left : left + box[3]]


def _slice(first: int, count: int, side: int, grid: int) -> slice:
    """Cut a side in pixels where a grid of fewer, larger ones is cut."""
    return slice(round(first * side / grid), round((first + count) * side / grid))


def _check_size(pixels: Pixels, height: int, width: int, scale: int) -> None:
    if pixels.shape[:2] != (-(-height // scale), -(-width // scale)):
        raise CorruptDataError(
            f"The image is {pixels.shape[1]}x{pixels.shape[0]} px, not {width}x{height} px.",
            "Its manifest is of other shards: run besana split.",
        )


def _decode_jpeg(
    data: memoryview | bytearray,
    height: int,
    width: int,
    scale: int,
    scratch: npt.NDArray[np.uint8] | None,
    *,
    strict: bool = True,
) -> Pixels:
    least = (-(-height // scale), -(-width // scale)) if scale > 1 else (0, 0)
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        space = "GRAY" if colours == "Gray" else "RGB"
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, space, False, False, least[0], least[1], scale, scratch, strict
        )
    except ValueError as error:
        raise CorruptDataError(f"The JPEG is corrupt: {error}.") from None
    _check_size(pixels, height, width, scale)
    return pixels


def _decode_upper(
    payload: memoryview,
    cut: Shorter,
    width: int,
    scale: int,
    scratch: npt.NDArray[np.uint8] | None,
) -> Pixels:
    """Decode the upper rows; the file gets another height meanwhile."""
    data = memoryview(bytearray(payload)) if payload.readonly else payload
    sides = slice(cut.place, cut.place + 2)
    whole = bytes(data[sides])
    data[sides] = cut.rows.to_bytes(2, "big")
    try:
        return _decode_jpeg(data, cut.rows, width, scale, scratch, strict=False)
    finally:
        data[sides] = whole


def _decode_other(payload: memoryview) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise CorruptDataError(f"The image is corrupt: {error.err}.") from None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise CorruptDataError("The image is no JPEG, no PNG of 8 or 16 bits and no float TIFF.")
    if pixels.ndim == 2:
        return pixels[:, :, None]
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    raise CorruptDataError(f"The image has {pixels.shape[2]} channels, not 1 or 3.")


def convert(pixels: Pixels, dtype: npt.DTypeLike) -> Pixels:
    """Convert between uint8 and uint16, full scale to full scale, and to float32, to 1.

    Raises:
        ConfigError: If float32 would become whole numbers: nobody knows its full scale.
    """
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype == np.float32:
        raise ConfigError("Bands of float32 have no full scale.", 'Load them with dtype="float32".')
    if dtype == np.float32:
        return pixels * np.float32(1 / np.iinfo(pixels.dtype).max)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    return cv2.convertScaleAbs(pixels, alpha=1 / 257).reshape(pixels.shape)


def change_colour(pixels: Pixels, factors: Sequence[float]) -> None:
    """Change brightness, contrast and saturation in place, in this order, as torchvision does.

    The first three channels change when there are at least three, else all.

    Args:
        pixels: (height, width, channels) uint8, uint16, or float32 up to 1.
        factors: Of brightness, contrast and saturation; 1 leaves as is.
    """
    channels = 3 if pixels.shape[2] >= 3 else pixels.shape[2]
    whole = pixels.dtype.kind == "u"
    top = float(np.iinfo(pixels.dtype).max) if whole else 1.0
    part = pixels[:, :, :channels].astype(np.float32)
    if factors[0] != 1:
        part = np.minimum(part * np.float32(factors[0]), top)
    if factors[1] != 1:
        middle = np.float32(_grey(part).mean() * (1 - factors[1]))
        part = np.clip(part * np.float32(factors[1]) + middle, 0, top)
    if factors[2] != 1 and channels == 3:
        grey = _grey(part)[:, :, None] * np.float32(1 - factors[2])
        part = np.clip(part * np.float32(factors[2]) + grey, 0, top)
    pixels[:, :, :channels] = np.rint(part) if whole else part


def _grey(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weigh RGB as ITU-R BT.601 does; other numbers of channels count evenly."""
    if pixels.shape[2] != 3:
        grey: npt.NDArray[np.float32] = pixels.mean(axis=2, dtype=np.float32)
    else:
        grey = pixels @ np.array([0.2989, 0.587, 0.114], np.float32)
    return grey
