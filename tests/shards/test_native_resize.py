"""The native library resizes as arithmetic says, on every kind of processor the same."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from shard_farm import Farm, jpeg

from besana.shards import Loader, Manifest
from besana.shards.native import lay_out
from besana.shards.pictures import Task

is_there = importlib.util.find_spec("besana_native") is not None
why = "make native" if shutil.which("cargo") else "needs a Rust compiler"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_there, reason=why)]

Pixels = np.ndarray[Any, Any]
HEIGHT, WIDTH = 131, 173
LARGEST_ERROR = 0.75


def noise(number: int, channels: int = 3) -> Pixels:
    """The worst to resize: black and white at random, each value by itself."""
    draw = np.random.default_rng(number)
    return 255 * draw.integers(0, 2, (HEIGHT, WIDTH, channels), dtype=np.uint8)


def grey_noise(number: int) -> Pixels:
    return noise(number, 1)


def triangle(source: int, target: int) -> Pixels:
    """Weights (target, source) of a triangle filter as wide as the reduction."""
    step = source / target
    middles = (np.arange(target)[:, None] + 0.5) * step
    share = 1 - np.abs(np.arange(source) + 0.5 - middles) / max(step, 1)
    weights = np.maximum(share, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def exact(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    down, across = triangle(pixels.shape[0], size[0]), triangle(pixels.shape[1], size[1])
    return np.einsum("yh,hwc,xw->yxc", down, pixels, across, optimize=True)


def made(
    manifest: Manifest, task: Task, size: tuple[int, int], channels: int, plain: bool
) -> Pixels | None:
    """Make a picture; None where it is left to Python."""
    import besana_native

    paths = [str(manifest.storage.local_path(key)) for key in manifest.shards]
    out = np.zeros((1, *size, channels), np.uint8)
    filler = besana_native.Filler(paths, *size, channels, plain)
    orders = lay_out(manifest, np.array([task.position]), [task])
    state, _ = filler.fill(orders, [], out)
    return out[0] if state[0] else None


def draw_task(manifest: Manifest, draw: np.random.Generator, channels: int) -> Task:
    """Ask for any piece of a picture, from one pixel to all of it, mirrored or not."""
    position = int(draw.integers(len(manifest)))
    place = manifest.location(position)
    top, left = int(draw.integers(HEIGHT)), int(draw.integers(WIDTH))
    box = (top, left, *(int(draw.integers(1, n + 1)) for n in (HEIGHT - top, WIDTH - left)))
    start = place.payload_offset_bytes - place.offset_bytes - 12
    whole = (place.shard, place.offset_bytes, int(manifest.crc32c[position]), start)
    flip, upend = (bool(bit) for bit in draw.integers(2, size=2))
    sides = (place.payload_length_bytes, HEIGHT, WIDTH, channels)
    return Task(position, *whole, *sides, 1, box, box, flip, upend, 0, None)


@pytest.mark.parametrize("picture", [noise, grey_noise])
def test_pictures_are_what_arithmetic_says(tmp_path: Path, picture: Any) -> None:
    """Closer than Python's, which rounds twice: so both are one level apart at most."""
    channels = picture(0).shape[2]
    manifest = Farm(tmp_path, count=4, picture=picture).write()
    draw = np.random.default_rng(3)
    left = 0
    for _ in range(150):
        task = draw_task(manifest, draw, channels)
        height, width = draw.integers(1, [90, 330][draw.integers(2)], 2).tolist()
        size = (height, width)
        seen = made(manifest, task, size, channels, plain=False)
        same = made(manifest, task, size, channels, plain=True)
        if seen is None or same is None:
            left += 1
            assert seen is same
            assert max(task.box[2] / height, task.box[3] / width) > 16
            continue
        top, wide, tall, across = task.box
        colours = "RGB" if channels == 3 else "GRAY"
        whole = simplejpeg.decode_jpeg(jpeg(picture(task.position)), colours)
        expected = exact(whole[top : top + tall, wide : wide + across], size)
        mirrored = expected[:: -1 if task.upend else 1, :: -1 if task.flip else 1]
        assert (seen == same).all()
        assert np.abs(seen - mirrored).max() < LARGEST_ERROR
    assert 0 < left < 30


def test_flat_pictures_stay_flat(tmp_path: Path) -> None:
    def flat(number: int) -> Pixels:
        return np.full((HEIGHT, WIDTH, 1), number, np.uint8)

    manifest = Farm(tmp_path, count=256, picture=flat).write()
    draw = np.random.default_rng(4)
    for number in range(256):
        size = (int(draw.integers(9, 200)), int(draw.integers(11, 200)))
        task = draw_task(manifest, draw, 1)._replace(box=(0, 0, HEIGHT, WIDTH))
        seen = made(manifest, task, size, 1, plain=bool(number % 2))
        level = simplejpeg.decode_jpeg(jpeg(flat(task.position)), "GRAY")[0, 0, 0]
        assert seen is not None
        assert (seen == level).all()


def test_what_shrinks_too_much_is_left_to_python(tmp_path: Path) -> None:
    manifest = Farm(tmp_path, count=8, picture=noise).write()
    images = []
    for native in (True, False):
        settings: Any = {"batch_size": 8, "size": (HEIGHT, 4), "fit": "stretch", "native": native}
        with Loader(manifest, augment=None, **settings) as loader:
            images += [batch.images.copy() for batch in loader]
            assert loader.stats()["native_pictures"] == 0
    assert (images[0] == images[1]).all()
