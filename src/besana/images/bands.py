"""Make one array of a frame's bands, and encode it band by band for shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.images.decode import Limits, Picture, decode
from besana.images.encode import encode_jpeg, encode_png
from besana.images.header import refusal

MAIN_BAND = "rgb"
"""The band that always has three channels: grey pictures repeat theirs."""

MOST_CHANNELS = 16


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, upright, all bands together.

    Attributes:
        pixels: (height, width, channels) uint8 or uint16, bands in their order.
        channels: Band to its number of channels, in the order of the bands.
        flags: What was odd about the files, as `decode` tells.
    """

    pixels: NDArray[Any]
    channels: dict[str, int]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Encoded:
    """A sample's picture as bytes.

    Attributes:
        main: JPEG or PNG of the first one or three channels.
        format: `jpeg` or `png`, of `main`.
        bands: Further channels as PNG by name, in their order.
    """

    main: bytes
    format: str
    bands: dict[str, bytes]


def decode_frame(
    files: Mapping[str, bytes],
    *,
    scale: Sequence[float] = (),
    depth_bits: int = 8,
    limits: Limits | None = None,
) -> Frame:
    """Decode the files of a frame and stack their channels.

    Args:
        files: Band to the bytes of its file, the main band first.
        scale: The two values that mean black and white in 16-bit and float files; without them
            such files are refused.
        depth_bits: 8 or 16 bits a sample in the result.
        limits: Bounds for each file.

    Raises:
        CorruptDataError: With the reasons of `decode`, and `needs_scale`, `band_sizes_differ`,
            `too_many_bands`.
    """
    pictures = {band: decode(data, limits=limits) for band, data in files.items()}
    pixels = [
        to_depth(as_band(band, picture), scale, depth_bits) for band, picture in pictures.items()
    ]
    sizes = {f"{part.shape[1]} x {part.shape[0]}" for part in pixels}
    if len(sizes) > 1:
        raise refusal("band_sizes_differ", f"bands of {', '.join(sorted(sizes))} px")
    channels = {band: part.shape[2] for band, part in zip(pictures, pixels, strict=True)}
    if sum(channels.values()) > MOST_CHANNELS:
        raise refusal("too_many_bands", f"{sum(channels.values())} channels")
    flags = sorted({flag for picture in pictures.values() for flag in picture.flags})
    fused = pixels[0] if len(pixels) == 1 else np.concatenate(pixels, axis=2)
    return Frame(fused, channels, tuple(flags))


def as_band(band: str, picture: Picture) -> NDArray[Any]:
    """Return a picture's pixels with the channels that its band must have."""
    if band == MAIN_BAND and picture.pixels.shape[2] == 1:
        return np.repeat(picture.pixels, 3, axis=2)
    return picture.pixels


def to_depth(
    pixels: NDArray[Any], scale: Sequence[float] = (), depth_bits: int = 8
) -> NDArray[Any]:
    """Return pixels as uint8 or uint16.

    8-bit samples become 16-bit ones times 257. Deeper samples go linearly from `scale` to the
    whole range, clipped; NaN becomes the darkest value.

    Args:
        pixels: (height, width, channels) uint8, uint16 or float32.
        scale: The two values that mean black and white.
        depth_bits: 8 or 16.

    Raises:
        CorruptDataError: With reason `needs_scale` for deep samples without a scale.
    """
    if pixels.dtype == np.uint8:
        return pixels if depth_bits == 8 else pixels.astype(np.uint16) * np.uint16(257)
    if len(scale) != 2:
        raise refusal(
            "needs_scale",
            f"{pixels.dtype} samples",
            "Say what is black and white: scale = [low, high] in the camera's table.",
        )
    low, high = scale
    white = 2**depth_bits - 1
    if pixels.dtype == np.uint16 and depth_bits == 16 and (low, high) == (0, white):
        return pixels
    stretched = (pixels.astype(np.float32) - np.float32(low)) * np.float32(white / (high - low))
    stretched = np.clip(np.nan_to_num(stretched, nan=0.0), 0, white)
    return np.asarray((stretched + 0.5).astype(np.uint8 if depth_bits == 8 else np.uint16))


def encode_bands(
    pixels: NDArray[Any], channels: Mapping[str, int], *, quality: int = 90
) -> Encoded:
    """Encode a sample: a JPEG where one is fit, every further band without loss.

    The main part is a JPEG when the first band has three 8-bit channels, or is the only channel;
    else it is the PNG of the first band's first channel (first three of three or more). Each
    further channel is a PNG of its own, named `<band>` or `<band>.<number>`.

    Args:
        pixels: (height, width, channels) uint8 or uint16.
        channels: Band to its number of channels, in the order of the pixels.
        quality: Of the JPEG.
    """
    first = next(iter(channels.values()))
    main_channels = 3 if first >= 3 else 1
    main = pixels[..., :main_channels]
    fits_jpeg = pixels.dtype == np.uint8 and first == main_channels
    names = [
        band if count == 1 else f"{band}.{number}"
        for band, count in channels.items()
        for number in range(count)
    ]
    rest = {
        names[channel]: encode_png(pixels[..., channel : channel + 1])
        for channel in range(main_channels, pixels.shape[2])
    }
    if fits_jpeg:
        return Encoded(encode_jpeg(main, quality), "jpeg", rest)
    return Encoded(encode_png(main), "png", rest)
