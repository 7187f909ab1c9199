"""Map points and regions between a camera's frames and its undistorted picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from besana.config import Settings
from besana.errors import ConfigError
from besana.images.regions import Box

Points = NDArray[np.float64]

_COEFFICIENTS = {"none": (0,), "pinhole": (0, 4, 5, 8), "fisheye": (0, 4)}
_MATRIX_KEYS = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "K", "mtx")
_DISTORTION_KEYS = (
    "distortion_coefficients",
    "Distortion_Coefficients",
    "distCoeffs",
    "dist_coeffs",
    "D",
    "dist",
)
_HINT = "Write it with OpenCV's FileStorage: camera_matrix, distortion_coefficients."
# A point whose undistorted place does not map back this close has no place there.
_ROUND_TRIP_PX = 0.25


class Lens(Settings):
    """Describe how a camera's lens bends the picture, in OpenCV's camera models.

    The undistorted picture has the calibrated size and the same camera matrix (times `zoom`).
    Frames of another size than the calibrated one are taken as scaled pictures of it.
    """

    model: Literal["none", "pinhole", "fisheye"] = Field(
        default="none", description="Lens model: none, pinhole (radial and tangential) or fisheye."
    )
    focal_px: list[float] = Field(
        default=[], description="Focal length in pixels: one number, or fx and fy."
    )
    centre_px: list[float] = Field(
        default=[],
        description="Principal point cx, cy in pixels; empty: the middle of the picture.",
    )
    distortion: list[float] = Field(
        default=[],
        description="Coefficients in OpenCV's order: pinhole k1, k2, p1, p2[, k3[, k4, k5, k6]];"
        " fisheye k1, k2, k3, k4; empty: all 0.",
    )
    size_px: list[int] = Field(
        default=[],
        description="Width and height the numbers belong to; empty: the frame's own size.",
    )
    zoom: float = Field(
        default=1.0,
        gt=0,
        le=10,
        description="Scale of the undistorted picture: below 1 shows more of the scene.",
    )
    file: Path | None = Field(
        default=None,
        description="OpenCV calibration file (YAML, XML or JSON) instead of the numbers.",
    )

    @model_validator(mode="after")
    def _numbers_fit_the_model(self) -> Self:
        if self.file is not None:
            return self
        if len(self.distortion) not in _COEFFICIENTS[self.model]:
            allowed = " or ".join(str(n) for n in _COEFFICIENTS[self.model])
            raise ValueError(f"a {self.model} lens has {allowed} distortion coefficients")
        if self.model != "none" and (len(self.focal_px) not in (1, 2) or min(self.focal_px) <= 0):
            raise ValueError(f"a {self.model} lens needs focal_px: one or two numbers above 0")
        if len(self.centre_px) not in (0, 2):
            raise ValueError("centre_px is two numbers, cx and cy")
        if len(self.size_px) not in (0, 2) or any(side < 1 for side in self.size_px):
            raise ValueError("size_px is two numbers above 0, width and height")
        return self

    def located(self, folder: Path) -> Lens:
        """Return this lens with the numbers of its calibration file read in.

        Args:
            folder: Where a relative `file` starts: the folder of `besana.toml`.

        Raises:
            ConfigError: If the file is missing or holds no calibration.
        """
        if self.file is None:
            return self
        return read_calibration(folder / self.file, self)

    def undistorted_size_px(self, frame_size_px: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of the undistorted picture of a frame of this size."""
        return (self.size_px[0], self.size_px[1]) if self.size_px else frame_size_px

    def distort_points(self, points: Points, frame_size_px: tuple[int, int]) -> Points:
        """Return where points of the undistorted picture lie in a frame.

        The closed forms of OpenCV's calib3d (pinhole; fisheye: Kannala and Brandt 2006).

        Args:
            points: (n, 2) x and y in undistorted pixels; whole numbers are pixel centres.
            frame_size_px: Width and height of the frame.
        """
        if self.model != "none":
            fx, fy, cx, cy = self._matrix(frame_size_px)
            x = (points[:, 0] - cx) / (fx * self.zoom)
            y = (points[:, 1] - cy) / (fy * self.zoom)
            x, y = self._bend(x, y)
            points = np.stack([x * fx + cx, y * fy + cy], axis=1)
        return _rescale(points, self.undistorted_size_px(frame_size_px), frame_size_px)

    def undistort_points(self, points: Points, frame_size_px: tuple[int, int]) -> Points:
        """Return where points of a frame lie in the undistorted picture.

        Args:
            points: (n, 2) x and y in frame pixels; whole numbers are pixel centres.
            frame_size_px: Width and height of the frame.

        Returns:
            (n, 2) undistorted pixels; NaN where the lens sees a point that the undistorted
            plane cannot show (a fisheye beyond 90 degrees from its axis).
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        straight = _rescale(points, frame_size_px, self.undistorted_size_px(frame_size_px))
        if self.model == "none" or len(points) == 0:
            return straight
        straight = self._straighten(straight, frame_size_px)
        back = self.distort_points(straight, frame_size_px)
        unreachable = ~(np.hypot(*(back - points).T) <= _ROUND_TRIP_PX)
        straight[unreachable] = np.nan
        return straight

    def region_map(
        self, box: Box, frame_size_px: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the maps with which `cv2.remap` cuts one undistorted box out of a frame.

        Only the box's pixels are mapped, so the cost is that of the region, not of the frame.

        Args:
            box: The box in undistorted pixels.
            frame_size_px: Width and height of the frame.

        Returns:
            Two (height, width) arrays: frame x and frame y of each pixel of the box.
        """
        x, y = np.meshgrid(
            np.arange(box.left, box.right, dtype=np.float64),
            np.arange(box.top, box.bottom, dtype=np.float64),
        )
        points = self.distort_points(np.stack([x.ravel(), y.ravel()], axis=1), frame_size_px)
        maps = points.astype(np.float32).reshape(*x.shape, 2)
        return np.ascontiguousarray(maps[..., 0]), np.ascontiguousarray(maps[..., 1])

    def is_identity(self, frame_size_px: tuple[int, int]) -> bool:
        """Tell whether the undistorted picture is the frame itself."""
        return self.model == "none" and self.undistorted_size_px(frame_size_px) == frame_size_px

    def _matrix(self, frame_size_px: tuple[int, int]) -> tuple[float, float, float, float]:
        width, height = self.undistorted_size_px(frame_size_px)
        cx, cy = self.centre_px or ((width - 1) / 2, (height - 1) / 2)
        return self.focal_px[0], self.focal_px[-1], cx, cy

    def _bend(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Any, Any]:
        if self.model == "fisheye":
            k1, k2, k3, k4 = self.distortion or (0.0, 0.0, 0.0, 0.0)
            r = np.hypot(x, y)
            theta = np.arctan(r)
            t2 = theta * theta
            bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
            scale = np.divide(bent, r, out=np.ones_like(r), where=r > 1e-12)
            return x * scale, y * scale
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, *[0.0] * (8 - len(self.distortion)))
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        return bent_x, bent_y

    def _straighten(self, points: Points, frame_size_px: tuple[int, int]) -> Points:
        import cv2

        fx, fy, cx, cy = self._matrix(frame_size_px)
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        wanted = np.array([[fx * self.zoom, 0, cx], [0, fy * self.zoom, cy], [0, 0, 1]])
        criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-9)
        source = points.reshape(-1, 1, 2)
        if self.model == "fisheye":
            bends = np.array(self.distortion or [0.0] * 4)
            straight = cv2.fisheye.undistortPoints(
                source, matrix, bends, P=wanted, criteria=criteria
            )
        else:
            bends = np.array(self.distortion or [0.0] * 4)
            straight = cv2.undistortPoints(source, matrix, bends, P=wanted, criteria=criteria)
        return cast("Points", straight.reshape(-1, 2).astype(np.float64))


