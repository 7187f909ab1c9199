"""Coats of cows: every cow of the herd has her own, by day in colour and at night in infrared."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from besana.simulation.body import MUZZLE, UDDER
from besana.simulation.shape import Place, Shape, render_shape
from besana.simulation.view import View

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
STREAM_COAT = 21
COAT_PX_PER_M = 56.0
# A coat covers 2 m behind and ahead of the body's middle and 1.5 m to each side.
COAT_REACH_M = (2.0, 1.5)
# RGB by day and brightness in infrared of dark and light hair for each breed in the herd.
BREEDS: tuple[tuple[tuple[int, int, int], tuple[int, int, int], int, int], ...] = (
    ((38, 34, 33), (226, 220, 208), 92, 186),  # black and white
    ((112, 58, 34), (232, 222, 204), 128, 190),  # red and white
    ((128, 98, 70), (190, 164, 130), 138, 168),  # brown
)
MUZZLE_RGB, UDDER_RGB, BARE_SKIN_INFRARED = (178, 138, 124), (206, 158, 142), 150


@dataclass(frozen=True, slots=True)
class Coat:
    """One cow's looks.

    Attributes:
        day: (height, width, 3) uint8, RGB, head to the right.
        infrared: (height, width, 3) uint8, grey in three equal channels.
        scale: Size of the body, 1 for the middle of the herd.
    """

    day: Pixels
    infrared: Pixels
    scale: float


def _patches(rng: np.random.Generator, shape: tuple[int, int], light_share: float) -> Floats:
    """Return a smooth-edged pattern, 1 where the hair is light."""
    coarse = rng.normal(size=(9, 12)).astype(np.float32)
    fine = rng.normal(size=(27, 36)).astype(np.float32)
    size = (shape[1], shape[0])
    hills = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    noise = np.asarray(hills) + 0.3 * cv2.resize(fine, size, interpolation=cv2.INTER_CUBIC)
    edge = np.quantile(noise, 1 - light_share)
    return np.asarray(np.clip((noise - edge) * 6 + 0.5, 0, 1), np.float32)


@functools.lru_cache(maxsize=64)
def grow_coat(seed: int, cow: int) -> Coat:
    """Return the coat of one cow of a herd.

    Args:
        seed: The simulation's seed.
        cow: Number of the cow.
    """
    rng = np.random.default_rng([seed, STREAM_COAT, cow])
    dark, light, dark_ir, light_ir = BREEDS[int(rng.choice(3, p=(0.66, 0.22, 0.12)))]
    width, height = (round(2 * reach * COAT_PX_PER_M) for reach in COAT_REACH_M)
    pattern = _patches(rng, (height, width), float(rng.uniform(0.12, 0.72)))
    fur = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.2)
    fur = 1 + 0.12 * fur[..., None]
    mix = pattern[..., None]
    day = (np.array(dark) * (1 - mix) + np.array(light) * mix) * fur
    grey = (dark_ir * (1 - mix) + light_ir * mix) * (1 + (fur - 1) * 0.6)
    return Coat(
        np.clip(day, 0, 255).astype(np.uint8),
        np.clip(np.repeat(grey, 3, axis=2), 0, 255).astype(np.uint8),
        float(np.clip(rng.normal(1.0, 0.04), 0.92, 1.07)),
    )


@functools.lru_cache(maxsize=96)
def dress(
    seed: int, cow: int, view: View, state: str, pose: int, place: Place, infrared: bool
) -> tuple[Pixels, Shape]:
    """Return a cow with her coat and her shadow, ready to be laid over the floor.

    Returns:
        (height, width, 4) uint8: RGB times opacity, and opacity; and the shape it was made from.
    """
    shape = render_shape(view, state, pose, place)
    coat = grow_coat(seed, cow)
    skin = cv2.remap(
        coat.infrared if infrared else coat.day,
        (shape.along_m + COAT_REACH_M[0]) * COAT_PX_PER_M,
        (shape.across_m + COAT_REACH_M[1]) * COAT_PX_PER_M,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    for kind, colour in ((MUZZLE, MUZZLE_RGB), (UDDER, UDDER_RGB)):
        skin[shape.kind == kind] = BARE_SKIN_INFRARED if infrared else colour
    light = shape.glow if infrared else shape.light
    colours = cv2.split(cv2.multiply(skin, light, scale=1 / 200))
    cover = shape.cover_night if infrared else shape.cover
    return np.asarray(cv2.merge([*colours, cover])), shape
