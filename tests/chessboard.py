"""Pictures of a chessboard as a known lens shows it."""

from __future__ import annotations

import cv2
import numpy as np

from besana.images.calibrate import Board
from besana.images.lens import Lens

SIZE = (640, 480)
BOARD = Board(columns=7, rows=5)
PINHOLE = Lens(
    model="pinhole",
    focal_px=[520, 515],
    centre_px=[325, 236],
    distortion=[-0.28, 0.09, 0.001, -0.0005],
    size_px=list(SIZE),
)
FISHEYE = Lens(
    model="fisheye",
    focal_px=[260, 262],
    centre_px=[322, 238],
    distortion=[0.02, -0.01, 0.002, 0.0],
    size_px=list(SIZE),
)
POSES = [
    (0.0, 0.0, 0.0, -3.0, -2.0, 9.0),
    (0.5, 0.0, 0.1, -4.2, -2.2, 8.0),
    (-0.5, 0.2, 0.0, -1.0, -2.5, 8.5),
    (0.1, 0.6, -0.2, -3.4, -0.8, 9.0),
    (0.2, -0.6, 0.3, -2.4, -3.2, 8.6),
    (-0.4, -0.4, 0.6, -2.0, -2.8, 9.5),
    (0.3, 0.4, -0.5, -4.0, -1.0, 10.0),
    (0.0, 0.3, 1.2, 1.0, -3.2, 9.0),
]


def seen_by(lens: Lens, points: np.ndarray, pose: tuple[float, ...]) -> np.ndarray:
    """Project points of a board at a place before the camera, (n, 3), into a frame."""
    turn = cv2.Rodrigues(np.array(pose[:3]))[0]
    there = points @ turn.T + np.array(pose[3:])
    fx, fy, cx, cy = *lens.focal_px, *lens.centre_px
    straight = there[:, :2] / there[:, 2:] * (fx, fy) + (cx, cy)
    return lens.distort_points(straight, SIZE)


def photograph(lens: Lens, pose: tuple[float, ...]) -> np.ndarray:
    """Draw a board of black squares as a lens shows it, (480, 640, 1)."""
    pixels = np.full((SIZE[1], SIZE[0], 1), 230, np.uint8)
    steps = np.linspace(0, 1, 9)
    for row in range(-1, BOARD.rows):
        for column in range(-1, BOARD.columns):
            if (row + column) % 2:
                continue
            sides = [
                *((column + s, row) for s in steps),
                *((column + 1, row + s) for s in steps),
                *((column + 1 - s, row + 1) for s in steps),
                *((column, row + 1 - s) for s in steps),
            ]
            corners = seen_by(lens, np.array([(x, y, 0.0) for x, y in sides]), pose)
            polygon = np.round(corners * 16).astype(np.int32)
            cv2.fillPoly(pixels, [polygon], 25, lineType=cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(pixels, (3, 3), 0)[..., None]