def read_calibration(path: Path, lens: Lens) -> Lens:
    """Read an OpenCV calibration file (YAML, XML or JSON) into a lens.

    Args:
        path: The file, with a camera matrix and distortion coefficients under the names
            that OpenCV's samples write.
        lens: Gives the model; `none` means: fisheye if the file says so, else pinhole.

    Raises:
        ConfigError: If the file is missing or holds no calibration.
    """
    if not path.is_file():
        raise ConfigError(f"No calibration file {str(path)!r}.", _HINT)
    return parse_calibration(path.read_bytes().decode(errors="replace"), str(path), lens)


def parse_calibration(text: str, name: str, lens: Lens) -> Lens:
    """Read the content of an OpenCV calibration file into a lens.

    Args:
        text: The content.
        name: What to call it in messages.
        lens: As for `read_calibration`.

    Raises:
        ConfigError: If it holds no calibration.
    """
    import cv2

    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        matrix = _first_matrix(storage, _MATRIX_KEYS)
        bends = _first_matrix(storage, _DISTORTION_KEYS)
        size = [int(storage.getNode(key).real()) for key in ("image_width", "image_height")]
        fisheye = bool(storage.getNode("fisheye_model").real())
        storage.release()
    except (cv2.error, SystemError) as error:
        raise ConfigError(f"{name!r} is no OpenCV file.", _HINT) from error
    if matrix is None or matrix.shape != (3, 3) or bends is None:
        raise ConfigError(f"No calibration in {name!r}.", _HINT)
    model = lens.model if lens.model != "none" else ("fisheye" if fisheye else "pinhole")
    values: Mapping[str, Any] = {
        "model": model,
        "focal_px": [float(matrix[0, 0]), float(matrix[1, 1])],
        "centre_px": [float(matrix[0, 2]), float(matrix[1, 2])],
        "distortion": [float(value) for value in bends.ravel()],
        "size_px": size if min(size) > 0 else lens.size_px,
        "zoom": lens.zoom,
    }
    try:
        return Lens(**values)
    except ValueError as error:
        raise ConfigError(f"The calibration in {name!r} does not fit: {error}", _HINT) from error


def _first_matrix(storage: Any, keys: tuple[str, ...]) -> NDArray[np.float64] | None:
    for key in keys:
        node = storage.getNode(key)
        if not node.empty() and node.mat() is not None:
            return cast("NDArray[np.float64]", np.asarray(node.mat(), dtype=np.float64))
    return None


def _rescale(points: Points, source: tuple[int, int], target: tuple[int, int]) -> Points:
    """Scale points between two sizes of one picture; pixel centres are whole numbers."""
    if source == target:
        return np.array(points, dtype=np.float64)
    scale = np.array([target[0] / source[0], target[1] / source[1]])
    return np.asarray((points + 0.5) * scale - 0.5)
