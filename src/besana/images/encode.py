"""Turn pixels into bytes for shards: JPEG for pictures, PNG or TIFF for measured bands."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.images.segments import interval, with_table


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode as baseline JPEG that decodes in parts: restart markers and a table of them.

    Colours are at half resolution, Huffman tables optimised.

    Args:
        pixels: (height, width, 3) RGB or (height, width, 1) uint8.
        quality: libjpeg's scale, 1 to 100.
    """
    import cv2

    plane = _plane(pixels)
    colour = plane.ndim == 3
    mcus = interval(plane.shape[1], 3 if colour else 1)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    settings += [cv2.IMWRITE_JPEG_RST_INTERVAL, mcus]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    shown = cv2.cvtColor(plane, cv2.COLOR_RGB2BGR) if colour else plane
    return with_table(cv2.imencode(".jpg", shown, settings)[1].tobytes(), mcus)


def encode_png(pixels: NDArray[Any], level: int = 4) -> bytes:
    """Encode without loss.

    Args:
        pixels: (height, width, 3) RGB or (height, width, 1), uint8 or uint16.
        level: zlib's effort, 0 to 9.
    """
    import imagecodecs

    return bytes(imagecodecs.png_encode(_plane(pixels), level=level))


def encode_tiff(pixels: NDArray[np.float32]) -> bytes:
    """Encode measured values without loss, NaN included.

    Args:
        pixels: (height, width, 1) float32.
    """
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, _plane(pixels), compression="zlib", predictor=True)
    return file.getvalue()


def _plane(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def jpeg_without_metadata(data: bytes) -> bytes | None:
    """Return a JPEG without comments, EXIF and other application data; pixels stay the same.

    Returns:
        None when the file is not of the plainest form: then it has to be encoded anew.
    """
    kept, position = [data[:2]], 2
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker = data[position + 1]
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _START_OF_SCAN:
            # Inside a scan a 0xFF byte never stands before 0xD9, so this is its end.
            end = data.find(b"\xff\xd9", position + 2 + length) + 2
            return b"".join([*kept, data[position:]]) if end == len(data) else None
        if marker not in _METADATA:
            kept.append(data[position : position + 2 + length])
        position += 2 + length
    return None


_START_OF_SCAN = 0xDA
# All application data except JFIF's and Adobe's, which say how to read the colours; comments.
_METADATA = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
