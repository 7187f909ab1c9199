"""Decide from measured figures which frames are unusual for their camera and light."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from besana.config import Settings
from besana.images.views import Move

JUDGED = (
    "no_signal",
    "dark",
    "overexposed",
    "blurry",
    "low_information",
    "exact_duplicate",
    "near_duplicate",
    "camera_moved",
)
"""Kinds of issues that follow from measured figures."""

# Fewer frames of a camera and light say nothing about what is usual there.
_FEWEST = 20
_MAD_TO_DEVIATION = 1.4826
_NO_SIGNAL_CONTRAST = 2.0
# What a camera's own distribution may decide; outside it the answer is always the same.
_DARK_BOUNDS = (8.0, 25.0)
_OVEREXPOSED_BOUNDS = (0.3, 0.8)
_INFORMATION_BOUNDS = (1.0, 3.0)
_BLUR_SHARES = (0.1, 0.5)
_BLUR_FLOOR = 3.0


class Issue(NamedTuple):
    """Something wrong with one frame.

    Attributes:
        kind: As in the catalog.
        score: The figure that gave it away; None when there is none.
        detail: What else to know; for duplicates the id of the frame that is repeated.
    """

    kind: str
    score: float | None
    detail: str | None


class Rules(Settings):
    """How frames are judged; an empty threshold is found from a camera's own frames."""

    dark_below: float | None = Field(
        default=None,
        ge=0,
        le=255,
        description="Mean grey value below which a frame is dark; empty: by camera and light.",
    )
    overexposed_above: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of white pixels above which it is overexposed; empty: as above.",
    )
    blur_below: float | None = Field(
        default=None,
        ge=0,
        description="Variance of the Laplacian below which it is blurry; empty: as above.",
    )
    low_information_below: float | None = Field(
        default=None,
        ge=0,
        le=8,
        description="Entropy in bits below which it shows too little; empty: as above.",
    )
    outlier_spread: float = Field(
        default=5.0, gt=0, description="Deviations from a camera's median that are still usual."
    )
    near_duplicate_bits: int = Field(
        default=6, ge=0, le=16, description="Bits of 64 in which near-duplicates may differ."
    )
    near_duplicate_s: float = Field(
        default=120.0,
        ge=0,
        description="Seconds between near-duplicates of a fixed camera (its frames are all alike).",
    )
    turned_copies: bool = Field(
        default=True, description="Also find mirrored and turned copies of pictures."
    )
    moved_above_share: float = Field(
        default=0.006, gt=0, le=1, description="Shift of a camera to tell, as a share of the width."
    )
    blocking: list[str] = Field(
        default=["no_signal", "dark", "exact_duplicate"],
        description="Issues that keep a frame out of later stages; others are only told.",
    )

    @field_validator("blocking")
    @classmethod
    def _kinds_are_known(cls, value: list[str]) -> list[str]:
        for kind in value:
            if kind not in JUDGED:
                raise ValueError(f"unknown issue {kind!r}; known: {', '.join(JUDGED)}")
        return value


@dataclass(frozen=True)
class Thresholds:
    """What counts as unusual for one camera and light.

    Attributes:
        dark_below: Mean grey value, 0 to 255.
        overexposed_above: Share of nearly white pixels, 0 to 1.
        blur_below: Variance of the Laplacian.
        low_information_below: Entropy in bits.
    """

    dark_below: float
    overexposed_above: float
    blur_below: float
    low_information_below: float


def thresholds(figures: Mapping[str, NDArray[Any]], rules: Rules) -> Thresholds:
    """Derive thresholds from the frames of one camera and light.

    A frame is unusual when it lies more than `outlier_spread` deviations from the median; the
    median absolute deviation (Hampel 1974) estimates them, so that half of the frames may be bad.
    Bounds keep a very even camera from flagging good frames and a very uneven one from missing
    black ones. Sharpness is judged on a logarithmic scale.

    Args:
        figures: `brightness`, `bright_share`, `sharpness` and `entropy_bits`, each (n,).
        rules: What the user set.
    """
    spread = rules.outlier_spread
    brightness = _edge(figures["brightness"], -spread, _DARK_BOUNDS)
    bright = _edge(figures["bright_share"], spread, _OVEREXPOSED_BOUNDS)
    information = _edge(figures["entropy_bits"], -spread, _INFORMATION_BOUNDS)
    return Thresholds(
        dark_below=_either(rules.dark_below, brightness),
        overexposed_above=_either(rules.overexposed_above, bright),
        blur_below=_either(rules.blur_below, _blur_edge(figures["sharpness"], spread)),
        low_information_below=_either(rules.low_information_below, information),
    )


def unusual(figures: Mapping[str, float], limits: Thresholds) -> Iterator[Issue]:
    """Yield the issues of one frame's figures.

    A frame without signal gets that issue alone: everything else would only repeat it.

    Args:
        figures: `brightness`, `bright_share`, `contrast`, `sharpness`, `entropy_bits`.
        limits: Of the frame's camera and light.
    """
    if not has_signal(figures["contrast"]):
        yield Issue("no_signal", figures["contrast"], None)
        return
    if figures["brightness"] < limits.dark_below:
        yield Issue("dark", figures["brightness"], None)
    if figures["bright_share"] > limits.overexposed_above:
        yield Issue("overexposed", figures["bright_share"], None)
    if figures["sharpness"] < limits.blur_below:
        yield Issue("blurry", figures["sharpness"], None)
    if figures["entropy_bits"] < limits.low_information_below:
        yield Issue("low_information", figures["entropy_bits"], None)


def has_signal(contrast: float) -> bool:
    """Tell whether a picture of this contrast shows anything at all."""
    return contrast >= _NO_SIGNAL_CONTRAST


def moved(move: Move | None, width_px: int) -> Issue | None:
    """Give the issue of a frame that comes after a camera was moved.

    Args:
        move: The move; None when its camera looks where it looked at first.
        width_px: Width of the frame.
    """
    if move is None:
        return None
    x, y = move.offset
    distance = math.hypot(x, y)
    since = f"since {move.first.rpartition('/')[2]}"
    if distance >= width_px:
        return Issue("camera_moved", distance, f"shows something else than at first, {since}")
    return Issue("camera_moved", distance, f"{x:+.0f} px right, {y:+.0f} px down, {since}")


def _edge(values: NDArray[Any], spread: float, bounds: tuple[float, float]) -> float:
    """Return the edge of the usual, within bounds; the cautious bound for few values."""
    low, high = bounds
    if len(values) < _FEWEST:
        return low if spread < 0 else high
    middle = float(np.median(values))
    deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(values - middle)))
    return min(max(middle + spread * deviation, low), high)


def _blur_edge(sharpness: NDArray[Any], spread: float) -> float:
    if len(sharpness) < _FEWEST:
        return _BLUR_FLOOR
    logs = np.log(np.maximum(sharpness, 1e-3))
    middle = float(np.exp(np.median(logs)))
    shares = [float(np.log(share * middle)) for share in _BLUR_SHARES]
    edge = _edge(logs, -spread, (shares[0], shares[1]))
    return max(float(np.exp(edge)), _BLUR_FLOOR)


def _either(fixed: float | None, own: float) -> float:
    return own if fixed is None else fixed
