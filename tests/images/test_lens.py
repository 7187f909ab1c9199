"""Lens maps agree with OpenCV, and points go there and back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from besana.errors import ConfigError
from besana.images.lens import Lens, read_calibration
from besana.images.regions import Box

SIZE = (320, 240)
PINHOLE = Lens(
    model="pinhole",
    focal_px=[210.0, 205.0],
    centre_px=[161.5, 118.25],
    distortion=[-0.21, 0.05, 0.002, -0.003, -0.004],
    size_px=[320, 240],
)
FISHEYE = Lens(
    model="fisheye",
    focal_px=[110.0],
    centre_px=[158.0, 121.0],
    distortion=[0.02, -0.01, 0.004, -0.001],
    size_px=[320, 240],
)


def opencv_maps(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    fx, fy = lens.focal_px[0], lens.focal_px[-1]
    cx, cy = lens.centre_px
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    target = np.array([[fx * lens.zoom, 0, cx], [0, fy * lens.zoom, cy], [0, 0, 1]])
    bends = np.array(lens.distortion)
    if lens.model == "fisheye":
        return cv2.fisheye.initUndistortRectifyMap(
            matrix, bends, np.eye(3), target, SIZE, cv2.CV_32FC1
        )
    return cv2.initUndistortRectifyMap(matrix, bends, np.eye(3), target, SIZE, cv2.CV_32FC1)


def picture() -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("zoom", [1.0, 0.6])
@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_map_equals_opencv(lens: Lens, zoom: float) -> None:
    lens = lens.model_copy(update={"zoom": zoom})
    expected_x, expected_y = opencv_maps(lens)
    actual_x, actual_y = lens.region_map(Box(0, 0, *SIZE), SIZE)
    np.testing.assert_allclose(actual_x, expected_x, atol=2e-3)
    np.testing.assert_allclose(actual_y, expected_y, atol=2e-3)


@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_region_equals_crop_of_the_whole_undistorted_frame(lens: Lens) -> None:
    frame, box = picture(), Box(90, 40, 230, 200)
    whole = cv2.remap(frame, *opencv_maps(lens), cv2.INTER_LINEAR)
    region = cv2.remap(frame, *lens.region_map(box, SIZE), cv2.INTER_LINEAR)
    crop = whole[box.top : box.bottom, box.left : box.right]
    assert np.abs(region.astype(int) - crop.astype(int)).max() <= 1


@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE, Lens()], ids=["pinhole", "fisheye", "none"])
@settings(max_examples=40, deadline=None)
@given(x=st.floats(20, 300), y=st.floats(20, 220), scale=st.sampled_from([1, 2, 4]))
def test_points_go_there_and_back(lens: Lens, x: float, y: float, scale: int) -> None:
    frame_size = (320 * scale, 240 * scale)
    point = np.array([[x, y]])
    there = lens.distort_points(point, frame_size)
    np.testing.assert_allclose(lens.undistort_points(there, frame_size), point, atol=0.02)


def test_points_the_plane_cannot_show_are_nan() -> None:
    lens = Lens(model="fisheye", focal_px=[60.0], size_px=[320, 240])
    actual = lens.undistort_points(np.array([[0.0, 120.0], [160.0, 120.0]]), SIZE)
    assert np.isnan(actual[0]).all()
    assert np.isfinite(actual[1]).all()


def test_frame_of_double_size_maps_to_double_coordinates() -> None:
    box = Box(100, 60, 140, 90)
    x, y = PINHOLE.region_map(box, SIZE)
    double_x, double_y = PINHOLE.region_map(box, (640, 480))
    np.testing.assert_allclose(double_x, (x + 0.5) * 2 - 0.5, atol=1e-3)
    np.testing.assert_allclose(double_y, (y + 0.5) * 2 - 0.5, atol=1e-3)


def test_no_lens_is_identity() -> None:
    x, y = Lens().region_map(Box(3, 4, 6, 6), SIZE)
    assert x.tolist() == [[3, 4, 5], [3, 4, 5]]
    assert y.tolist() == [[4, 4, 4], [5, 5, 5]]
    assert Lens().is_identity(SIZE)
    assert not Lens(size_px=[640, 480]).is_identity(SIZE)


@pytest.mark.parametrize("suffix", ["yaml", "xml", "json"])
def test_calibration_file_gives_the_same_lens(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"calibration.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 320)
    storage.write("image_height", 240)
    storage.write("camera_matrix", np.array([[210.0, 0, 161.5], [0, 205, 118.25], [0, 0, 1]]))
    storage.write("distortion_coefficients", np.array([PINHOLE.distortion]))
    storage.release()
    assert Lens(file=Path(path.name)).located(tmp_path) == PINHOLE


@pytest.mark.parametrize("content", [b"", b"camera_matrix: 7\n", b"\x00\xff", b"%YAML:1.0\n"])
def test_unusable_calibration_file_is_a_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calibration.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="calibration"):
        read_calibration(path, Lens())


def test_missing_calibration_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No calibration file"):
        Lens(file=Path("nowhere.yaml")).located(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"model": "fisheye", "focal_px": [100], "distortion": [0.1]},
        {"model": "pinhole"},
        {"model": "pinhole", "focal_px": [-1]},
        {"centre_px": [1]},
        {"size_px": [0, 10]},
        {"zoom": 0},
    ],
)
def test_impossible_lens_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"lens|centre_px|size_px|zoom"):
        Lens.model_validate(values)
