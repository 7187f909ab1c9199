"""Changes of a batch of pictures in torch, each sample by its own amount: CPU and GPU alike.

Pictures are (n, channels, height, width) float32 from 0 to `white`. Light and colour follow
torchvision's functional transforms, so that published settings mean the same here.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import torch
from torch.nn import functional

Images: TypeAlias = torch.Tensor
Amounts: TypeAlias = torch.Tensor

_GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601
_LEVELS = 256


def flip(images: Images, across: torch.Tensor, upside_down: torch.Tensor) -> Images:
    """Mirror some pictures left to right, some top to bottom; any dtype.

    Args:
        images: Pictures.
        across: (n,) bool, which are mirrored left to right.
        upside_down: (n,) bool, which are mirrored top to bottom.
    """
    images = torch.where(_wide(across), images.flip(3), images)
    return torch.where(_wide(upside_down), images.flip(2), images)


def turn(images: Images, quarters: torch.Tensor) -> Images:
    """Turn square pictures by quarters, counter-clockwise; any dtype.

    Args:
        images: Pictures as high as wide.
        quarters: (n,) whole number of quarter turns, 0 to 3.
    """
    for number in (1, 2, 3):
        turned = torch.rot90(images, number, (2, 3))
        images = torch.where(_wide(quarters == number), turned, images)
    return images


def brightness(images: Images, factors: Amounts, white: float) -> Images:
    """Multiply by a factor."""
    return (images * _wide(factors)).clamp_(0, white)


def contrast(images: Images, factors: Amounts, white: float) -> Images:
    """Move away from the mean grey of each picture, or towards it below 1."""
    mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True)
    return (images * _wide(factors)).add_(mean * (1 - _wide(factors))).clamp_(0, white)


def saturation(images: Images, factors: Amounts, white: float) -> Images:
    """Move away from the grey of each pixel, or towards it below 1; one band stays as it is."""
    if images.shape[1] != len(_GREY):
        return images
    grey = _grey(images).mul_(1 - _wide(factors))
    return (images * _wide(factors)).add_(grey).clamp_(0, white)


def hue(images: Images, shifts: Amounts, white: float) -> Images:
    """Turn colours around the circle of hues by a share of it; one band stays as it is.

    Args:
        images: Pictures.
        shifts: (n,) share of the full circle, -0.5 to 0.5.
        white: Largest value.
    """
    if images.shape[1] != len(_GREY):
        return images
    high, low = images.amax(1), images.amin(1)
    spread = high - low
    divisor = torch.where(spread == 0, torch.ones_like(spread), spread)
    red, green, blue = ((high - images[:, band]) / divisor for band in range(3))
    angle = torch.where(high == images[:, 1], 2 + red - blue, 4 + green - red)
    angle = torch.where(high == images[:, 0], blue - green, angle)
    sixth = torch.remainder(angle / 6 + 1 + shifts[:, None, None], 1.0) * 6
    # Band k of a colour with hue h is high - spread * clamp(min(j, 4 - j)) with j = (k + h) mod 6.
    offsets = torch.tensor([5.0, 3.0, 1.0], device=images.device)[None, :, None, None]
    place = (offsets + sixth[:, None]).remainder_(6.0)
    fall = torch.minimum(place, 4 - place).clamp_(0, 1)
    return fall.mul_(-spread[:, None]).add_(high[:, None]).clamp_(0, white)


def sharpness(images: Images, factors: Amounts, white: float) -> Images:
    """Move away from a smoothed picture, or towards it below 1; the border stays as it is."""
    if min(images.shape[2:]) <= 2:
        return images
    channels = images.shape[1]
    kernel = torch.ones((channels, 1, 3, 3), device=images.device) / 13
    kernel[:, :, 1, 1] *= 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(images, kernel, groups=channels)
    return smooth.lerp_(images, _wide(factors)).clamp_(0, white)


def posterise(images: Images, bits: Amounts, white: float) -> Images:
    """Keep only the upper bits of eight.

    Args:
        images: Pictures.
        bits: (n,) whole number of bits to keep, 1 to 8; 8 keeps pictures as they are.
        white: Largest value.
    """
    levels = _wide(2 ** bits.to(torch.float32))
    span = white + 1 if white > 1 else white
    coarse = torch.floor(images * (levels / span)).minimum(levels - 1) * (span / levels)
    return torch.where(_wide(bits >= 8), images, coarse)


def solarise(images: Images, thresholds: Amounts, white: float) -> Images:
    """Invert what is at or above a threshold."""
    return torch.where(images >= _wide(thresholds), white - images, images)


def stretch_contrast(images: Images, _: Amounts, white: float) -> Images:
    """Stretch each band from its darkest to its brightest value over the whole range."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = low == high
    scale = torch.where(flat, torch.ones_like(low), (high - low) / white)
    return torch.where(flat, images, ((images - low) / scale).clamp(0, white))


