"""Regions are cut as OpenCV would undistort and crop; recipes name what was done."""

import cv2
import numpy as np
import pytest
from bad_files import encoded, exif_block, jpeg, jpeg_with_segments, scene

from besana.images.camera import Camera
from besana.images.cut import Cutter, crop, recipe, resize
from besana.images.decode import decode
from besana.images.lens import Lens
from besana.images.regions import Box, Grid
from besana.images.samples import frame_samples

SIZE = (320, 240)
MATRIX = np.array([[210.0, 0, 161.5], [0, 205.0, 118.25], [0, 0, 1]])
NUMBERS = {"focal_px": [210.0, 205.0], "centre_px": [161.5, 118.25], "size_px": list(SIZE)}
PINHOLE = Lens(model="pinhole", distortion=[-0.21, 0.05, 0.002, -0.003, -0.004], **NUMBERS)
FISHEYE = Lens(model="fisheye", distortion=[0.02, -0.01, 0.004, -0.001], **NUMBERS)


def undistorted(lens: Lens, frame: np.ndarray) -> np.ndarray:
    bends = np.array(lens.distortion)
    if lens.model == "pinhole":
        return cv2.undistort(frame, MATRIX, bends)
    return cv2.fisheye.undistortImage(frame, MATRIX, bends, Knew=MATRIX)


@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_region_equals_crop_of_opencvs_undistortion(lens: Lens) -> None:
    frame = scene(SIZE)
    camera = Camera(lens=lens, regions={"bed": [40, 30, 250, 200]})
    (sample,) = Cutter(camera, SIZE, 4096).samples(frame)
    expected = undistorted(lens, frame)[30:200, 40:250]
    assert np.abs(sample.pixels.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_band_is_cut_alike(channels: int, dtype: type) -> None:
    frame = np.repeat(scene(SIZE)[..., :1].astype(dtype) * 3, channels, axis=2)
    camera = Camera(lens=FISHEYE, grid=Grid(size_px=100))
    for sample in Cutter(camera, SIZE, 32).samples(frame):
        assert sample.pixels.shape[2] == channels
        assert sample.pixels.dtype == dtype
        assert (sample.pixels == sample.pixels[..., :1]).all()


def test_outside_of_a_polygon_is_black() -> None:
    camera = Camera(regions={"bed": [[10, 10], [60, 10], [10, 60]]})
    (sample,) = Cutter(camera, SIZE, 256).samples(np.full((240, 320, 3), 200, np.uint8))
    assert sample.pixels.shape == (50, 50, 3)
    assert (sample.pixels[0, :49] == 200).all()
    assert (sample.pixels[49, 1:] == 0).all()


def test_region_beyond_the_frame_is_padded_or_left_out() -> None:
    camera = Camera(regions={"half": [310, 0, 330, 20], "out": [400, 0, 420, 20]})
    (sample,) = Cutter(camera, SIZE, 256).samples(np.full((240, 320, 1), 9, np.uint8))
    assert sample.region == "half"
    assert (sample.pixels[:, :10] == 9).all()
    assert (sample.pixels[:, 10:] == 0).all()
    assert crop(np.zeros((5, 5, 1), np.uint8), Box(-9, 0, -1, 5)) is None


def test_samples_are_shrunk_and_never_enlarged() -> None:
    camera = Camera(regions={"wide": [0, 0, 300, 100], "small": [0, 0, 40, 30]})
    wide, small = Cutter(camera, SIZE, 50).samples(scene(SIZE))
    assert wide.pixels.shape == (50, 150, 3)
    assert small.pixels.shape == (30, 40, 3)
    assert resize(scene(SIZE), 240).shape == (240, 320, 3)


def test_recipe_changes_with_what_changes_pixels_only() -> None:
    camera = Camera(lens=FISHEYE)
    same = camera.model_copy(update={"name": "other", "time_zone": "Europe/Madrid"})
    assert recipe(camera, 256, 90) == recipe(same, 256, 90)
    others = [
        recipe(Camera(lens=PINHOLE), 256, 90),
        recipe(Camera(lens=FISHEYE, grid=Grid()), 256, 90),
        recipe(Camera(lens=FISHEYE, scale=[0, 9]), 256, 90),
        recipe(camera, 255, 90),
        recipe(camera, 256, 91),
    ]
    assert len({recipe(camera, 256, 90), *others}) == 6


def test_untouched_small_jpeg_is_kept_without_its_metadata() -> None:
    data = jpeg_with_segments((0xE1, b"Exif\0\0" + exif_block(1)), (0xFE, b"GPS of the farm"))
    (sample,), _ = frame_samples({"rgb": data}, Camera(), size_px=256, quality=95)
    assert sample.encoded.main == jpeg()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg_with_segments((0xE1, b"Exif\0\0" + exif_block(6))), id="turned"),
        pytest.param(encoded(scene(), "PNG"), id="png"),
        pytest.param(jpeg(scene()[..., 0]), id="grey"),
        pytest.param(jpeg(quality=100), id="larger"),
        pytest.param(jpeg() + b"<html>", id="tail"),
    ],
)
def test_other_files_are_encoded_anew(data: bytes) -> None:
    (sample,), _ = frame_samples({"rgb": data}, Camera(), size_px=256, quality=90)
    actual = decode(sample.encoded.main).pixels
    assert sample.encoded.main != data
    assert actual.shape == (sample.height_px, sample.width_px, 3)
    assert np.abs(actual.astype(int) - decode(data).pixels).mean() < 4
