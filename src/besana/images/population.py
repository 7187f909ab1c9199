"""Judge frames against all others of their camera, in two passes over the same rows."""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from besana.images.duplicates import Bursts, first_alike, first_equal
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
    """First pass: gather what is needed of all frames, about 40 bytes each."""

    figures: dict[tuple[str, str], dict[str, array[float]]] = field(default_factory=dict)
    still: set[str] = field(default_factory=set)
    _cameras: dict[str, int] = field(default_factory=dict)
    _camera: array[int] = field(default_factory=lambda: array("i"))
    _content: array[int] = field(default_factory=lambda: array("Q"))
    _hash: array[int] = field(default_factory=lambda: array("q"))
    _compared: array[int] = field(default_factory=lambda: array("b"))

    def add(self, row: Measured) -> None:
        """Take the next frame."""
        light = self.figures.setdefault(
            (row.camera, row.light), {name: array("f") for name in _FIGURES}
        )
        for name in _FIGURES:
            light[name].append(getattr(row, name))
        if row.shift_x_px is not None:
            self.still.add(row.camera)
        self._camera.append(self._cameras.setdefault(row.camera, len(self._cameras)))
        self._content.append(int(row.sha256[:16], 16))
        self._hash.append(row.perceptual_hash)
        # 0: never compared, 1: compared unless its camera is fixed, 2: always compared.
        self._compared.append(
            0 if not has_signal(row.contrast) else 2 if row.captured_at is None else 1
        )

    def judgement(self, rules: Rules, intervals_s: Mapping[str, float]) -> Judgement:
        """Return what judges the same frames, in the same order, one by one.

        Args:
            rules: How frames are judged.
            intervals_s: Nominal seconds between two frames, of the cameras known to be fixed;
                cameras whose frames matched a reference are fixed too.
        """
        windows_s = dict.fromkeys(self.still, rules.near_duplicate_s)
        for camera_name, interval_s in intervals_s.items():
            # A frame that comes when it is due repeats nothing.
            windows_s[camera_name] = min(rules.near_duplicate_s, interval_s / 2)
        is_fixed = np.array([name in windows_s for name in self._cameras], dtype=bool)
        compared = np.frombuffer(self._compared, dtype=np.int8) if self._compared else np.zeros(0)
        camera = np.array(self._camera, dtype=np.int32)
        pool = (compared == 2) | ((compared == 1) & ~is_fixed[camera])
        hashes = np.array(self._hash, dtype=np.int64).view(np.uint64)
        return Judgement(
            rules,
            windows_s,
            {
                key: thresholds({name: np.array(light[name]) for name in _FIGURES}, rules)
                for key, light in self.figures.items()
            },
            first_equal(np.array(self._content, dtype=np.uint64)),
            first_alike(hashes, pool, rules.near_duplicate_bits, turned=rules.turned_copies),
        )


class Judgement:
    """Second pass: the issues of each frame, in the order of the first pass."""

    def __init__(
        self,
        rules: Rules,
        windows_s: Mapping[str, float],
        limits: Mapping[tuple[str, str], Thresholds],
        same_bytes_as: NDArray[np.int64],
        same_picture_as: NDArray[np.int64],
    ) -> None:
        self.limits = limits
        self._rules = rules
        self._windows_s = windows_s
        self._same_bytes_as = same_bytes_as
        self._same_picture_as = same_picture_as
        own = np.arange(len(same_bytes_as))
        firsts = [same[same != own] for same in (same_bytes_as, same_picture_as)]
        self._repeated = frozenset(np.concatenate(firsts).tolist())
        self._ids: dict[int, str] = {}
        self._bursts: dict[str, Bursts] = {}
        self._position = 0

    def issues(self, row: Measured) -> list[Issue]:
        """Return the issues of the next frame."""
        found = list(unusual(figures_of(row), self.limits[row.camera, row.light]))
        shifted = moved(row.shift_x_px, row.shift_y_px, row.width_px, self._rules.moved_above_share)
        repeated = self._repeats(row)
        return found + [issue for issue in (shifted, repeated) if issue is not None]

    def _repeats(self, row: Measured) -> Issue | None:
        position = self._position
        self._position += 1
        if position in self._repeated:
            self._ids[position] = row.frame_id
        if (first := int(self._same_bytes_as[position])) != position:
            return Issue("exact_duplicate", 0.0, self._ids[first])
        if (first := int(self._same_picture_as[position])) != position:
            return Issue("near_duplicate", None, self._ids[first])
        if (
            row.captured_at is None
            or row.camera not in self._windows_s
            or not has_signal(row.contrast)
        ):
            return None
        if row.camera not in self._bursts:
            self._bursts[row.camera] = Bursts(
                self._windows_s[row.camera], self._rules.near_duplicate_bits
            )
        return self._bursts[row.camera].repeated(row.captured_at, row.perceptual_hash, row.frame_id)


def figures_of(row: Measured) -> dict[str, float]:
    """Return the figures of a row by name."""
    return {name: getattr(row, name) for name in (*_FIGURES, "contrast")}
