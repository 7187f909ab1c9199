"""Make the encoded samples of one frame: decode, cut, encode."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from besana.images.bands import Encoded, encode_bands
from besana.images.camera import Camera
from besana.images.cut import Cutter
from besana.images.decode import probe
from besana.images.encode import jpeg_without_metadata
from besana.images.header import Limits
from besana.images.look import open_frame

# What came through `clean` is decoded whatever its size.
_ANY_SIZE = Limits(
    file_bytes=2**40,
    pixels=2**40,
    side_px=1,
    aspect=2.0**40,
    header_bytes=2**40,
    allow_missing_eoi=True,
)
# Maps of a whole 4K frame take 50 MB, so a worker keeps those of two frame sizes.
_CUTTERS = 2


@dataclass(frozen=True)
class EncodedSample:
    """One region of one frame as bytes.

    Attributes:
        region: Its name.
        encoded: Its picture.
        width_px: Columns.
        height_px: Rows.
        channels: Channels of all bands together.
    """

    region: str
    encoded: Encoded
    width_px: int
    height_px: int
    channels: int


def frame_samples(
    files: Mapping[str, bytes], camera: Camera, *, size_px: int, quality: int
) -> tuple[list[EncodedSample], float]:
    """Cut the regions of a frame and encode them.

    Args:
        files: Band to the bytes of its file, the main band first.
        camera: Lens, regions, scale and depth.
        size_px: Shorter side of a sample.
        quality: Of JPEG.

    Returns:
        The regions that the frame shows, and the seconds that decoding took.

    Raises:
        CorruptDataError: If the frame does not decode.
    """
    started = time.perf_counter()
    frame = open_frame(files, camera, _ANY_SIZE)
    decode_s = time.perf_counter() - started
    height, width = frame.pixels.shape[:2]
    cutter = _cutter(camera.model_dump_json(), (width, height), size_px)
    samples = []
    for sample in cutter.samples(frame.pixels):
        encoded = encode_bands(sample.pixels, frame.channels, quality=quality)
        if sample.is_untouched:
            encoded = _smaller(encoded, files)
        rows, columns, channels = sample.pixels.shape
        samples.append(EncodedSample(sample.region, encoded, columns, rows, channels))
    return samples, decode_s


@lru_cache(maxsize=_CUTTERS)
def _cutter(camera: str, frame_size_px: tuple[int, int], size_px: int) -> Cutter:
    return Cutter(Camera.model_validate_json(camera), frame_size_px, size_px)


def _smaller(encoded: Encoded, files: Mapping[str, bytes]) -> Encoded:
    """Return the file's own JPEG, without metadata, where it is not larger."""
    data = next(iter(files.values()))
    if len(files) > 1 or encoded.format != "jpeg":
        return encoded
    header = probe(data, _ANY_SIZE)
    if (header.format, header.channels, header.exif.orientation) != ("jpeg", 3, 1):
        return encoded
    own = jpeg_without_metadata(data)
    if own is None or len(own) > len(encoded.main):
        return encoded
    return Encoded(own, "jpeg", {})
