"""The pictures that every contender reads: synthetic photographs and real ones, several sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Pixels = np.ndarray[Any, Any]

QUALITY = 90


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one size.

    Attributes:
        height: Rows.
        width: Columns.
        count: How many.
        is_real: Cut from the photographs of BESANA_DATA, or ../shared/data beside the repository.
    """

    height: int
    width: int
    count: int
    is_real: bool


SETS = {
    "500x375": PictureSet(375, 500, 2000, is_real=False),
    "500x375-real": PictureSet(375, 500, 2000, is_real=True),
    "1920x1080": PictureSet(1080, 1920, 400, is_real=False),
    "1280x960-real": PictureSet(960, 1280, 480, is_real=True),
    "455x256": PictureSet(256, 455, 2000, is_real=False),
}
"""`455x256` are the frames of `1920x1080` at the working resolution of `besana pack`."""


def pictures(chosen: PictureSet) -> Iterator[Pixels]:
    """Give the pictures of a set, (height, width, 3) uint8, RGB."""
    source = _photographs() if chosen.is_real else _synthetic()
    draw = np.random.default_rng(chosen.height)
    for number in range(chosen.count):
        pixels = source[number * 7 % len(source)]
        if (chosen.height, chosen.width) == (256, 455):
            pixels = cv2.resize(pixels[:1080, :1920], (455, 256), interpolation=cv2.INTER_AREA)
        yield _view(pixels, chosen.height, chosen.width, draw)


def _view(pixels: Pixels, height: int, width: int, draw: np.random.Generator) -> Pixels:
    """Cut a window of the right shape somewhere, as large as it needs to be, maybe mirrored."""
    largest = min(pixels.shape[0] / height, pixels.shape[1] / width)
    share = draw.uniform(min(max(0.7 * largest, 1.0), largest), largest)
    tall, wide = int(height * share), int(width * share)
    top = int(draw.integers(pixels.shape[0] - tall + 1))
    left = int(draw.integers(pixels.shape[1] - wide + 1))
    view = pixels[top : top + tall, left : left + wide]
    if draw.uniform() < 0.5:
        view = view[:, ::-1]
    if view.shape[:2] != (height, width):
        view = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(view)


def photographs_folder() -> Path | None:
    """Find the real photographs."""
    beside = Path(__file__).parents[3] / "shared/data"
    folder = Path(os.environ.get("BESANA_DATA", beside)) / "barn/frames"
    return folder if folder.is_dir() else None


def _photographs() -> list[Pixels]:
    folder = photographs_folder()
    if folder is None:
        raise SystemExit("No photographs in BESANA_DATA or ../shared/data: take other --sets.")
    return [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in sorted(folder.glob("*/*.jpg"))]


def _synthetic() -> list[Pixels]:
    draw = np.random.default_rng(0)
    return [_like_a_photograph(draw, 1200, 2048) for _ in range(16)]


def _like_a_photograph(draw: np.random.Generator, height: int, width: int) -> Pixels:
    """Make noise whose spectrum falls as that of photographs does (Field, 1987)."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 1 / width) ** 1.35
    bands = [
        np.fft.irfft2(np.fft.rfft2(draw.normal(size=(height, width))) * falloff) for _ in range(3)
    ]
    pixels = np.stack([bands[0], bands[0] + 0.3 * bands[1], bands[0] + 0.3 * bands[2]], axis=2)
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std()
    return np.clip(pixels, 0, 255).astype(np.uint8)
