"""Mix pictures of a batch in pairs: mixup and cutmix, the same for any number of ranks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from besana.shards.augment import Floats
from besana.shards.batch_operations import inside

_STEPS = 1 << 14


class Mixing(NamedTuple):
    """With what and how each picture of a batch is mixed.

    Attributes:
        partner: Place of the other picture in the batch; its own for none.
        kept: Share of the picture itself in the targets.
        blend: Share of the picture itself in every pixel; 1 where a box is pasted.
        boxes: (samples, 4) top, left, height, width, px, of what is pasted from the partner.
    """

    partner: npt.NDArray[np.int64]
    kept: Floats
    blend: Floats
    boxes: npt.NDArray[np.int64]


def draw_mixing(
    table: Floats,
    valid: npt.NDArray[np.bool_],
    size: tuple[int, int],
    *,
    alphas: tuple[float, float],
    share: float,
    stride: int,
) -> Mixing:
    """Draw pairs and shares.

    A partner lies a whole number of strides further in the rank's batch. With a stride of
    `mix_ranks / ranks`, that is the same sample of the global batch on any number of ranks,
    because each rank takes every `ranks`-th one.

    Args:
        table: (samples, 6) uniform draws.
        valid: Which samples are there; padding is not mixed.
        size: Height and width of the pictures, px.
        alphas: Of mixup and cutmix; 0 for never.
        share: Share of pictures that are mixed.
        stride: Distance of possible partners in the batch.
    """
    count = len(table)
    steps = count // stride
    partner = np.arange(count) + stride * (1 + (table[:, 0] * (steps - 1)).astype(np.int64))
    partner %= count
    mixed = (table[:, 1] < share) & valid & valid[partner]
    pasted = table[:, 2] < (0.5 if all(alphas) else float(alphas[1] > 0))
    kept = np.ones(count)
    for alpha, chosen in zip(alphas, (mixed & ~pasted, mixed & pasted), strict=True):
        if alpha:
            kept[chosen] = beta_quantile(table[chosen, 3], alpha)
    boxes = _boxes(np.where(mixed & pasted, kept, 1.0), table[:, 4:6], size)
    covered = boxes[:, 2] * boxes[:, 3] / (size[0] * size[1])
    blend = np.where(pasted, 1.0, kept)
    kept = np.where(pasted, 1 - covered, kept)
    return Mixing(np.where(mixed, partner, np.arange(count)), kept, blend, boxes)


def mix_images(images: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    """Mix (n, channels, height, width) float32 pictures."""
    device = images.device
    other = images[torch.from_numpy(mixing.partner).to(device)]
    blend = torch.from_numpy(mixing.blend).to(images)[:, None, None, None]
    boxes = torch.from_numpy(mixing.boxes).to(device)
    blended = torch.lerp(other, images, blend)
    return torch.where(inside(boxes, images.shape[2], images.shape[3]), other, blended)


def mix_targets(targets: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    """Mix (n, classes) shares of classes."""
    other = targets[torch.from_numpy(mixing.partner).to(targets.device)]
    kept = torch.from_numpy(mixing.kept).to(targets)[:, None]
    return torch.lerp(other, targets, kept)


def _boxes(kept: Floats, middle: Floats, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Place boxes with the shape of the picture and the area that is not kept, cut at its edges."""
    sides = np.array(size)
    half = (0.5 * np.sqrt(1 - kept)[:, None] * sides).astype(np.int64)
    centre = (middle * sides).astype(np.int64)
    start = np.maximum(centre - half, 0)
    stop = np.minimum(centre + half, sides)
    return np.concatenate([start, stop - start], axis=1)


def beta_quantile(uniform: Floats, alpha: float) -> Floats:
    """Turn uniform draws into draws of Beta(alpha, alpha).

    >>> beta_quantile(np.array([0.25, 0.5, 0.9]), 1.0).round(3).tolist()
    [0.25, 0.5, 0.9]
    """
    places, running = _half_beta(alpha)
    low = np.minimum(uniform, 1 - uniform)
    value = np.interp(low, running, places) ** (1 / alpha)
    return np.where(uniform <= 0.5, value, 1 - value)


@lru_cache(maxsize=8)
def _half_beta(alpha: float) -> tuple[Floats, Floats]:
    """Tabulate the distribution up to one half, in s = x**alpha, where its density is smooth."""
    places = np.linspace(0, 0.5**alpha, _STEPS + 1)
    density = (1 - places ** (1 / alpha)) ** (alpha - 1)
    running = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return places, running / running[-1] / 2
