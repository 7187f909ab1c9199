"""A lens found from pictures of a chessboard is the lens that bent them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from besana.errors import ConfigError
from besana.images.calibrate import Board, Calibration, calibrate, find_corners
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


@pytest.mark.parametrize(
    ("lens", "bent_px", "left_px"), [(PINHOLE, 5, 1), (FISHEYE, 25, 5)], ids=["pinhole", "fisheye"]
)
def test_lens_is_found_from_its_own_pictures(lens: Lens, bent_px: float, left_px: float) -> None:
    found = [find_corners(photograph(lens, pose), BOARD) for pose in POSES]
    corners = [each.tolist() for each in found if each is not None]
    assert len(corners) >= 6
    calibration = Calibration(board=BOARD, model=lens.model, size_px=SIZE, corners=corners)
    fitted, error_px = calibrate(calibration)
    assert error_px < 0.8
    # Where boards were seen: nearer to the rim nothing is known of a lens.
    x, y = np.meshgrid(np.linspace(180, 460, 9), np.linspace(110, 370, 7))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    straight = lens.undistort_points(points, SIZE)
    again = fitted.undistort_points(points, SIZE)
    assert np.abs(straight - again).max() < left_px
    assert np.abs(straight - points).max() > bent_px


def test_corners_are_exact_to_parts_of_a_pixel() -> None:
    found = find_corners(photograph(PINHOLE, POSES[1]), BOARD)
    assert found is not None
    expected = seen_by(PINHOLE, BOARD.points().astype(float), POSES[1])
    distance = np.linalg.norm(found[:, None] - expected[None], axis=2).min(axis=1)
    assert distance.max() < 0.7


def test_a_picture_without_the_whole_board_has_no_corners() -> None:
    pixels = photograph(PINHOLE, POSES[0])
    assert find_corners(pixels[:, : SIZE[0] // 2], BOARD) is None
    assert find_corners(np.zeros((100, 100, 3), np.uint8), BOARD) is None


def test_corners_that_no_lens_explains_are_refused() -> None:
    same = [[(10.0 * k, 5.0) for k in range(35)]] * 3
    with pytest.raises(ConfigError, match="leaves"):
        calibrate(Calibration(board=BOARD, model="fisheye", size_px=SIZE, corners=same))
    with pytest.raises(ConfigError):
        calibrate(Calibration(board=BOARD, size_px=SIZE, corners=[[(1.0, 2.0)]] * 3))
