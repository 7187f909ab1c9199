"""Decoding: the right size, no aliasing, channels and types as promised."""

from typing import Any

import cv2
import numpy as np
import pytest
from shard_farm import jpeg, png, smooth_picture

from besana.errors import CorruptDataError
from besana.shards.decoding import change_colour, convert, decode_crop, jpeg_scales, snap

GENERATOR = np.random.default_rng(11)


def textured(height: int, width: int) -> np.ndarray[Any, Any]:
    noise = GENERATOR.integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.2)


def decode(payload: memoryview, height: int, width: int, scale: int = 1, **more: Any) -> Any:
    box = 0, 0, -(-height // scale), -(-width // scale)
    return decode_crop(payload, height, width, box, scale=scale, **more)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(40, 48), (37, 51)])
def test_scaled_jpeg_is_a_smaller_picture(size: tuple[int, int], scale: int) -> None:
    pixels = smooth_picture(100, *size)
    small = decode(memoryview(jpeg(pixels)), *size, scale=scale)

    assert small.shape == (-(-size[0] // scale), -(-size[1] // scale), 3)
    if size == (40, 48):
        expected = cv2.resize(pixels, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - expected).mean() < 3


def test_scale_is_the_largest_that_still_covers_the_target() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1]], float)
    height, width = np.array([447, 448, 448, 9000]), np.array([1000, 1000, 1000, 9000])

    assert jpeg_scales(height, width, boxes, (224, 224)).tolist() == [1, 2, 1, 8]


def test_a_jpeg_decodes_into_the_scratch() -> None:
    scratch = np.zeros(40 * 48 * 3, np.uint8)
    pixels = decode(memoryview(jpeg(smooth_picture(7))), 40, 48, scratch=scratch)

    assert np.shares_memory(pixels, scratch)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_exact(channels: int, dtype: Any) -> None:
    pixels = GENERATOR.integers(0, np.iinfo(dtype).max, (9, 7, channels), dtype=dtype)
    back = decode(memoryview(png(pixels)), 9, 7)

    assert back.dtype == dtype
    assert (back == pixels).all()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xd8\xff",
        b"no image at all",
        jpeg(smooth_picture(1))[:200],
        png(smooth_picture(1))[:100],
        jpeg(smooth_picture(1, 41, 48)),
        png(smooth_picture(1, 40, 49)),
        cv2.imencode(".png", np.zeros((40, 48, 4), np.uint8))[1].tobytes(),
    ],
)
def test_bytes_that_are_no_such_image_are_corrupt(payload: bytes) -> None:
    with pytest.raises(CorruptDataError):
        decode(memoryview(payload), 40, 48)


def box_of(shares: tuple[float, ...], height: int, width: int) -> tuple[int, ...]:
    return tuple(snap(np.array([shares]), np.array([height]), np.array([width]))[0].tolist())


def test_crops_of_bands_at_different_scales_show_the_same_place() -> None:
    box = box_of((0.13, 0.21, 0.4, 0.52), 240, 320)
    full = np.mgrid[:960, :1280][0].astype(np.uint16)[:, :, None]
    band = decode_crop(memoryview(png(full)), 960, 1280, box, scale=4)

    assert band.shape == (box[2] * 4, box[3] * 4, 1)
    assert band[0, 0, 0] == full[box[0] * 4, box[1] * 4, 0]


@pytest.mark.parametrize("shares", [(0.0, 0.0, 1e-9, 1e-9), (0.999, 0.999, 0.001, 0.001)])
def test_a_crop_has_at_least_one_pixel(shares: tuple[float, ...]) -> None:
    top, left, tall, wide = box_of(shares, 5, 4)

    assert (tall, wide) == (1, 1)
    assert 0 <= top < 5
    assert 0 <= left < 4


def test_types_convert_full_scale_to_full_scale() -> None:
    every = np.arange(256, dtype=np.uint8)[:, None, None]
    wide = convert(every, np.uint16)

    assert wide[255] == 65535
    assert (convert(wide, np.uint8) == every).all()


def test_colour_changes_as_torchvision_does() -> None:
    torch = pytest.importorskip("torch")
    pixels = textured(30, 40)
    changed = pixels.copy()
    change_colour(changed, (1.2, 0.7, 1.3))

    rgb = torch.from_numpy(pixels).permute(2, 0, 1).float()
    weights = torch.tensor([0.2989, 0.587, 0.114])[:, None, None]
    rgb = (rgb * 1.2).clamp(0, 255)
    grey = (rgb * weights).sum(0)
    rgb = (rgb * 0.7 + grey.mean() * 0.3).clamp(0, 255)
    grey = (rgb * weights).sum(0)
    rgb = (rgb * 1.3 + grey * -0.3).clamp(0, 255)
    assert np.abs(rgb.permute(1, 2, 0).numpy() - changed).max() <= 1


def test_colour_leaves_bands_beyond_rgb_alone() -> None:
    pixels = GENERATOR.integers(0, 65535, (8, 8, 5), dtype=np.uint16)
    changed = pixels.copy()
    change_colour(changed, (0.5, 1.5, 0.5))

    assert (changed[:, :, 3:] == pixels[:, :, 3:]).all()
    assert (changed[:, :, :3] != pixels[:, :, :3]).any()
