"""Judge frames against all others of their camera, in two passes over the same rows."""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from besana.images.duplicates import Bursts
from besana.images.hashes import first_alike
from besana.images.judge import (
    Issue,
    Rules,
    Thresholds,
    has_signal,
    moved,
    thresholds,
    unusual,
)
from besana.images.views import Views

_FIGURES = ("brightness", "bright_share", "sharpness", "entropy_bits")
_FEWEST_KEPT = 8192


class Measured(Protocol):
    """What a row says about one frame: columns of the catalog's frames and quality."""

    frame_id: str
    camera: str
    captured_at: dt.datetime | None
    sha256: str
    light: str
    width_px: int
    brightness: float
    bright_share: float
    contrast: float
    sharpness: float
    entropy_bits: float
    perceptual_hash: int
    shift_x_px: float | None
    shift_y_px: float | None


class Spread:
    """Figures of frames, evenly spread over all that were added: one in 1, 2, 4, ...

    A median of ten thousand frames is as good as one of a million, and memory stays.
    """

    def __init__(self) -> None:
        self._values = array("f")
        self._step = 1
        self._seen = 0

    def add(self, figures: Sequence[float]) -> None:
        """Take the figures of the next frame."""
        if self._seen % self._step == 0:
            self._values.extend(figures)
        self._seen += 1
        if len(self._values) >= 2 * _FEWEST_KEPT * len(_FIGURES):
            table = np.frombuffer(self._values, dtype=np.float32).reshape(-1, len(_FIGURES))
            self._values = array("f", table[::2].tobytes())
            self._step *= 2

    def columns(self) -> NDArray[np.float32]:
        """Give (figures, frames) values of the frames that were kept."""
        return np.frombuffer(self._values, dtype=np.float32).reshape(-1, len(_FIGURES)).T


@dataclass
class Population:
    """First pass: gather what is needed of all frames.

    That is 8 bytes for a frame that is compared with all others, and of each camera and light the
    figures of at most some ten thousand frames, evenly spread.

    Attributes:
        windows_s: How far apart in time frames of a burst may lie, by fixed camera; frames with
            a time of other cameras are compared with all others.
        first_of: Id of the first frame by SHA-256, of those that several frames have.
        moved_above_share: Shift of a camera to tell, as a share of the width.
        views: Where each camera looked.
    """

    windows_s: Mapping[str, float]
    first_of: Mapping[str, str]
    moved_above_share: float
    views: dict[str, Views] = field(default_factory=dict)
    figures: dict[tuple[str, str], Spread] = field(default_factory=dict)
    _hashes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, row: Measured) -> None:
        """Take the next frame, in the order of camera and time."""
        figures = [getattr(row, name) for name in _FIGURES]
        self.figures.setdefault((row.camera, row.light), Spread()).add(figures)
        views = self.views.setdefault(row.camera, Views(self.moved_above_share))
        if row.shift_x_px is not None and row.shift_y_px is not None:
            views.add(row.frame_id, row.light, (row.shift_x_px, row.shift_y_px), row.width_px)
        if self.is_compared(row):
            self._hashes.append(row.perceptual_hash)

    def is_compared(self, row: Measured) -> bool:
        """Tell whether a frame is compared with all others of its kind."""
        is_loose = row.captured_at is None or row.camera not in self.windows_s
        return is_loose and has_signal(row.contrast)

    def judgement(self, rules: Rules) -> Judgement:
        """Return what judges the same frames, in the same order, one by one."""
        limits = {
            key: thresholds(dict(zip(_FIGURES, spread.columns(), strict=True)), rules)
            for key, spread in self.figures.items()
        }
        hashes = np.frombuffer(self._hashes, dtype=np.int64).view(np.uint64)
        first = first_alike(hashes, rules.near_duplicate_bits, turned=rules.turned_copies)
        return Judgement(rules, self, limits, first)


class Judgement:
    """Second pass: the issues of each frame, in the order of the first pass."""

    def __init__(
        self,
        rules: Rules,
        population: Population,
        limits: Mapping[tuple[str, str], Thresholds],
        first_alike_of: NDArray[np.int32],
    ) -> None:
        self.limits = limits
        self._most_bits = rules.near_duplicate_bits
        self._population = population
        self._first = first_alike_of
        self._repeated = np.zeros(len(first_alike_of), dtype=np.bool_)
        repeats = first_alike_of != np.arange(len(first_alike_of), dtype=np.int32)
        self._repeated[first_alike_of[repeats]] = True
        self._ids: dict[int, str] = {}
        self._bursts: dict[str, Bursts] = {}
        self._position = 0

    def issues(self, row: Measured) -> list[Issue]:
        """Return the issues of the next frame."""
        found = list(unusual(figures_of(row), self.limits[row.camera, row.light]))
        shifted = moved(self._population.views[row.camera].of(row.frame_id), row.width_px)
        alike = self._alike(row) if self._population.is_compared(row) else self._burst(row)
        first = self._population.first_of.get(row.sha256, row.frame_id)
        repeated = alike if first == row.frame_id else Issue("exact_duplicate", 0.0, first)
        return found + [issue for issue in (shifted, repeated) if issue is not None]

    def _alike(self, row: Measured) -> Issue | None:
        position = self._position
        self._position += 1
        if self._repeated[position]:
            self._ids[position] = row.frame_id
        first = int(self._first[position])
        return None if first == position else Issue("near_duplicate", None, self._ids[first])

    def _burst(self, row: Measured) -> Issue | None:
        if row.captured_at is None or not has_signal(row.contrast):
            return None
        if row.camera not in self._bursts:
            window_s = self._population.windows_s[row.camera]
            self._bursts[row.camera] = Bursts(window_s, self._most_bits)
        return self._bursts[row.camera].repeated(row.captured_at, row.perceptual_hash, row.frame_id)


def windows_s(
    rules: Rules, fixed: Iterable[str], intervals_s: Mapping[str, float]
) -> dict[str, float]:
    """Return how far apart in time frames of a burst may lie, by fixed camera.

    Args:
        rules: How frames are judged.
        fixed: Cameras with a reference.
        intervals_s: Nominal seconds between two frames of the cameras in the settings, which
            are taken as fixed; a frame that comes when it is due repeats nothing.
    """
    windows = dict.fromkeys(fixed, rules.near_duplicate_s)
    for name, interval_s in intervals_s.items():
        windows[name] = min(rules.near_duplicate_s, interval_s / 2)
    return windows


def figures_of(row: Measured) -> dict[str, float]:
    """Return the figures of a row by name."""
    return {name: getattr(row, name) for name in (*_FIGURES, "contrast")}
