"""Name the parts of a camera's undistorted picture: boxes, polygons and grids of tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from besana.config import Settings

WHOLE = "all"
"""Name of the one region of a camera that has neither regions nor a grid."""


class Box(NamedTuple):
    """A rectangle of whole pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns inside."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows inside."""
        return self.bottom - self.top


@dataclass(frozen=True, eq=False)
class Region:
    """A named polygon in undistorted pixels.

    Coordinates are pixel edges: the whole of pixel (0, 0) lies between 0 and 1. So two regions
    that share an edge share no pixel.

    Attributes:
        name: Unique within a camera.
        polygon: (n, 2) float x and y of the corners, n at least 3.
    """

    name: str
    polygon: NDArray[np.float64]

    @property
    def box(self) -> Box:
        """Smallest box of whole pixels around the polygon."""
        left, top = np.floor(self.polygon.min(axis=0) + 1e-6)
        right, bottom = np.ceil(self.polygon.max(axis=0) - 1e-6)
        return Box(int(left), int(top), int(right), int(bottom))

    @property
    def is_box(self) -> bool:
        """Whether the polygon is its own box, so that no pixel of the box lies outside."""
        if len(self.polygon) != 4:
            return False
        box = self.box
        corners = _corners(box.left, box.top, box.right, box.bottom)
        return bool(np.array_equal(self.polygon, corners))

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points lie inside, by the even-odd rule.

        A point on an edge that two regions share lies in exactly one of them.

        Args:
            points: (n, 2) x and y in undistorted pixels.

        Returns:
            (n,) bool; False for NaN.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        x, y = points[:, 0], points[:, 1]
        inside = np.zeros(len(points), dtype=bool)
        ahead = np.roll(self.polygon, -1, axis=0)
        for (x1, y1), (x2, y2) in zip(self.polygon, ahead, strict=True):
            if y1 == y2:
                continue
            crosses = (y1 <= y) != (y2 <= y)
            inside ^= crosses & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
        return inside & np.isfinite(x) & np.isfinite(y)

    def mask(self) -> NDArray[np.bool_]:
        """Return (box height, box width) bool: which pixel centres lie inside the polygon."""
        box = self.box
        x, y = np.meshgrid(
            np.arange(box.left, box.right) + 0.5, np.arange(box.top, box.bottom) + 0.5
        )
        inside = self.contains(np.stack([x.ravel(), y.ravel()], axis=1))
        return inside.reshape(box.height, box.width)


class Grid(Settings):
    """Cut the undistorted picture into equal tiles named by row and column: `r03c07`."""

    size_px: int = Field(default=256, ge=8, description="Side of a tile in undistorted pixels.")
    stride_px: int | None = Field(
        default=None, ge=1, description="Pixels from one tile to the next; empty: the tile's side."
    )

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride_px is not None and self.stride_px > self.size_px:
            raise ValueError("stride_px above size_px would leave gaps between the tiles")
        return self

    def regions(self, size_px: tuple[int, int]) -> list[Region]:
        """Return the tiles of a picture, row by row; all of it is covered.

        The last tile of a row or column moves back to end at the edge, so it may overlap the
        one before it; a picture smaller than a tile is one smaller tile.

        Args:
            size_px: Width and height of the undistorted picture.
        """
        width, height = size_px
        stride = self.stride_px or self.size_px
        lefts = _starts(width, self.size_px, stride)
        tops = _starts(height, self.size_px, stride)
        return [
            box_region(
                f"r{row:02d}c{column:02d}",
                left,
                top,
                min(left + self.size_px, width),
                min(top + self.size_px, height),
            )
            for row, top in enumerate(tops)
            for column, left in enumerate(lefts)
        ]


def box_region(name: str, left: float, top: float, right: float, bottom: float) -> Region:
    """Return a rectangular region.

    >>> box_region("bed", 10, 20, 30, 60).box
    Box(left=10, top=20, right=30, bottom=60)
    """
    return Region(name, _corners(left, top, right, bottom))


def parse_regions(shapes: Mapping[str, Sequence[float | Sequence[float]]]) -> list[Region]:
    """Turn the `regions` of a camera's settings into regions, in the order they are written.

    Args:
        shapes: Name to `[left, top, right, bottom]` or to `[[x, y], [x, y], [x, y], ...]`.

    Raises:
        ValueError: If a shape is neither, or encloses nothing.
    """
    return [_parse_region(name, shape) for name, shape in shapes.items()]


def _parse_region(name: str, shape: Sequence[float | Sequence[float]]) -> Region:
    if not name or "/" in name or name != name.strip():
        raise ValueError(f"region name {name!r}: not empty, no '/', no spaces around it")
    numbers = [value for value in shape if isinstance(value, int | float)]
    pairs = [value for value in shape if not isinstance(value, int | float)]
    if len(numbers) == 4 and not pairs:
        left, top, right, bottom = numbers
        if left >= right or top >= bottom:
            raise ValueError(f"region {name!r}: left < right and top < bottom must hold")
        return box_region(name, left, top, right, bottom)
    if numbers or len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"region {name!r}: [left, top, right, bottom] or at least 3 pairs [x, y]")
    region = Region(name, np.array(pairs, dtype=np.float64))
    if region.box.width < 1 or region.box.height < 1 or not region.mask().any():
        raise ValueError(f"region {name!r}: the polygon encloses no pixel")
    return region


def _corners(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)


def _starts(length: int, size: int, stride: int) -> list[int]:
    if length <= size:
        return [0]
    starts = list(range(0, length - size + 1, stride))
    if starts[-1] + size < length:
        starts.append(length - size)
    return starts
