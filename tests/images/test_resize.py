"""Resizing: a true antialiased resize, the same with and without torch."""

import subprocess
import sys
import threading
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from besana.images.resize import _by_pillow, resize, resize_alone

SIZES = [(240, 200), (280, 350), (400, 330), (500, 900), (100, 150), (1, 1), (3, 700)]


def textured(height: int, width: int, channels: int, dtype: Any) -> np.ndarray[Any, Any]:
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    noise = np.random.default_rng(height).uniform(0, top, (height, width, channels))
    smooth = cv2.GaussianBlur(noise, (0, 0), 0.8).reshape(noise.shape)
    return smooth.astype(dtype)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("size", SIZES)
def test_resize_is_pillows_bilinear_to_a_level(size: tuple[int, int]) -> None:
    pixels = textured(*size, 3, np.uint8)
    theirs = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)

    difference = np.abs(resize(pixels, (224, 224)).astype(int) - np.asarray(theirs))
    assert difference.max() <= 1
    assert difference.mean() < 0.3


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 16])
def test_resize_with_torch_equals_that_without_to_a_level(channels: int, dtype: Any) -> None:
    pixels = textured(120, 90, channels, dtype)
    level = 1e-4 if dtype == np.float32 else 1
    for size in [(20, 20), (120, 90), (60, 200), (119, 91)]:
        with_torch, without = resize(pixels, size), np.empty((*size, channels), dtype)
        _by_pillow(pixels, without)

        assert with_torch.dtype == dtype
        assert with_torch.shape == (*size, channels)
        assert np.abs(with_torch.astype(float) - without).max() <= level


def test_resize_of_a_view_fills_the_memory_it_is_given() -> None:
    pixels = textured(80, 100, 3, np.uint8)
    out = np.zeros((2, 32, 40, 3), np.uint8)
    resize(pixels[10:70, 20:90], (32, 40), out[1])

    assert (out[1] == resize(pixels[10:70, 20:90].copy(), (32, 40))).all()
    assert not out[0].any()


def test_resize_of_an_even_picture_keeps_its_level() -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = np.full((50, 90, 3), np.iinfo(dtype).max // 2, dtype)
        assert (resize(pixels, (33, 20)) == pixels[0, 0, 0]).all()


def test_resize_imports_no_torch() -> None:
    code = (
        "import sys, numpy as np; from besana.images.resize import resize;"
        "made = resize(np.full((9, 9, 3), 7, np.uint8), (4, 4));"
        "print((made == 7).all(), 'torch' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert child.stdout.split() == ["True", "False"]


def test_a_thread_that_resizes_alone_leaves_torch_to_the_others(torch: Any) -> None:
    def number_of(prepare: Any) -> int:
        found: list[int] = []

        def look() -> None:
            prepare()
            found.append(torch.get_num_threads())

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return found[0]

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert [number_of(resize_alone) for _ in range(2)] == [1, 1]
        assert number_of(lambda: None) == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
