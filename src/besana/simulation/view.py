"""The simulated camera: a fisheye lens under the ridge that looks straight down.

The maps come from OpenCV's own fisheye model and never from `besana.images`, so that a mistake
there cannot hide by being made twice.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from besana.errors import ConfigError

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

FULL_WIDTH_PX = 1280
HEIGHT_M = 5.0
DISTORTION = (0.021, -0.009, 0.004, -0.001)
BED_WIDTH_M = 1.25
BED_TOP_M, BED_BOTTOM_M = -1.6, 1.1
# What the undistorted picture of the beds covers, in metres on the floor: left, top, right, bottom.
STAGE_M = (-3.95, -2.7, 3.95, 3.1)


@dataclass(frozen=True)
class View:
    """A camera's geometry: floor in metres, undistorted picture in px, frame in px.

    The floor's origin lies under the camera, x to the right, y downwards in the picture.

    Attributes:
        width_px: Width of the frame; its height is 9/16 of it.
        beds: Number of labelled beds; one more on each side is in view.
    """

    width_px: int = FULL_WIDTH_PX
    beds: int = 3

    def __post_init__(self) -> None:
        if self.width_px % 16 or self.width_px < 160:
            raise ConfigError(
                f"A frame cannot be {self.width_px} px wide.", "Take a multiple of 16 from 160 on."
            )

    @property
    def height_px(self) -> int:
        """Height of the frame in pixels."""
        return self.width_px * 9 // 16

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return 700.0 * self.width_px / FULL_WIDTH_PX

    @property
    def centre_px(self) -> tuple[float, float]:
        """Where the optical axis meets the picture, a little off the middle as in real cameras."""
        scale = self.width_px / FULL_WIDTH_PX
        return (646.0 * scale, 371.0 * scale)

    @property
    def px_per_m(self) -> float:
        """Pixels of the undistorted picture for one metre on the floor."""
        return self.focal_px / HEIGHT_M

    def project(self, points_m: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return undistorted pixels, (n, 2), of points (n, 3) in metres: x, y, height."""
        points = np.asarray(points_m, np.float64)
        away = HEIGHT_M - points[:, 2:]
        places = points[:, :2] * self.focal_px / away + np.asarray(self.centre_px)
        return np.asarray(places, np.float64)

    def region(self, bed: int) -> tuple[int, int, int, int]:
        """Return a labelled bed's box in undistorted pixels: left, top, right, bottom."""
        left, right = self.bed_edges_m(bed)
        corners = self.project([(left, BED_TOP_M, 0.0), (right, BED_BOTTOM_M, 0.0)])
        (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
        return (x0, y0, x1, y1)

    def bed_edges_m(self, bed: int) -> tuple[float, float]:
        """Return left and right edge of a bed on the floor; bed -1 is the neighbour at the left."""
        left = (bed - self.beds / 2) * BED_WIDTH_M
        return (left, left + BED_WIDTH_M)

    @property
    def stage_px(self) -> tuple[int, int, int, int]:
        """The part of the undistorted picture where cows can be: left, top, right, bottom."""
        left, top, right, bottom = STAGE_M
        corners = self.project([(left, top, 0.0), (right, bottom, 0.0)])
        (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
        return (x0, y0, x1, y1)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the camera matrix, (3, 3)."""
        (x, y), focal = self.centre_px, self.focal_px
        return np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])

    def distort(self, points_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return frame pixels, (n, 2), of undistorted pixels (n, 2)."""
        points = (np.asarray(points_px, np.float64) - self.centre_px) / self.focal_px
        frame = cv2.fisheye.distortPoints(
            points.reshape(-1, 1, 2), self.matrix(), np.array(DISTORTION)
        )
        return np.asarray(frame, np.float64).reshape(-1, 2)


@functools.lru_cache(maxsize=4)
def floor_of_frame(view: View) -> Floats:
    """Return for each pixel of the frame where it looks in the undistorted picture.

    Returns:
        (height, width, 2) float32, undistorted pixels; the frame's corners look far outside of it.
    """
    y, x = np.mgrid[0 : view.height_px, 0 : view.width_px].astype(np.float64)
    points = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    straight = cv2.fisheye.undistortPoints(
        points, view.matrix(), np.array(DISTORTION), P=view.matrix()
    )
    return np.asarray(straight, np.float32).reshape(view.height_px, view.width_px, 2)
