"""A lens found from pictures of a chessboard is the lens that bent them."""

from __future__ import annotations

import numpy as np
import pytest

from besana.errors import ConfigError
from besana.images.calibrate import Calibration, calibrate, find_corners
from besana.images.lens import Lens
from chessboard import BOARD, FISHEYE, PINHOLE, POSES, SIZE, photograph, seen_by


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
