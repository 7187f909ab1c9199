"""Judge frames against all others of their camera, in two passes over the same rows."""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from besana.images.duplicates import Bursts, first_alike
from besana.images.judge import (
    Issue,
    Rules,
    Thresholds,
    has_signal,
    moved,
    thresholds,
    unusual,
)

_FIGURES = ("brightness", "bright_share", "sharpness", "entropy_bits")


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


@dataclass
class Population:
    """First pass: gather what is needed of all frames.

    That is 16 bytes a frame, and 8 more for one that is compared with all others.

    Attributes:
        windows_s: How far apart in time frames of a burst may lie, by fixed camera; frames with
            a time of other cameras are compared with all others.
        first_of: Id of the first frame by SHA-256, of those that several frames have.
    """

    windows_s: Mapping[str, float]
    first_of: Mapping[str, str]
    figures: dict[tuple[str, str], dict[str, array[float]]] = field(default_factory=dict)
    _hashes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, row: Measured) -> None:
        """Take the next frame."""
        light = self.figures.setdefault(
            (row.camera, row.light), {name: array("f") for name in _FIGURES}
        )
        for name in _FIGURES:
            light[name].append(getattr(row, name))
        if self.is_compared(row):
            self._hashes.append(row.perceptual_hash)

    def is_compared(self, row: Measured) -> bool:
        """Tell whether a frame is compared with all others of its kind."""
        is_loose = row.captured_at is None or row.camera not in self.windows_s
        return is_loose and has_signal(row.contrast)

    def judgement(self, rules: Rules) -> Judgement:
        """Return what judges the same frames, in the same order, one by one."""
        limits = {
            key: thresholds({name: np.array(light[name]) for name in _FIGURES}, rules)
            for key, light in self.figures.items()
        }
        hashes = np.array(self._hashes, dtype=np.int64).view(np.uint64)
        first = first_alike(hashes, rules.near_duplicate_bits, turned=rules.turned_copies)
        return Judgement(rules, self, limits, first)


class Judgement:
    """Second pass: the issues of each frame, in the order of the first pass."""

    def __init__(
        self,
        rules: Rules,
        population: Population,
        limits: Mapping[tuple[str, str], Thresholds],
        first_alike_of: NDArray[np.int64],
    ) -> None:
        self.limits = limits
        self._rules = rules
        self._population = population
        self._first = first_alike_of
        repeats = first_alike_of != np.arange(len(first_alike_of))
        self._repeated = frozenset(first_alike_of[repeats].tolist())
        self._ids: dict[int, str] = {}
        self._bursts: dict[str, Bursts] = {}
        self._position = 0

    def issues(self, row: Measured) -> list[Issue]:
        """Return the issues of the next frame."""
        found = list(unusual(figures_of(row), self.limits[row.camera, row.light]))
        share = self._rules.moved_above_share
        shifted = moved(row.shift_x_px, row.shift_y_px, row.width_px, share)
        alike = self._alike(row) if self._population.is_compared(row) else self._burst(row)
        first = self._population.first_of.get(row.sha256, row.frame_id)
        repeated = alike if first == row.frame_id else Issue("exact_duplicate", 0.0, first)
        return found + [issue for issue in (shifted, repeated) if issue is not None]

    def _alike(self, row: Measured) -> Issue | None:
        position = self._position
        self._position += 1
        if position in self._repeated:
            self._ids[position] = row.frame_id
        first = int(self._first[position])
        return None if first == position else Issue("near_duplicate", None, self._ids[first])

    def _burst(self, row: Measured) -> Issue | None:
        if row.captured_at is None or not has_signal(row.contrast):
            return None
        if row.camera not in self._bursts:
            window_s = self._population.windows_s[row.camera]
            self._bursts[row.camera] = Bursts(window_s, self._rules.near_duplicate_bits)
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