def equalise(images: Images, _: Amounts, white: float) -> Images:
    """Spread the values of each band evenly over 256 levels."""
    count, channels, height, width = images.shape
    values = (images * ((_LEVELS - 1) / white)).round().long().reshape(count * channels, -1)
    sums = torch.zeros((count * channels, _LEVELS), dtype=torch.long, device=images.device)
    sums.scatter_add_(1, values, torch.ones_like(values))
    running = sums.cumsum(1)
    last = sums.gather(1, values.amax(1, keepdim=True))
    step = (height * width - last).div(_LEVELS - 1, rounding_mode="floor")
    below = torch.cat([torch.zeros_like(step), running[:, :-1]], dim=1)
    table = (below + step // 2).div(step.clamp(min=1), rounding_mode="floor")
    table[:, 0] = 0
    unchanged = torch.arange(_LEVELS, device=images.device)
    table = torch.where(step == 0, unchanged, table.clamp(0, _LEVELS - 1))
    spread = table.gather(1, values).to(images.dtype) * (white / (_LEVELS - 1))
    return spread.reshape(images.shape)


def warp(images: Images, matrices: torch.Tensor) -> Images:
    """Move pixels by an affine map around the middle, interpolated; what comes in is black.

    Args:
        images: Pictures.
        matrices: (n, 2, 3), from (x, y) of the new picture to that of the old one, px from the
            middle.
    """
    height, width = images.shape[2:]
    half = torch.tensor([width / 2, height / 2], device=images.device)
    x = torch.arange(width, device=images.device) + 0.5 - half[0]
    y = torch.arange(height, device=images.device) + 0.5 - half[1]
    linear, shift = matrices[:, :, :2], matrices[:, None, None, :, 2]
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)
    grid = (torch.einsum("nij,hwj->nhwi", linear, places) + shift) / half
    return functional.grid_sample(images, grid, align_corners=False)


def erase(images: Images, boxes: torch.Tensor, fill: torch.Tensor) -> Images:
    """Cover one box of each picture.

    Args:
        images: Pictures.
        boxes: (n, 4) top, left, height and width, px; of height 0 for none.
        fill: (n, channels, 1, 1) or of a shape that spreads to it, the value to cover with.
    """
    return torch.where(inside(boxes, images.shape[2], images.shape[3]), fill, images)


def inside(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Tell which pixels lie in the boxes: (n, 1, height, width) bool."""
    top, left, tall, wide = (boxes[:, i, None] for i in range(4))
    rows = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    in_rows = (rows >= top) & (rows < top + tall)
    in_columns = (columns >= left) & (columns < left + wide)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def _wide(amounts: torch.Tensor) -> torch.Tensor:
    return amounts[:, None, None, None]


def _grey(images: Images) -> Images:
    if images.shape[1] != len(_GREY):
        return images
    red, green, blue = _GREY
    grey = images[:, 0:1] * red
    return grey.add_(images[:, 1:2], alpha=green).add_(images[:, 2:3], alpha=blue)


class Operation(Protocol):
    """One change of light or colour."""

    def __call__(self, images: Images, amounts: Amounts, white: float, /) -> Images:
        """Change pictures by an amount each."""


def on_colours(
    operation: Operation, images: Images, amounts: Amounts, white: float, *, grey_bands: bool
) -> Images:
    """Change the first three bands as a colour picture, and others as grey ones or not at all.

    Args:
        operation: What to do.
        images: (n, channels, height, width) float32.
        amounts: (n,) how much.
        white: Largest value.
        grey_bands: Whether bands beyond the first three change, each for itself. Without three
            bands all are grey, and change.
    """
    colours = len(_GREY) if images.shape[1] >= len(_GREY) else 0
    parts = [operation(images[:, :colours], amounts, white)] if colours else []
    further = images[:, colours:]
    if further.shape[1]:
        if grey_bands or not colours:
            bands = further.reshape(-1, 1, *images.shape[2:])
            each = amounts.repeat_interleave(further.shape[1], 0)
            further = operation(bands, each, white).reshape(further.shape)
        parts.append(further)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
