"""A policy after RandAugment (Cubuk et al., 2020): each picture draws some operations.

The fourteen operations and their ranges are those of torchvision, but shears go through the
middle of the picture, and what moves is interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from besana.shards import batch_operations as operations
from besana.shards.augment import Floats
from besana.shards.batch_operations import Images, Operation

_FURTHEST = 150 / 331  # of the side, as in the paper: 150 px of 331
_SHEAR, _TURN_DEGREES, _LIGHT, _BITS = 0.3, 30.0, 0.9, 4


def _factor(amounts: Floats, _: float) -> Floats:
    return 1 + _LIGHT * amounts


def _bits(amounts: Floats, _: float) -> Floats:
    bits: Floats = 8 - np.rint(np.abs(amounts) * _BITS)
    return bits


def _threshold(amounts: Floats, white: float) -> Floats:
    return white * (1 - np.abs(amounts))


def _none(amounts: Floats, _: float) -> Floats:
    return amounts


LIGHTS: dict[str, tuple[Operation, Callable[[Floats, float], Floats]]] = {
    "brightness": (operations.brightness, _factor),
    "saturation": (operations.saturation, _factor),
    "contrast": (operations.contrast, _factor),
    "sharpness": (operations.sharpness, _factor),
    "posterise": (operations.posterise, _bits),
    "solarise": (operations.solarise, _threshold),
    "stretch_contrast": (operations.stretch_contrast, _none),
    "equalise": (operations.equalise, _none),
}
"""Operations on values, and what turns a signed strength of -1 to 1 into their amount."""

MOVES = ("shear_x", "shear_y", "shift_x", "shift_y", "turn")
"""Operations that move pixels."""

NAMES = ("nothing", *MOVES, *LIGHTS)
"""All operations, in the order of their draws: changing it changes every training."""


def apply_policy(
    images: Images, table: Floats, strength: float, white: float, *, grey_bands: bool
) -> Images:
    """Let each picture draw operations and apply them one after the other.

    Args:
        images: (n, channels, height, width) float32.
        table: (n, 2 steps) uniform draws: an operation and a sign for each step.
        strength: How strong the operations are, 0 to 1.
        white: Largest value.
        grey_bands: Whether values of bands beyond the first three change too.
    """
    for step in range(0, table.shape[1], 2):
        drawn = (table[:, step] * len(NAMES)).astype(np.int64)
        signed = strength * np.where(table[:, step + 1] < 0.5, -1.0, 1.0)
        images = apply_drawn(images, drawn, signed, white, grey_bands=grey_bands)
    return images


def apply_drawn(
    images: Images,
    drawn: npt.NDArray[np.int64],
    signed: Floats,
    white: float,
    *,
    grey_bands: bool,
) -> Images:
    """Apply one operation to each picture.

    Args:
        images: (n, channels, height, width) float32.
        drawn: (n,) place of each picture's operation in `NAMES`.
        signed: (n,) how strong, -1 to 1.
        white: Largest value.
        grey_bands: Whether values of bands beyond the first three change too.
    """
    images = images.clone()
    height, width = images.shape[2:]
    moving = np.flatnonzero((drawn > 0) & (drawn <= len(MOVES)))
    if len(moving):
        matrices = np.stack(
            [_matrix(NAMES[drawn[i]], float(signed[i]), height, width) for i in moving]
        )
        rows = torch.from_numpy(moving).to(images.device)
        images[rows] = operations.warp(images[rows], torch.from_numpy(matrices).to(images))
    for name, (operation, amount) in LIGHTS.items():
        chosen = np.flatnonzero(drawn == NAMES.index(name))
        if len(chosen):
            rows = torch.from_numpy(chosen).to(images.device)
            amounts = torch.from_numpy(amount(signed[chosen], white)).to(images)
            images[rows] = operations.on_colours(
                operation, images[rows], amounts, white, grey_bands=grey_bands
            )
    return images


def _matrix(name: str, signed: float, height: int, width: int) -> npt.NDArray[np.float64]:
    """Give the map from the new picture's (x, y) to the old one's, px from the middle."""
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    if name == "shear_x":
        matrix[0, 1] = signed * _SHEAR
    elif name == "shear_y":
        matrix[1, 0] = signed * _SHEAR
    elif name == "shift_x":
        matrix[0, 2] = -int(signed * _FURTHEST * width)
    elif name == "shift_y":
        matrix[1, 2] = -int(signed * _FURTHEST * height)
    else:
        angle = math.radians(signed * _TURN_DEGREES)
        matrix[:, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return matrix
