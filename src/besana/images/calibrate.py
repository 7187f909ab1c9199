"""Find a lens from pictures of a chessboard: corners in each, then one calibration of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from besana.config import Settings
from besana.errors import ConfigError
from besana.images.lens import Lens
from besana.images.quality import grey, shrink

FEWEST_PICTURES = 3
_SEARCHED_PX = 1600
_MOST_REST_SHARE = 0.01
_HINT = "Take pictures with the board in all parts of the view, tilted to all sides."

Corners = NDArray[np.float32]
"""(rows * columns, 2) x and y in pixels of the picture, row by row."""


class Board(Settings):
    """A chessboard by its inner corners: where four squares meet."""

    columns: int = Field(default=9, ge=3, le=40, description="Inner corners in a row.")
    rows: int = Field(default=6, ge=3, le=40, description="Rows of inner corners.")

    def points(self) -> NDArray[np.float32]:
        """Give the corners on the board, (rows * columns, 3), the side of a square being 1."""
        y, x = np.mgrid[0 : self.rows, 0 : self.columns]
        flat = np.stack([x, y, np.zeros_like(x)], axis=-1)
        return np.ascontiguousarray(flat.reshape(-1, 3), dtype=np.float32)


class Calibration(Settings):
    """What was found in some pictures of one board by one camera."""

    board: Board
    model: Literal["pinhole", "fisheye"] = "pinhole"
    size_px: tuple[int, int]
    corners: list[list[tuple[float, float]]] = Field(min_length=FEWEST_PICTURES, max_length=60)

    @field_validator("size_px")
    @classmethod
    def _is_a_picture(cls, value: tuple[int, int]) -> tuple[int, int]:
        if min(value) < 16 or max(value) > 30_000:
            raise ValueError("size_px is width and height of the pictures")
        return value


def find_corners(pixels: NDArray[Any], board: Board) -> Corners | None:
    """Find a board's inner corners in a picture, to parts of a pixel; None if it is not all there.

    By the sector-based detector of Duda and Frese (2018).

    Args:
        pixels: (height, width, channels) uint8 or uint16.
        board: The board.
    """
    import cv2

    plain = grey(shrink(pixels, _SEARCHED_PX))
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    found, corners = cv2.findChessboardCornersSB(plain, (board.columns, board.rows), flags=flags)
    if not found:
        return None
    scale = np.array(pixels.shape[1::-1]) / np.array(plain.shape[1::-1])
    return np.asarray((corners.reshape(-1, 2) + 0.5) * scale - 0.5, dtype=np.float32)


def calibrate(found: Calibration) -> tuple[Lens, float]:
    """Find the lens that fits the corners of all pictures best.

    By OpenCV's calibration (Zhang 2000; fisheye: Kannala and Brandt 2006).

    Args:
        found: Corners in at least three pictures of one size.

    Returns:
        The lens, and the root mean square of what is left between corners and lens, in pixels.

    Raises:
        ConfigError: If no lens fits.
    """
    import cv2

    matrix: Any
    bends: Any
    board = found.board.points()
    if any(len(corners) != len(board) for corners in found.corners):
        raise ConfigError(f"Each picture has {len(board)} corners.", "Choose the board again.")
    seen = [np.array(corners, np.float32).reshape(-1, 1, 2) for corners in found.corners]
    width, height = found.size_px
    # A start in the middle: a fisheye's solver walks off from a bad one.
    start = np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1.0]])
    try:
        if found.model == "fisheye":
            start[0, 0] = start[1, 1] = width / np.pi
            rest, matrix, bends = _fisheye(board, seen, (width, height), start)
        else:
            boards = [board] * len(seen)
            flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_K3
            rest, matrix, bends, _, _ = cv2.calibrateCamera(
                boards, seen, (width, height), start, np.zeros(5), flags=flags
            )
            bends = bends.ravel()[:4]
    except cv2.error:
        raise ConfigError("No lens fits these corners.", _HINT) from None
    if not rest <= _MOST_REST_SHARE * width:
        raise ConfigError(f"The best lens leaves {rest:.0f} px between corners and it.", _HINT)
    return _lens(found.model, matrix, bends, found.size_px), float(rest)


def _fisheye(
    board: NDArray[np.float32],
    seen: Sequence[NDArray[np.float32]],
    size_px: tuple[int, int],
    start: NDArray[np.float64],
) -> tuple[float, Any, Any]:
    import cv2

    boards = [board.reshape(1, -1, 3).astype(np.float64)] * len(seen)
    points = [corners.reshape(1, -1, 2).astype(np.float64) for corners in seen]
    flags = cv2.CALIB_RECOMPUTE_EXTRINSIC | cv2.CALIB_FIX_SKEW | cv2.CALIB_USE_INTRINSIC_GUESS
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-7)
    rest, matrix, bends, _, _ = cv2.fisheye.calibrate(
        boards, points, size_px, start, np.zeros((4, 1)), flags=flags, criteria=criteria
    )
    return rest, matrix, bends.ravel()


def _lens(
    model: str, matrix: NDArray[np.float64], bends: NDArray[np.float64], size_px: tuple[int, int]
) -> Lens:
    if not (np.isfinite(matrix).all() and np.isfinite(bends).all() and matrix[0, 0] > 0):
        raise ConfigError("No lens fits these corners.", _HINT)
    return Lens.model_validate(
        {
            "model": model,
            "focal_px": [round(float(matrix[0, 0]), 3), round(float(matrix[1, 1]), 3)],
            "centre_px": [round(float(matrix[0, 2]), 3), round(float(matrix[1, 2]), 3)],
            "distortion": [round(float(value), 6) for value in bends],
            "size_px": list(size_px),
        }
    )
