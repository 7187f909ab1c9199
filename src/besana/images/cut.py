"""Cut a camera's regions out of its frames: undistorted, masked, at working resolution."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.images.camera import Camera
from besana.images.regions import Box, Region

_REMAP_CHANNELS = 4  # OpenCV's limit
_VERSION = 1  # of what is done to pixels here and in `encode`; a change makes new recipes


def recipe(camera: Camera, size_px: int, quality: int) -> str:
    """Name what is done to a camera's frames: equal recipes give equal samples.

    Args:
        camera: Lens, regions, scale and depth count; name, files and times do not.
        size_px: Shorter side of a sample.
        quality: Of JPEG.
    """
    parts = camera.model_dump(
        mode="json", include={"lens", "regions", "grid", "scale", "depth_bits"}
    )
    parts["lens"].pop("file")
    text = json.dumps([_VERSION, size_px, quality, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Sample:
    """One region of one frame.

    Attributes:
        region: Its name.
        pixels: (height, width, channels), of the frame's type.
        is_untouched: Whether this is the frame itself, pixel by pixel.
    """

    region: str
    pixels: NDArray[Any]
    is_untouched: bool


class Cutter:
    """Cut the regions out of frames of one camera and size; maps are computed once.

    Args:
        camera: Lens and regions.
        frame_size_px: Width and height of the frames.
        size_px: Shorter side of a sample; smaller regions are never enlarged.
    """

    def __init__(self, camera: Camera, frame_size_px: tuple[int, int], size_px: int) -> None:
        self._camera = camera
        self._frame_size_px = frame_size_px
        self._size_px = size_px
        self._regions = [
            (region, None if region.is_box else ~region.mask())
            for region in camera.region_list(frame_size_px)
        ]
        straight = camera.lens.is_identity(frame_size_px)
        self._maps = {} if straight else {r.name: self._map(r.box) for r, _ in self._regions}

    def samples(self, pixels: NDArray[Any]) -> Iterator[Sample]:
        """Yield the regions that the frame shows at least in part.

        What lies outside the frame or outside a region's polygon is black.

        Args:
            pixels: (height, width, channels) uint8 or uint16 of the cutter's frame size.
        """
        for region, outside in self._regions:
            cut = self._cut(pixels, region)
            if cut is None:
                continue
            if outside is not None:
                cut = cut.copy()
                cut[outside] = 0
            small = resize(cut, self._size_px)
            yield Sample(region.name, small, small is pixels)

    def _cut(self, pixels: NDArray[Any], region: Region) -> NDArray[Any] | None:
        if not self._maps:
            return crop(pixels, region.box)
        maps = self._maps[region.name]
        return None if maps is None else _remap(pixels, maps)

    def _map(self, box: Box) -> tuple[NDArray[Any], NDArray[Any]] | None:
        import cv2

        x, y = self._camera.lens.region_map(box, self._frame_size_px)
        width, height = self._frame_size_px
        if not ((x > -1) & (x < width) & (y > -1) & (y < height)).any():
            return None
        return cv2.convertMaps(x, y, cv2.CV_16SC2)


def crop(pixels: NDArray[Any], box: Box) -> NDArray[Any] | None:
    """Return a box of a picture, black where it reaches outside; None if all of it does."""
    height, width = pixels.shape[:2]
    left, top = max(box.left, 0), max(box.top, 0)
    right, bottom = min(box.right, width), min(box.bottom, height)
    if left >= right or top >= bottom:
        return None
    if (left, top, right, bottom) == (0, 0, width, height) == tuple(box):
        return pixels
    inside = pixels[top:bottom, left:right]
    if (left, top, right, bottom) == tuple(box):
        return inside
    whole = np.zeros((box.height, box.width, pixels.shape[2]), dtype=pixels.dtype)
    whole[top - box.top : bottom - box.top, left - box.left : right - box.left] = inside
    return whole


def resize(pixels: NDArray[Any], short_side_px: int) -> NDArray[Any]:
    """Return pixels with the shorter side at most this long, averaged over area.

    Args:
        pixels: (height, width, channels).
        short_side_px: Shorter side of the result; smaller pictures are returned as they are.
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = short_side_px / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    parts = [
        cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA)
        for part in _by_channels(pixels)
    ]
    return _stack(parts)


def _remap(pixels: NDArray[Any], maps: Sequence[NDArray[Any]]) -> NDArray[Any]:
    import cv2

    parts = [
        cv2.remap(np.ascontiguousarray(part), maps[0], maps[1], cv2.INTER_LINEAR)
        for part in _by_channels(pixels)
    ]
    return _stack(parts)


def _stack(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Put channels together again; OpenCV drops the last dimension of single ones."""
    whole = [part if part.ndim == 3 else part[..., None] for part in parts]
    return whole[0] if len(whole) == 1 else np.concatenate(whole, axis=2)


def _by_channels(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for first in range(0, pixels.shape[2], _REMAP_CHANNELS):
        yield pixels[..., first : first + _REMAP_CHANNELS]
