"""From a file to what a model takes: cut and scaled as `prepare` and the loader do.

Cut and encoded bit by bit as for training; a pixel may differ by one level where the loader
resizes with torch's kernel, which no server needs to have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.errors import CorruptDataError
from besana.images.camera import Camera
from besana.images.decode import decode
from besana.images.hashes import perceptual_hash
from besana.images.header import Limits, probe, refusal
from besana.images.look import open_frame
from besana.images.quality import LONG_SIDE_PX, measure, shrink
from besana.images.resize import resize_plainly
from besana.images.samples import EncodedSample, frame_samples

#: JPEG quality of a sample: what `prepare` uses unless told.
QUALITY = 90

# What came through `prepare` is decoded whatever its shape.
_ANY_SIZE = Limits(side_px=1, aspect=2.0**40, pixels=2**40, file_bytes=2**40)


@dataclass(frozen=True, eq=False)
class Prepared:
    """The regions of one frame, ready to be judged.

    Attributes:
        regions: Their names.
        images: (regions, size, size, channels) uint8.
        quality: Figures of the frame, as `clean` measures them; empty when nobody asked.
    """

    regions: list[str]
    images: NDArray[np.uint8]
    quality: dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a model takes.

    Attributes:
        sample_px: Shorter side of the samples it was trained on.
        size_px: Height and width of its input.
        channels: Bands of its input.
    """

    sample_px: int
    size_px: int
    channels: int


def prepare(
    files: Mapping[str, bytes],
    camera: Camera,
    wanted: Wanted,
    limits: Limits,
    *,
    with_quality: bool = False,
) -> Prepared:
    """Undistort a frame, cut its regions and scale them, as for training.

    A region is made into a JPEG in between, since that is what the model was trained on.

    Args:
        files: Band to the bytes of its file, the main band first.
        camera: Lens and regions; one without any gives the whole picture as one region.
        wanted: What the model takes.
        limits: What a file may be.
        with_quality: Measure the frame too.

    Raises:
        CorruptDataError: If a file is no picture, too large, or has other bands.
    """
    for data in files.values():
        probe(data, limits)
    samples, _ = frame_samples(files, camera, size_px=wanted.sample_px, quality=QUALITY)
    if not samples:
        raise refusal("no_region_inside", "a frame that shows no region of its camera")
    images = np.stack([sample_pixels(sample, wanted) for sample in samples])
    quality: dict[str, Any] = {}
    if with_quality:
        frame = open_frame(files, camera, limits)
        quality = _quality(frame.pixels[..., : next(iter(frame.channels.values()))])
    return Prepared([sample.region for sample in samples], images, quality)


def _quality(pixels: NDArray[Any]) -> dict[str, Any]:
    """Measure the main band of a frame as `clean` does."""
    small = shrink(pixels, LONG_SIDE_PX)
    figures = {name: _rounded(value) for name, value in vars(measure(small)).items()}
    return {**figures, "perceptual_hash": perceptual_hash(small)}


def sample_pixels(sample: EncodedSample, wanted: Wanted) -> NDArray[np.uint8]:
    """Decode and scale one region, (size, size, channels), as the loader does without torch.

    Raises:
        CorruptDataError: If it has other bands than the model takes.
    """
    target = (wanted.size_px, wanted.size_px)
    main = _decoded(sample.encoded.main, sample, target)
    bands = [decode(data, limits=_ANY_SIZE).pixels for data in sample.encoded.bands.values()]
    parts = [resize_plainly(_bytes(part), target).reshape(*target, -1) for part in (main, *bands)]
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    if whole.shape[2] == 1 and wanted.channels == 3:
        whole = np.repeat(whole, 3, axis=2)
    if whole.shape[2] != wanted.channels:
        raise CorruptDataError(
            f"The picture has {whole.shape[2]} bands, the model takes {wanted.channels}.",
            "Send one file a band.",
            "other_channels",
        )
    return np.ascontiguousarray(whole)


def _decoded(data: bytes, sample: EncodedSample, target: tuple[int, int]) -> NDArray[Any]:
    """Decode the first bands; a JPEG at the smallest scale that covers the target."""
    import simplejpeg

    if sample.encoded.format != "jpeg":
        return decode(data, limits=_ANY_SIZE).pixels
    height, width = sample.height_px, sample.width_px
    scale = max(n for n in (1, 2, 4, 8) if n == 1 or _covers(height, width, target, n))
    space = "GRAY" if simplejpeg.decode_jpeg_header(data)[2] == "Gray" else "RGB"
    least = (-(-height // scale), -(-width // scale)) if scale > 1 else (0, 0)
    pixels: NDArray[Any] = simplejpeg.decode_jpeg(
        data, space, min_height=least[0], min_width=least[1], min_factor=scale
    )
    return pixels


def _covers(height: int, width: int, target: tuple[int, int], scale: int) -> bool:
    return height >= target[0] * scale and width >= target[1] * scale


def _bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring 16-bit samples to 8, full scale to full scale."""
    import cv2

    if pixels.dtype == np.uint8:
        return pixels
    scaled: NDArray[np.uint8] = cv2.convertScaleAbs(pixels, alpha=1 / 257)  # type: ignore[assignment]
    return scaled.reshape(pixels.shape)


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
