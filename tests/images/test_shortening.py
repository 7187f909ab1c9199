"""A JPEG cut short gives the rows that the whole one gives."""

from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg

from besana.images.encode import encode_jpeg
from besana.images.shortening import shorter
from besana.shards.decoding import decode_crop


def textured(channels: int = 3) -> np.ndarray[Any, Any]:
    noise = np.random.default_rng(channels).integers(0, 255, (203, 150, 3), dtype=np.uint8)
    return np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 1.0)[:, :, :channels])


@pytest.mark.parametrize("sampling", ["444", "422", "420", "440", "411", "GRAY"])
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("readonly", [True, False])
def test_rows_equal_those_of_the_whole_picture(sampling: str, scale: int, readonly: bool) -> None:
    is_grey = sampling == "GRAY"
    colours = ("GRAY", "GRAY") if is_grey else ("RGB", sampling)
    encoded = simplejpeg.encode_jpeg(textured(1 if is_grey else 3), 90, *colours)
    data = memoryview(encoded if readonly else bytearray(encoded))
    height, width = -(-203 // scale), -(-150 // scale)
    whole = decode_crop(memoryview(encoded), 203, 150, (0, 0, height, width), scale=scale)
    for last in range(1, height + 1):
        box = (last // 2, 3, last - last // 2, width - 3)
        cut = decode_crop(data, 203, 150, box, scale=scale, sound=True)
        assert (cut == whole[last // 2 : last, 3:]).all(), last
    assert data == encoded


def test_what_is_not_needed_is_not_decoded() -> None:
    encoded = simplejpeg.encode_jpeg(textured(), 90, "RGB", "420")

    cut = shorter(memoryview(encoded), 203, 60)
    assert cut is not None
    assert cut.rows == 64
    assert int.from_bytes(encoded[cut.place : cut.place + 2], "big") == 203
    assert shorter(memoryview(encoded), 203, 64) == (cut.place, 80)
    assert shorter(memoryview(encoded), 203, 200) is None


def test_other_files_are_left_alone() -> None:
    encoded = encode_jpeg(textured())
    bgr = textured()[:, :, ::-1]
    progressive = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()

    assert shorter(memoryview(progressive), 203, 20) is None
    assert shorter(memoryview(encoded), 204, 20) is None
    for end in range(2, 700):
        shorter(memoryview(encoded[:end]), 203, 20)
