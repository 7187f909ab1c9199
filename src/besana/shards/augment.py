"""Random changes of training pictures, drawn from a counter: the same for any threads or ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from besana.errors import ConfigError
from besana.shards.order import hashes, key_of

Fit = Literal["stretch", "crop"]
Floats = npt.NDArray[np.float64]

_ATTEMPTS = 10
_AREA, _RATIO, _TOP, _LEFT, _FLIP, _UPEND, _TURN, _COLOUR = range(1, 9)


@dataclass(frozen=True, slots=True)
class Augment:
    """Say how training pictures vary; the defaults suit a fixed camera seen from above.

    Attributes:
        crop_area_share: Smallest and largest share of the picture's area that a crop keeps.
        crop_ratio: Narrowest and widest crop, as width to height relative to the whole view.
        flip_horizontal_share: Share of pictures mirrored left to right.
        flip_vertical_share: Share of pictures mirrored top to bottom.
        quarter_turns: Whether pictures turn by 0, 90, 180 or 270 degrees (drone tiles).
        brightness: Largest relative change of brightness, 0 for none.
        contrast: Largest relative change of contrast, 0 for none.
        saturation: Largest relative change of saturation, 0 for none; the first three channels.
    """

    crop_area_share: tuple[float, float] = (0.35, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_horizontal_share: float = 0.5
    flip_vertical_share: float = 0.0
    quarter_turns: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_area_share
        if not 0 < low <= high <= 1:
            raise ConfigError(f"crop_area_share {low}, {high} is not within 0 to 1.")
        low, high = self.crop_ratio
        if not 0 < low <= high:
            raise ConfigError(f"crop_ratio {low}, {high} is not above 0 and rising.")
        for name in (
            "flip_horizontal_share",
            "flip_vertical_share",
            "brightness",
            "contrast",
            "saturation",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)} is not within 0 to 1.")


class Changes(NamedTuple):
    """What happens to each picture of a batch.

    Attributes:
        box: (samples, 4) float, top, left, height, width of the crop as shares of the picture.
        flip: Mirrored left to right.
        upend: Mirrored top to bottom.
        turns: Quarter turns, counter-clockwise.
        colour: (samples, 3) float, factors of brightness, contrast and saturation; None for none.
    """

    box: Floats
    flip: npt.NDArray[np.bool_]
    upend: npt.NDArray[np.bool_]
    turns: npt.NDArray[np.int64]
    colour: Floats | None


def draw_changes(
    augment: Augment | None,
    samples: npt.NDArray[np.int64],
    epochs: npt.NDArray[np.int64],
    relative: Floats,
    seed: int,
) -> Changes:
    """Draw the changes of some samples: a pure function of (seed, epoch, sample, operation).

    Args:
        augment: What may vary; None for the whole picture as it is.
        samples: Number of each sample.
        epochs: Epoch that each sample is used in.
        relative: Width to height of each picture relative to that of the target, where shapes
            are kept and what does not fit is cut; 1 where pictures are squeezed to the target.
        seed: Seed of the training.
    """
    count = len(samples)
    if augment is None:
        still = np.zeros(count, np.bool_)
        return Changes(central_boxes(relative), still, still, np.zeros(count, np.int64), None)
    draw = Draw(samples, epochs, seed)
    jitter = np.array([augment.brightness, augment.contrast, augment.saturation])
    return Changes(
        box=_random_boxes(augment, relative, draw),
        flip=draw.uniform(_FLIP) < augment.flip_horizontal_share,
        upend=draw.uniform(_UPEND) < augment.flip_vertical_share,
        turns=(draw.uniform(_TURN) * 4).astype(np.int64) * augment.quarter_turns,
        colour=1 + jitter * (2 * draw.table(_COLOUR, 3) - 1) if jitter.any() else None,
    )


class Draw:
    """Draw numbers that depend on seed, epoch, sample and operation alone."""

    def __init__(
        self, samples: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64], seed: int
    ) -> None:
        self._samples = samples.astype(np.uint64)
        self._epochs, self._which = np.unique(epochs, return_inverse=True)
        self._seed = seed

    def table(self, operation: int, draws: int) -> Floats:
        """Draw (samples, draws) numbers, uniform from 0 to below 1."""
        keys = [key_of(self._seed, epoch, operation) for epoch in self._epochs.tolist()]
        key = np.array(keys, np.uint64)[self._which]
        counters = self._samples[:, None] * np.uint64(draws) + np.arange(draws, dtype=np.uint64)
        bits = hashes(key[:, None], counters) >> np.uint64(11)
        return bits.astype(np.float64) * 2.0**-53

    def uniform(self, operation: int) -> Floats:
        """Draw one number a sample."""
        return self.table(operation, 1)[:, 0]


def _random_boxes(augment: Augment, relative: Floats, draw: Draw) -> Floats:
    """Draw boxes by Szegedy et al. (2015): area and ratio at random, tried again until it fits."""
    low, high = augment.crop_area_share
    area = low + (high - low) * draw.table(_AREA, _ATTEMPTS)
    log_low, log_high = np.log(augment.crop_ratio)
    ratio = np.exp(log_low + (log_high - log_low) * draw.table(_RATIO, _ATTEMPTS))
    ratio = ratio / relative[:, None]
    width, height = np.sqrt(area * ratio), np.sqrt(area / ratio)
    fits = (width <= 1) & (height <= 1)
    first = np.argmax(fits, axis=1)
    rows = np.arange(len(relative))
    width, height = width[rows, first], height[rows, first]
    top = (1 - height) * draw.uniform(_TOP)
    left = (1 - width) * draw.uniform(_LEFT)
    boxes = np.stack([top, left, height, width], axis=1)
    return np.where(fits.any(axis=1)[:, None], boxes, central_boxes(relative))


def smallest_crop(augment: Augment | None, relative: Floats) -> tuple[Floats, Floats]:
    """Bound the height and width of crops from below, as shares of each picture."""
    centre = central_boxes(relative)
    if augment is None:
        return centre[:, 2], centre[:, 3]
    low, high = augment.crop_ratio
    area = augment.crop_area_share[0] * 0.999  # for rounding
    height = np.minimum(np.sqrt(area * relative / high), centre[:, 2])
    return height, np.minimum(np.sqrt(area * low / relative), centre[:, 3])


def central_boxes(relative: Floats) -> Floats:
    """Take the largest box in the middle with the target's shape."""
    width, height = np.minimum(1 / relative, 1), np.minimum(relative, 1)
    return np.stack([(1 - height) / 2, (1 - width) / 2, height, width], axis=1)
