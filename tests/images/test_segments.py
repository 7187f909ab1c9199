"""JPEG in parts: the pixels of a part equal those of the whole picture, bit by bit."""

import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from besana.images.encode import encode_jpeg, jpeg_without_metadata
from besana.images.segments import interval, part_under, with_table

SHARED = Path(os.environ.get("BESANA_DATA", Path(__file__).parents[3] / "shared/data"))
Box = tuple[int, int, int, int]


def textured(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray[Any, Any]:
    """Draw colourful noise, where an error of one MCU cannot hide."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 0.8 + seed % 4).reshape(height, width, channels)


def decoded(data: Any, scale: int, channels: int) -> np.ndarray[Any, Any]:
    if scale == 1:
        return np.asarray(simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB"))
    kind = "GRAYSCALE" if channels == 1 else "COLOR"  # OpenCV is told the scale, not the size
    flag = getattr(cv2, f"IMREAD_REDUCED_{kind}_{scale}")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    return np.asarray(pixels).reshape(*pixels.shape[:2], channels)


def both(
    data: bytes, height: int, width: int, box: Box, *, scale: int = 1, channels: int = 3
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Decode what is under a box of the scaled picture: from the whole file, and from a part."""
    top, left, tall, wide = box
    whole = decoded(data, scale, channels)
    full = top * scale, left * scale, tall * scale, wide * scale
    part = part_under(memoryview(data), height, width, full)
    if part is None:
        return whole, whole
    assert len(part.data) <= len(data)
    pixels = decoded(part.data, scale, channels)
    assert pixels.shape[:2] == (-(-part.height // scale), -(-part.width // scale))
    first_row, first_column = top - part.top // scale, left - part.left // scale
    seen = pixels[first_row : first_row + tall, first_column : first_column + wide]
    return seen, whole[top : top + tall, left : left + wide]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_pixels_of_a_part_equal_those_of_the_whole(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 260)), data.draw(st.integers(1, 260))
    channels, scale = data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([1, 2, 4, 8]))
    quality = data.draw(st.integers(10, 100))
    encoded = encode_jpeg(textured(height, width, channels, quality), quality)
    rows, columns = -(-height // scale), -(-width // scale)
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    box = (
        top,
        left,
        data.draw(st.integers(1, rows - top)),
        data.draw(st.integers(1, columns - left)),
    )

    seen, expected = both(encoded, height, width, box, scale=scale, channels=channels)

    assert seen.shape == expected.shape
    assert (seen == expected).all()


def test_pixels_of_a_part_of_a_photograph_equal_those_of_the_whole() -> None:
    photographs = sorted(SHARED.glob("barn/frames/*/*.jpg"))[::16]
    if not photographs:
        pytest.skip("no photographs in BESANA_DATA or ../shared/data")
    draw = np.random.default_rng(5)
    for number, path in enumerate(photographs):
        original = path.read_bytes()
        height, width = simplejpeg.decode_jpeg_header(original)[:2]
        encoded = encode_jpeg(decoded(original, 1, 3), 70 + 3 * number % 30)
        scale = (1, 2, 4)[number % 3]
        tall, wide = (draw.uniform(0.2, 0.9, 2) * [height // scale, width // scale]).astype(int)
        top, left = draw.integers(0, [height // scale - tall, width // scale - wide])
        box = int(top), int(left), int(tall), int(wide)

        seen, expected = both(encoded, height, width, box, scale=scale)

        assert (seen == expected).all()


def test_a_part_is_as_long_as_its_share_of_the_picture() -> None:
    encoded = encode_jpeg(textured(1080, 1920), 90)
    part = part_under(memoryview(encoded), 1080, 1920, (400, 700, 300, 500))

    assert part is not None
    assert 300 <= part.height <= 300 + 4 * 16
    assert 500 <= part.width <= 500 + 3 * 64
    area = part.height * part.width / (1080 * 1920)
    assert len(part.data) == pytest.approx(area * len(encoded), rel=0.15)


@pytest.mark.parametrize("channels", [1, 3])
def test_other_readers_see_an_ordinary_jpeg(channels: int) -> None:
    pixels = textured(100, 150, channels, seed=3)
    encoded = encode_jpeg(pixels, 90)
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    expected = decoded(encoded, 1, channels)

    by_opencv = cv2.imdecode(np.frombuffer(encoded, np.uint8), mode).reshape(100, 150, channels)
    by_pillow = np.asarray(Image.open(io.BytesIO(encoded))).reshape(100, 150, channels)
    assert (by_opencv == expected).all()
    assert (by_pillow == expected).all()
    assert np.abs(expected.astype(int) - pixels).mean() < 10


def test_markers_and_table_cost_few_bytes() -> None:
    pixels = textured(375, 500)
    plain = cv2.imencode(
        ".jpg",
        cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    )[1]

    assert len(encode_jpeg(pixels, 90)) < 1.05 * len(plain)


def test_a_jpeg_without_a_table_has_no_parts() -> None:
    pixels = textured(100, 150)
    box = 10, 10, 40, 40
    plain = simplejpeg.encode_jpeg(pixels, 90, "RGB", "420")
    encoded = encode_jpeg(pixels, 90)
    stripped = jpeg_without_metadata(encoded)

    assert stripped is not None
    assert (decoded(stripped, 1, 3) == decoded(encoded, 1, 3)).all()
    assert part_under(memoryview(encoded), 100, 150, box) is not None
    for other in (plain, stripped, encoded[:60], encoded[:-1], encoded + b"x"):
        assert part_under(memoryview(other), 100, 150, box) is None


def test_a_table_of_another_size_is_not_used() -> None:
    encoded = memoryview(encode_jpeg(textured(100, 150), 90))

    assert part_under(encoded, 160, 150, (10, 10, 40, 40)) is None
    assert part_under(encoded, 100, 170, (10, 10, 40, 40)) is None


def test_a_box_of_everything_needs_no_part() -> None:
    encoded = memoryview(encode_jpeg(textured(100, 150), 90))

    assert part_under(encoded, 100, 150, (0, 0, 100, 150)) is None


def test_too_many_segments_leave_the_file_without_a_table() -> None:
    pixels = np.zeros((2900, 2900), np.uint8)
    one_each = [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    many = cv2.imencode(".jpg", pixels, one_each)[1].tobytes()

    assert with_table(many, 1) == many


@pytest.mark.parametrize("width", [*range(1, 200, 7), 368, 500, 1280, 1920, 4000])
@pytest.mark.parametrize("components", [1, 3])
def test_an_interval_divides_the_row(width: int, components: int) -> None:
    across = -(-width // (16 if components == 3 else 8))

    assert across % interval(width, components) == 0
