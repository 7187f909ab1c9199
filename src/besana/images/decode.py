"""Turn the bytes of a picture into pixels: the one place where foreign bytes are decoded.

Conversions, the same in every stage and in serving:

- grey stays one channel; 1, 2 and 4-bit grey spreads over 0..255; palette becomes RGB;
- alpha is multiplied in (transparent pixels become black) and dropped;
- CMYK and YCCK become RGB by R = (255 - C)(255 - K) / 255;
- TIFF where 0 is white is inverted; 16-bit and float samples keep their type and values;
- EXIF orientation is applied once; only the first picture of a file is read.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.errors import CorruptDataError
from besana.images.header import Format, Header, Limits, probe, refusal

__all__ = ["Header", "Limits", "Picture", "decode", "probe"]

Pixels = NDArray[Any]
"""(height, width, channels) uint8, uint16 or float32; three channels are RGB."""

_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded picture, upright.

    Attributes:
        pixels: (height, width, channels) uint8, uint16 or float32; three channels are RGB.
        format: Format of the file.
        orientation: EXIF orientation that was applied, 1 to 8.
        frames: Pictures in the file; this is the first.
        flags: `exif_invalid`, `missing_eoi` and `multiple_frames` where they hold.
    """

    pixels: Pixels
    format: Format
    orientation: int
    frames: int
    flags: tuple[str, ...]


def decode(data: bytes, *, limits: Limits | None = None) -> Picture:
    """Decode the first picture of a file.

    Args:
        data: The whole file.
        limits: Bounds checked on the header before anything is decoded.

    Raises:
        CorruptDataError: With the reason: those of `probe`, and `missing_eoi`.
    """
    limits = limits or Limits()
    header = probe(data, limits)
    flags = list(header.flags)
    if header.frames > 1:
        flags.append("multiple_frames")
    if header.format == "jpeg":
        pixels, lacks_end = _decode_jpeg(data, header, limits)
        flags.extend(["missing_eoi"] * lacks_end)
    else:
        pixels = _DECODERS[header.format](data, header)
    pixels = _check(pixels, header)
    pixels = orient(pixels, header.exif.orientation)
    return Picture(pixels, header.format, header.exif.orientation, header.frames, tuple(flags))


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels upright as EXIF orientation 1 to 8 says."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _decode_jpeg(data: bytes, header: Header, limits: Limits) -> tuple[Pixels, bool]:
    colours = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(header.channels)
    if colours is None:
        raise refusal("unsupported_format", f"a JPEG of {header.channels} channels")
    problem = ""
    try:
        pixels = _jpeg_pixels(data, colours)
    except ValueError as error:
        problem = str(error)
    if not problem:
        return _without_black_plate(pixels, data) if colours == "CMYK" else pixels, False
    if "remature end" not in problem:
        raise refusal("damaged", problem)
    # Only the end mark may be missing: then the file with one is whole.
    try:
        pixels = _jpeg_pixels(data + _END_OF_IMAGE, colours)
    except ValueError:
        raise refusal("truncated", "a JPEG that ends before its last row") from None
    if not limits.allow_missing_eoi:
        hint = "All rows are there; accept such files with allow_missing_eoi = true."
        raise refusal("missing_eoi", "a JPEG without its end mark", hint)
    return _without_black_plate(pixels, data) if colours == "CMYK" else pixels, True


def _jpeg_pixels(data: bytes, colours: str) -> Pixels:
    import simplejpeg

    pixels: Pixels = simplejpeg.decode_jpeg(data, colours, strict=True)
    return pixels


def _without_black_plate(cmyk: Pixels, data: bytes) -> Pixels:
    ink = cmyk.astype(np.uint16)
    if b"Adobe" not in data[:65536]:  # Adobe writes CMYK inverted: 255 is no ink
        ink = 255 - ink
    return ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)


def _decode_png(data: bytes, header: Header) -> Pixels:
    if header.is_cut_short:
        raise refusal("damaged", "a PNG that ends before its last chunk")
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(
            data[end : end + 4], "big"
        ):
            raise refusal("damaged", "a PNG chunk does not match its checksum")
        if data[position + 4 : position + 8] == b"IEND":
            break
        position = end + 4
    return _codec_pixels(data, header)


