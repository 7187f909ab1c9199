"""Read points that people set in frames, and tell in which regions they lie."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from besana.errors import ConfigError
from besana.images.camera import Camera
from besana.labels.csv import COLUMNS
from besana.labels.statements import Point, Statement, column_of
from besana.labels.tables import TableError, TableRow, read_header, read_rows

_MOST_POINTS = 100_000
_X, _Y = ("x_px", "x"), ("y_px", "y")


def is_points_table(columns: Sequence[str]) -> bool:
    """Tell whether columns are those of a file of points."""
    return _points_column(columns) is not None or (
        any(name in columns for name in _X) and any(name in columns for name in _Y)
    )


def read_points(path: Path, *, column: str = "") -> Iterator[Statement | TableError]:
    """Read a CSV of points, one statement an image.

    Either a column holds all points of an image as JSON, `[[x, y], ...]`, or each row is one
    point with columns `x_px` and `y_px` and the rows of an image follow one another; an image
    without points then has one row with empty cells.

    Args:
        path: The file.
        column: Its column of JSON points; empty for the first one with `points` in its name.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If columns are missing.
    """
    header = read_header(path)
    image = column_of(header, "image", COLUMNS["frame"], None)
    points = column_of(header, "points", (), column) if column else _points_column(header)
    if image is None or not (points or is_points_table(header)):
        raise ConfigError(
            f"'{path}' has no columns of images and points.", f"It has: {', '.join(header)}."
        )
    if points:
        for row in read_rows(path):
            yield row.error or _from_json(row, image, points)
        return
    x = next(name for name in _X if name in header)
    y = next(name for name in _Y if name in header)
    yield from _from_rows(path, image, x, y)


def regions_with_points(
    camera: Camera, frame_size_px: tuple[int, int], points: Sequence[Point]
) -> dict[str, bool]:
    """Tell for each region of a camera whether a point lies in it.

    Args:
        camera: Its lens and regions.
        frame_size_px: Width and height of the frame.
        points: x and y in pixels of the frame, as the camera took it.
    """
    in_frame: NDArray[np.float64] = np.array(points, dtype=np.float64).reshape(-1, 2)
    # The lens counts from pixel centres, regions from pixel edges.
    straight = camera.lens.undistort_points(in_frame, frame_size_px) + 0.5
    return {
        region.name: bool(region.contains(straight).any())
        for region in camera.region_list(frame_size_px)
    }


def _points_column(columns: Sequence[str]) -> str | None:
    return next((name for name in columns if "points" in name), None)


def _from_json(row: TableRow, image: str, column: str) -> Statement | TableError:
    points = _parsed(row.cells[column])
    if points is None:
        problem = f"{row.cells[column][:50]!r} is not a list of [x, y] pairs"
        return TableError(row.number, column, "bad_points", problem)
    return _statement(row, image, points)


def _parsed(text: str) -> list[Point] | None:
    try:
        values = json.loads(text or "[]")
        points = [(float(x), float(y)) for x, y in values]
    except (ValueError, TypeError, RecursionError):
        return None
    in_range = all(math.isfinite(value) for point in points for value in point)
    return points if in_range and len(points) <= _MOST_POINTS else None


def _from_rows(path: Path, image: str, x: str, y: str) -> Iterator[Statement | TableError]:
    seen: set[tuple[str, str]] = set()

    def image_of(row: TableRow) -> tuple[str, str]:
        return (row.cells.get(image, ""), row.cells.get("camera", ""))

    for key, rows in itertools.groupby(read_rows(path), key=image_of):
        points: list[Point] = []
        first: TableRow | None = None
        for row in rows:
            point = None if row.error else _parsed(f"[[{row.cells[x]},{row.cells[y]}]]")
            if row.error:
                yield row.error
            elif point is not None:
                points.extend(point)
                first = first or row
            elif row.cells[x].strip() or row.cells[y].strip():
                yield TableError(row.number, x, "bad_points", "x and y are not two numbers")
            else:
                first = first or row
        if first is None:
            continue
        if key in seen:
            problem = "the rows of an image must follow one another"
            yield TableError(first.number, image, "scattered_image", problem)
            continue
        seen.add(key)
        yield _statement(first, image, points)


def _statement(row: TableRow, image: str, points: Sequence[Point]) -> Statement | TableError:
    size_px = None
    try:
        if row.cells.get("width_px") and row.cells.get("height_px"):
            size_px = (int(row.cells["width_px"]), int(row.cells["height_px"]))
    except ValueError:
        return TableError(row.number, "width_px", "bad_size", "the size is not a whole number")
    if not row.cells[image].strip():
        return TableError(row.number, image, "no_frame", "the cell is empty")
    return Statement(
        row.number,
        image=row.cells[image],
        camera=row.cells.get("camera", "").strip(),
        annotator=row.cells.get("annotator", "").strip(),
        source="points",
        points=points,
        size_px=size_px,
    )
