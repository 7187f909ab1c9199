"""Pictures spoilt in known ways, to learn what a model's words mean when pictures get worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from besana.shards.loader import Loader
from besana.storage import Storage

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions

Pixels = NDArray[np.uint8]
"""(height, width, channels), or (n, height, width, channels)."""

_SEED = 20_220
# A knocked camera looks aside, and a little up or down.
_DOWN = 0.6


def read_pictures(
    manifest: Manifest, positions: Positions, shards: Storage, size_px: int
) -> tuple[Pixels, Positions]:
    """Read some pictures whole into memory.

    Args:
        manifest: Where they lie.
        positions: Which ones, rising; some hundreds.
        shards: Where the shards lie.
        size_px: Height and width that the model sees.

    Returns:
        (n, size_px, size_px, channels) uint8, and the positions that could be read.
    """
    images: list[Pixels] = []
    kept: list[NDArray[np.int64]] = []
    with Loader(
        manifest,
        None,
        max(1, min(64, len(positions))),
        size_px,
        shards,
        positions=positions,
        shuffle="none",
        on_error="substitute",
        max_dropped_share=1.0,
    ) as loader:
        for batch in loader:
            images.append(np.array(batch.images[batch.valid]))
            kept.append(np.array(batch.index[batch.valid]))
    return np.concatenate(images), np.concatenate(kept)


@dataclass(frozen=True)
class Way:
    """A way to spoil pictures.

    Attributes:
        change: What is done to each of them.
        moved: By how much they show what lies to their left, as a share of their width; below 0
            what lies to their right. A knocked camera looks up or down a little as well.
    """

    change: Callable[[Pixels], Pixels]
    moved: float = 0.0

    @property
    def moved_share(self) -> float:
        """How far what they show has moved, as a share of their width."""
        return abs(self.moved) * float(np.hypot(1, _DOWN))


def spoilings() -> list[Way]:
    """Give ways to spoil a picture, mild to strong: what happens to cameras in barns."""
    changed = [Way(partial(way, **values)) for way, values in _WAYS]
    return [*changed, *(Way(_as_it_is, moved) for moved in _MOVED)]


def spoil(images: Pixels, way: Way) -> Pixels:
    """Spoil pictures one by one, (n, height, width, channels)."""
    seen = _aside(images, way.moved) if way.moved else images
    return np.stack([way.change(picture) for picture in seen])


def _as_it_is(picture: Pixels) -> Pixels:
    return picture


def _aside(images: Pixels, share: float) -> Pixels:
    """Show what lies beside, (n, height, width, channels): other pictures stand in for it."""
    height, width = images.shape[1:3]
    others = images[np.random.default_rng(_SEED).permutation(len(images))]
    across = round(abs(share) * width)
    beside = (
        (others[:, :, width - across :], images[:, :, : width - across])
        if share > 0
        else (images[:, :, across:], others[:, :, :across])
    )
    moved = np.concatenate(beside, axis=2)
    return np.asarray(np.roll(moved, round(_DOWN * abs(share) * height), axis=1))


def _clipped(values: NDArray[Any]) -> Pixels:
    clipped: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped


def _scaled(picture: Pixels, gain: float, offset: float) -> Pixels:
    return _clipped(picture.astype(np.float32) * gain + offset)


def _blurred(picture: Pixels, share: float) -> Pixels:
    smooth = cv2.GaussianBlur(picture, (0, 0), max(share * picture.shape[1], 0.3))
    return np.asarray(smooth, np.uint8).reshape(picture.shape)


def _noisy(picture: Pixels, spread: float) -> Pixels:
    noise = np.random.default_rng(_SEED).normal(0, spread, picture.shape)
    return _clipped(picture + noise.astype(np.float32))


def _dim(picture: Pixels, gain: float, spread: float) -> Pixels:
    return _noisy(_scaled(picture, gain, 0.0), spread)


def _stained(picture: Pixels, count: int) -> Pixels:
    height, width = picture.shape[:2]
    rng = np.random.default_rng(_SEED + 1)
    cover = np.zeros((height, width), np.float32)
    for _ in range(count):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        axes = [max(1, int(rng.uniform(0.08, 0.28) * width)) for _ in range(2)]
        cv2.ellipse(cover, centre, (axes[0], axes[1]), float(rng.uniform(0, 180)), 0, 360, 0.85, -1)
    soft = np.asarray(cv2.GaussianBlur(cover, (0, 0), max(0.03 * width, 0.5)))[..., None]
    return _clipped(picture * (1 - soft) + 80 * soft)


def _greyer(picture: Pixels, share: float) -> Pixels:
    grey = picture.mean(axis=2, keepdims=True)
    return _clipped(picture * (1 - share) + grey * share)


def _curved(picture: Pixels, gamma: float) -> Pixels:
    return _clipped(255 * (picture.astype(np.float32) / 255) ** gamma)


def _tinted(picture: Pixels, tint: tuple[float, ...]) -> Pixels:
    gains = np.resize(np.array(tint, np.float32), picture.shape[2])
    return _clipped(picture * gains)


_WAYS: tuple[tuple[Callable[..., Pixels], dict[str, Any]], ...] = (
    (_scaled, {"gain": 1.0, "offset": 0.0}),
    *((_scaled, {"gain": gain, "offset": 0.0}) for gain in (0.6, 0.35, 0.2, 0.1, 1.6, 2.4)),
    *(
        (_scaled, {"gain": gain, "offset": offset})
        for gain, offset in ((0.7, 50.0), (0.4, 90.0), (0.2, 110.0))
    ),
    *((_blurred, {"share": share}) for share in (0.015, 0.03, 0.06, 0.1)),
    *((_noisy, {"spread": spread}) for spread in (12.0, 30.0, 55.0)),
    *(
        (_dim, {"gain": gain, "spread": spread})
        for gain, spread in ((0.5, 6.0), (0.35, 6.0), (0.35, 12.0), (0.2, 8.0))
    ),
    *((_stained, {"count": count}) for count in (2, 5, 9)),
    *((_greyer, {"share": share}) for share in (0.5, 1.0)),
    *((_curved, {"gamma": gamma}) for gamma in (0.45, 2.2)),
    *((_tinted, {"tint": tint}) for tint in ((1.25, 1.0, 0.7), (0.7, 0.9, 1.3))),
)
_MOVED = (0.08, -0.08, 0.16, -0.16, 0.28, -0.28)