def _decode_webp(data: bytes, header: Header) -> Pixels:
    if header.is_cut_short:
        raise refusal("truncated", "a WebP shorter than its header says")
    return _codec_pixels(data, header)


def _codec_pixels(data: bytes, header: Header) -> Pixels:
    import imagecodecs

    try:
        if header.format == "png":
            pixels: Pixels = imagecodecs.png_decode(data)
        else:
            pixels = imagecodecs.webp_decode(data, index=0)
    except (RuntimeError, ValueError) as error:
        raise refusal("damaged", f"{header.format}: {error}") from None
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return _without_alpha(pixels) if pixels.shape[2] in (2, 4) else pixels


def _without_alpha(pixels: Pixels) -> Pixels:
    """Multiply the last channel in and drop it."""
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    full = int(np.iinfo(pixels.dtype).max)
    if (alpha == full).all():
        return colour
    product = colour.astype(np.uint64) * alpha
    return ((product + full // 2) // full).astype(pixels.dtype)


def _decode_tiff(data: bytes, header: Header) -> Pixels:
    import logging

    import tifffile

    if header.is_cut_short:
        raise refusal("truncated", "a TIFF whose pixels lie beyond its end")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        with np.errstate(all="ignore"), tifffile.TiffFile(io.BytesIO(data), is_ome=False) as file:
            page = file.pages.first
            _check_segments(data, page)
            pixels = np.asarray(page.asarray(maxworkers=1))
            return _tiff_colours(pixels, page)
    except (CorruptDataError, MemoryError):
        raise
    except _TIFF_ERRORS as error:
        raise refusal("damaged", f"TIFF: {error}") from None


def _check_segments(data: bytes, page: Any) -> None:
    """Refuse codecs nobody needs, and JPEG strips that are larger than the page itself."""
    compression = int(page.compression)
    if compression not in _TIFF_COMPRESSIONS:
        raise refusal("unsupported_format", f"a TIFF of compression {compression}")
    if compression != _TIFF_JPEG:
        return
    page_limits = Limits(pixels=2 * (page.imagewidth + 256) * (page.imagelength + 256), side_px=1)
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if length:
            probe(data[start : start + length], page_limits)


def _tiff_colours(pixels: Pixels, page: Any) -> Pixels:
    photometric, planar = int(page.photometric), int(page.planarconfig or 1)
    if pixels.ndim == 3 and planar == 2 and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3:
        raise refusal("unsupported_format", f"a TIFF volume of shape {pixels.shape}")
    if pixels.dtype == np.bool_ or page.bitspersample == 1:
        pixels = (pixels != 0).astype(np.uint8) * np.uint8(255)
    if photometric == 0:  # white is zero
        pixels = ~pixels if pixels.dtype.kind == "u" else pixels
    elif photometric == 3:
        pixels = (page.colormap[:, pixels[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)
    elif photometric == 5 and pixels.shape[2] == 4 and pixels.dtype == np.uint8:
        pixels = _without_black_plate(255 - pixels, b"Adobe")
    if page.extrasamples and int(page.extrasamples[-1]) in (1, 2) and pixels.dtype.kind == "u":
        pixels = _without_alpha(pixels)
    return pixels


def _check(pixels: Pixels, header: Header) -> Pixels:
    if pixels.shape[:2] != (header.height_px, header.width_px):
        raise refusal(
            "damaged", f"{pixels.shape[1]} x {pixels.shape[0]} px decoded, header differs"
        )
    if pixels.dtype in (np.uint8, np.uint16, np.float32):
        return pixels
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    raise refusal("unsupported_format", f"samples of type {pixels.dtype}")


_TIFF_JPEG = 7
_TIFF_COMPRESSIONS = frozenset({1, 5, _TIFF_JPEG, 8, 32773, 32946, 50000})
# What tifffile and its codecs raise on broken files.
_TIFF_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    OSError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    ImportError,
    zlib.error,
)
_DECODERS = {"png": _decode_png, "webp": _decode_webp, "tiff": _decode_tiff}
