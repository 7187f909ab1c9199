"""Figures of quality mean what they say; a shift is measured to the pixel."""

import cv2
import numpy as np
import pytest
from bad_files import scene

from besana.images.quality import grey, measure, shrink
from besana.images.shift import (
    edge_map,
    fixed_view,
    read_reference,
    reference_edges,
    reference_text,
    shift_px,
)

BIG = (960, 640)


def test_black_and_white_pictures_have_no_signal() -> None:
    for value in (0, 255):
        quality = measure(np.full((480, 640, 3), value, np.uint8))
        assert (quality.brightness, quality.contrast, quality.sharpness) == (value, 0, 0)
        assert quality.entropy_bits == 0
        assert (quality.dark_share, quality.bright_share) == (
            float(value == 0),
            float(value == 255),
        )


def test_two_equal_halves_hold_one_bit() -> None:
    pixels = np.zeros((400, 600, 1), np.uint8)
    pixels[:, 300:] = 200
    quality = measure(pixels)
    assert quality.entropy_bits == pytest.approx(1)
    assert quality.contrast == pytest.approx(100)
    assert quality.brightness == pytest.approx(100)


def test_blur_lowers_sharpness() -> None:
    picture = scene((640, 480))
    noisy = np.clip(picture + np.random.default_rng(1).normal(0, 12, picture.shape), 0, 255)
    sharp = noisy.astype(np.uint8)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    assert measure(blurred).sharpness < 0.2 * measure(sharp).sharpness


def test_light_is_told_by_colour() -> None:
    colour = scene((320, 240))
    infrared = np.repeat(grey(colour)[..., None], 3, axis=2)
    assert measure(colour).light == "day"
    assert measure(infrared).light == "ir"
    assert measure(colour.astype(np.uint16) * 257).light == "day"
    assert measure(colour[..., :2]).light == "day"


def test_depth_changes_no_figure() -> None:
    picture = scene((640, 480))
    assert measure(picture) == measure(picture.astype(np.uint16) * 257)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 16])
def test_shrinking_keeps_channels(channels: int) -> None:
    pixels = np.repeat(scene((64, 32))[..., :1], channels, axis=2)
    small = shrink(pixels, 16)
    assert small.shape == (8, 16, channels)
    assert (small == small[..., :1]).all()


def views(count: int, *, move: tuple[float, float] = (0, 0)) -> list[np.ndarray]:
    """One static scene with something different in front of it each time."""
    rng = np.random.default_rng(2)
    still, pictures = scene(BIG, seed=11), []
    still = cv2.addWeighted(still, 0.6, cv2.resize(scene((480, 320), 12), BIG), 0.4, 0)
    for _ in range(count):
        picture = still.copy()
        x, y = rng.integers(0, 700), rng.integers(0, 450)
        picture[y : y + 180, x : x + 240] = rng.integers(0, 255, 3)
        pictures.append(
            cv2.warpAffine(picture, np.array([[1.0, 0, move[0]], [0, 1, move[1]]]), BIG)
        )
    return pictures


@pytest.mark.parametrize("move", [(0, 0), (6, 0), (-14, 9), (60, -40)])
def test_shift_is_measured_within_two_pixels(move: tuple[int, int]) -> None:
    reference = reference_edges([edge_map(view) for view in views(12)])
    for view in views(3, move=move):
        actual = shift_px(reference, edge_map(view), BIG[0])
        assert actual == pytest.approx(move, abs=2)


def test_fixed_camera_has_a_reference_and_different_pictures_have_none() -> None:
    assert fixed_view([edge_map(view) for view in views(12)]) is not None
    assert fixed_view([edge_map(scene(BIG, seed)) for seed in range(12)]) is None
    assert fixed_view([edge_map(view) for view in views(7)]) is None


def test_featureless_frame_has_no_shift() -> None:
    reference = reference_edges([edge_map(view) for view in views(8)])
    assert shift_px(reference, edge_map(np.full((640, 960, 3), 90, np.uint8)), 960) is None


def test_reference_survives_as_text() -> None:
    reference = reference_edges([edge_map(view) for view in views(8)])
    again = read_reference(reference_text(reference))
    np.testing.assert_array_equal(again, reference)
    assert read_reference(reference_text(None)) is None
