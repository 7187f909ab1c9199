"""Random changes of whole batches, on the CPU or GPU that learns from them.

What happens to a sample is drawn from (seed, epoch, sample, operation), as its crop is: there is
no generator whose state could be lost, and threads, ranks and devices draw the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from besana.errors import ConfigError
from besana.shards import batch_operations as operations
from besana.shards.augment import Draw, Floats
from besana.shards.batch_mixing import Mixing, draw_mixing, mix_images, mix_targets
from besana.shards.batch_policy import apply_policy
from besana.shards.jobs import Batch

_COLOURS = 3
_FLIP, _UPEND, _TURN, _LIGHT, _ERASE, _POLICY, _MIX = range(20, 27)
_ATTEMPTS = 10
_SHARES = (
    "flip_horizontal_share",
    "flip_vertical_share",
    "brightness",
    "contrast",
    "saturation",
    "policy_strength",
    "erase_share",
    "mix_share",
)


@dataclass(frozen=True, slots=True)
class BatchAugment:
    """Say how batches vary, beyond the crop that the loader makes; nothing varies by default.

    Attributes:
        flip_horizontal_share: Share of pictures mirrored left to right.
        flip_vertical_share: Share of pictures mirrored top to bottom.
        quarter_turns: Whether pictures turn by 0, 90, 180 or 270 degrees (drone tiles).
        brightness: Largest relative change of brightness, 0 for none.
        contrast: Largest relative change of contrast, 0 for none.
        saturation: Largest relative change of saturation, 0 for none.
        hue: Largest turn of the colours, as a share of the circle of hues, at most 0.5.
        policy_steps: Operations drawn at random for each picture, one after the other; 0 for
            none, 2 as in RandAugment (Cubuk et al., 2020).
        policy_strength: How strong they are, 0 to 1; RandAugment's magnitude 9 of 30 is 0.3.
        erase_share: Share of pictures of which one box is covered (Zhong et al., 2017).
        erase_area_share: Smallest and largest share of the picture's area that is covered.
        erase_ratio: Lowest and highest box, as height to width.
        erase_fill: What covers: `black`, or the `mean` of each band of the picture.
        mixup_alpha: Blend pairs of pictures by a share drawn from Beta(alpha, alpha); 0 for
            never (Zhang et al., 2018).
        cutmix_alpha: Paste a box of one picture into another, of an area drawn from
            Beta(alpha, alpha); 0 for never (Yun et al., 2019). With both, each picture draws one.
        mix_share: Share of pictures that are mixed.
        mix_ranks: Pictures are paired so that 1 rank and any number that divides this one give
            the same batches; `batch_size` must be a multiple of twice this number.
        further_bands: What light and colour do to bands beyond the first three: `leave` them, or
            treat each as a `grey` picture of its own. Moves and boxes change all bands.
    """

    flip_horizontal_share: float = 0.0
    flip_vertical_share: float = 0.0
    quarter_turns: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    policy_steps: int = 0
    policy_strength: float = 0.3
    erase_share: float = 0.0
    erase_area_share: tuple[float, float] = (0.02, 0.33)
    erase_ratio: tuple[float, float] = (0.3, 3.3)
    erase_fill: Literal["black", "mean"] = "black"
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_share: float = 1.0
    mix_ranks: int = 8
    further_bands: Literal["leave", "grey"] = "leave"

    def __post_init__(self) -> None:
        for name in _SHARES:
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "within 0 to 1")
        _check("hue", self.hue, 0 <= self.hue <= 0.5, "within 0 to 0.5")
        low, high = self.erase_area_share
        _check("erase_area_share", (low, high), 0 < low <= high <= 1, "rising within 0 to 1")
        low, high = self.erase_ratio
        _check("erase_ratio", (low, high), 0 < low <= high, "above 0 and rising")
        for name in ("mixup_alpha", "cutmix_alpha", "policy_steps"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or above")
        _check("mix_ranks", self.mix_ranks, self.mix_ranks >= 1, "1 or above")
        _check("erase_fill", self.erase_fill, self.erase_fill in ("black", "mean"), "known")
        known = self.further_bands in ("leave", "grey")
        _check("further_bands", self.further_bands, known, "known")

    @property
    def mixes(self) -> bool:
        """Tell whether pictures are mixed with each other."""
        return bool(self.mixup_alpha or self.cutmix_alpha)

    def apply(
        self,
        batch: Batch,
        *,
        seed: int,
        classes: int,
        ranks: int = 1,
        device: torch.device | str = "cpu",
        white: float | None = None,
    ) -> Augmented:
        """Change a batch, on the device where it is needed.

        Padding stays as it is. The batch's own memory is not changed and not kept.

        Args:
            batch: From a loader.
            seed: Seed of the training.
            classes: How many classes there are.
            ranks: How many loaders share each batch.
            device: Where to work; only bytes as the loader gives them cross the bus.
            white: Largest value of the pixels; None for that of whole numbers, 1 for floats.

        Raises:
            ConfigError: If the batch cannot be mixed or turned.
        """
        draw = Draw(batch.index, batch.epoch, seed)
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).to(device, copy=True)
        given, valid = images, torch.from_numpy(batch.valid).to(device)
        top = _white(batch.images) if white is None else white
        images = self._moved(images, draw)
        mixing = self._mixing(batch, draw, ranks)
        if self._changes_values or mixing is not None:
            # Bands apart in memory: twice as fast to work on, and done on the device.
            images = self._changed(images.float().contiguous(), draw, top)
            if mixing is not None:
                images = mix_images(images, mixing)
            images = _as(images, given.dtype)
        images = torch.where(valid[:, None, None, None], images, given)
        targets = _targets(batch.labels, classes).to(device)
        if mixing is not None:
            targets = mix_targets(targets, mixing)
        return Augmented(images.contiguous(memory_format=torch.channels_last), targets, valid)

    @property
    def _changes_values(self) -> bool:
        light = self.brightness or self.contrast or self.saturation or self.hue
        return bool(light or self.policy_steps or self.erase_share)

    def _moved(self, images: torch.Tensor, draw: Draw) -> torch.Tensor:
        if self.flip_horizontal_share or self.flip_vertical_share:
            across = draw.uniform(_FLIP) < self.flip_horizontal_share
            upended = draw.uniform(_UPEND) < self.flip_vertical_share
            images = operations.flip(images, _on(across, images), _on(upended, images))
        if self.quarter_turns:
            if images.shape[2] != images.shape[3]:
                raise ConfigError(f"Quarter turns need square pictures, not {images.shape[2:]} px.")
            quarters = (draw.uniform(_TURN) * 4).astype(np.int64)
            images = operations.turn(images, _on(quarters, images))
        return images

    def _changed(self, images: torch.Tensor, draw: Draw, white: float) -> torch.Tensor:
        images = self._lit(images, draw, white)
        if self.policy_steps:
            images = apply_policy(
                images,
                draw.table(_POLICY, 2 * self.policy_steps),
                self.policy_strength,
                white,
                grey_bands=self.further_bands == "grey",
            )
        if self.erase_share:
            images = self._erased(images, draw)
        return images

    def _lit(self, images: torch.Tensor, draw: Draw, white: float) -> torch.Tensor:
        """Change brightness, contrast, saturation and hue, in this order."""
        span = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        if not span.any():
            return images
        amounts = np.array([1, 1, 1, 0]) + span * (2 * draw.table(_LIGHT, 4) - 1)
        steps = (
            operations.brightness,
            operations.contrast,
            operations.saturation,
            operations.hue,
        )
        for number, step in enumerate(steps):
            if span[number]:
                images = operations.on_colours(
                    step,
                    images,
                    _on(amounts[:, number].astype(np.float32), images),
                    white,
                    grey_bands=self.further_bands == "grey",
                )
        return images

    def _erased(self, images: torch.Tensor, draw: Draw) -> torch.Tensor:
        table = draw.table(_ERASE, 2 * _ATTEMPTS + 3)
        boxes = erase_boxes(self, table, images.shape[2], images.shape[3])
        fill = images.new_zeros(1)
        if self.erase_fill == "mean":
            fill = images.mean(dim=(2, 3), keepdim=True)
        return operations.erase(images, _on(boxes, images), fill)

    def _mixing(self, batch: Batch, draw: Draw, ranks: int) -> Mixing | None:
        if not self.mixes:
            return None
        if self.mix_ranks % ranks or len(batch.index) % (2 * self.mix_ranks // ranks):
            raise ConfigError(
                f"{len(batch.index) * ranks} samples on {ranks} ranks cannot be mixed in pairs "
                f"that are the same on up to mix_ranks = {self.mix_ranks} ranks.",
                "Take a batch_size that is a multiple of twice mix_ranks, or change mix_ranks.",
            )
        height, width = batch.images.shape[1:3]
        return draw_mixing(
            draw.table(_MIX, 6),
            batch.valid,
            (height, width),
            alphas=(self.mixup_alpha, self.cutmix_alpha),
            share=self.mix_share,
            stride=self.mix_ranks // ranks,
        )


class Augmented(NamedTuple):
    """A batch as a network learns from it.

    Attributes:
        images: (batch, channels, height, width), channels last in memory, of the batch's type.
        targets: (batch, classes) float32, the share of each class; 0 without a label.
        valid: (batch,) bool, as in the batch.
    """

    images: torch.Tensor
    targets: torch.Tensor
    valid: torch.Tensor


def erase_boxes(
    augment: BatchAugment, table: Floats, height: int, width: int
) -> npt.NDArray[np.int64]:
    """Draw the boxes to cover, tried again until they fit; of height 0 for none.

    Args:
        augment: Which boxes there may be.
        table: (samples, 23) uniform draws.
        height: Height of the pictures, px.
        width: Their width, px.

    Returns:
        (samples, 4) top, left, height, width, px.
    """
    low, high = augment.erase_area_share
    area = (low + (high - low) * table[:, :_ATTEMPTS]) * height * width
    log_low, log_high = np.log(augment.erase_ratio)
    ratio = np.exp(log_low + (log_high - log_low) * table[:, _ATTEMPTS : 2 * _ATTEMPTS])
    tall = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    wide = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (tall < height) & (wide < width)
    first = np.argmax(fits, axis=1)
    rows = np.arange(len(table))
    erased = fits.any(axis=1) & (table[:, -1] < augment.erase_share)
    tall, wide = np.where(erased, tall[rows, first], 0), np.where(erased, wide[rows, first], 0)
    top = (table[:, -3] * (height - tall + 1)).astype(np.int64)
    left = (table[:, -2] * (width - wide + 1)).astype(np.int64)
    return np.stack([top, left, tall, wide], axis=1)


def _targets(labels: npt.NDArray[np.generic], classes: int) -> torch.Tensor:
    given = torch.from_numpy(labels)
    if given.ndim == 2:
        return given.float()
    known = given >= 0
    if len(given) and int(given.max()) >= classes:
        raise ConfigError(f"Label {int(given.max())} is not one of {classes} classes.")
    return functional.one_hot(given.clamp(min=0), classes) * known[:, None].float()


def _white(images: npt.NDArray[Any]) -> float:
    return float(np.iinfo(images.dtype).max) if images.dtype.kind == "u" else 1.0


def _as(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return images if dtype.is_floating_point else images.round().to(dtype)


def _on(values: npt.NDArray[np.generic], images: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(values).to(images.device)


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"{name} {value} is not {expected}.")
