"""The native library makes the same batches as Python: order, crops, errors; pixels by a level."""

import importlib
import importlib.util
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image
from shard_farm import Farm, jpeg, png

from besana.errors import CorruptDataError, MissingExtraError
from besana.images.encode import encode_jpeg
from besana.shards import Augment, Loader, Manifest
from besana.storage import Folder

is_there = importlib.util.find_spec("besana_native") is not None
why = "make native" if shutil.which("cargo") else "needs a Rust compiler"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_there, reason=why)]

CROPS = Augment(crop_area_share=(0.05, 1.0), flip_vertical_share=0.5, brightness=0.3)
Pixels = np.ndarray[Any, Any]


def textured(number: int, height: int = 150, width: int = 200) -> Pixels:
    noise = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def grey(number: int) -> Pixels:
    return textured(number)[:, :, :1]


def mixed(number: int) -> Pixels:
    return grey(number) if number % 3 == 0 else textured(number)


def pillow(**options: Any) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        file = io.BytesIO()
        picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        picture.save(file, "JPEG", **options)
        return file.getvalue()

    return encode


ENCODERS: dict[str, Callable[[Pixels], bytes]] = {
    "parts": encode_jpeg,
    "444": jpeg,
    "420": pillow(quality=90, subsampling="4:2:0"),
    "422": pillow(quality=90, subsampling="4:2:2"),
    "411": pillow(quality=90, subsampling="4:1:1"),
    "restarts": pillow(quality=90, subsampling="4:2:0", restart_marker_blocks=5),
    "a restart an MCU": pillow(quality=95, subsampling="4:4:4", restart_marker_blocks=1),
    "few restarts": pillow(quality=90, subsampling="4:2:0", restart_marker_blocks=9),
    "long codes": pillow(quality=100, optimize=True),
    "own codes": pillow(quality=30, optimize=True),
    "progressive": pillow(quality=85, progressive=True),
    "png": png,
}


def batches(manifest: Manifest, *, native: bool, **options: Any) -> tuple[Pixels, Pixels, int]:
    settings: Any = {"batch_size": 20, "size": 48, "augment": CROPS, "threads": 3} | options
    with Loader(manifest, native=native, **settings) as loader:
        seen = [(b.images.copy(), b.index) for _ in range(3) for b in loader]
        made = loader.stats()["native_pictures"]
    images, index = zip(*seen, strict=True)
    return np.concatenate(images), np.concatenate(index), made


def assert_equal(manifest: Manifest, *, native_pictures: int, **options: Any) -> None:
    """Hold the library to Python: one grey level, and as many pictures as it is meant to make."""
    expected, order, _ = batches(manifest, native=False, **options)
    seen, same_order, made = batches(manifest, native=True, **options)
    bound = 1 if seen.dtype == np.uint8 else 1.01 / 255

    assert (order == same_order).all()
    assert np.abs(seen.astype(np.float64) - expected).max() <= bound
    assert made == native_pictures


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_batches_equal_those_of_python(tmp_path: Path, encoder: str, dtype: str) -> None:
    manifest = Farm(tmp_path, count=40, picture=textured, encode=ENCODERS[encoder]).write()
    no_light = Augment(crop_area_share=(0.05, 1.0), flip_vertical_share=0.5)

    made = 0 if encoder == "png" else 120
    assert_equal(manifest, native_pictures=made, dtype=dtype, augment=no_light)


@pytest.mark.parametrize("encoder", ["parts", "420"])
@pytest.mark.parametrize("picture", [grey, mixed])
def test_grey_pictures_equal_those_of_python(tmp_path: Path, encoder: str, picture: Any) -> None:
    manifest = Farm(tmp_path, count=40, picture=picture, encode=ENCODERS[encoder]).write()

    assert_equal(manifest, native_pictures=120, augment=Augment(crop_area_share=(0.05, 1.0)))


@pytest.mark.parametrize("encoder", ["parts", "420", "progressive"])
@pytest.mark.parametrize("size", [8, (17, 31), (150, 200), 300])
def test_every_scale_equals_that_of_python(tmp_path: Path, encoder: str, size: Any) -> None:
    def large(number: int) -> Pixels:
        return textured(number, 413, 507)

    manifest = Farm(tmp_path, count=20, picture=large, encode=ENCODERS[encoder]).write()
    for augment in (None, Augment(crop_area_share=(0.01, 1.0))):
        assert_equal(manifest, native_pictures=60, size=size, augment=augment)


@pytest.mark.parametrize("encoder", ["parts", "420"])
@pytest.mark.parametrize("picture", [textured, grey])
def test_quarter_turns_equal_those_of_python(tmp_path: Path, encoder: str, picture: Any) -> None:
    manifest = Farm(tmp_path, count=40, picture=picture, encode=ENCODERS[encoder]).write()
    turned = Augment(crop_area_share=(0.05, 1.0), quarter_turns=True, flip_vertical_share=0.5)

    assert_equal(manifest, native_pictures=120, augment=turned)


def test_bands_and_16_bits_are_left_to_python(tmp_path: Path) -> None:
    manifest = Farm(tmp_path / "a", count=40, picture=textured, encode=encode_jpeg).write()

    assert_equal(manifest, native_pictures=0, dtype="uint16", augment=None)
    more: Any = {"picture": textured, "bands": lambda number: {"nir": grey(number)}}
    bands = Farm(tmp_path / "b", count=20, encode=encode_jpeg, **more).write()
    assert_equal(bands, native_pictures=0, augment=None)


def test_light_is_changed_as_python_does(tmp_path: Path) -> None:
    """One level before it can be a few after it: contrast and brightness stretch it."""
    manifest = Farm(tmp_path, count=40, picture=textured, encode=encode_jpeg).write()
    expected, _, _ = batches(manifest, native=False)
    seen, _, made = batches(manifest, native=True)

    assert made == 120
    assert np.abs(seen.astype(int) - expected).max() <= 3


class FarAway(Folder):
    """A folder whose files this machine cannot open by their path."""

    def local_path(self, key: str) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize("shuffle", ["global", "block"])
def test_records_from_a_bucket_are_filled_too(tmp_path: Path, shuffle: str) -> None:
    manifest = Farm(tmp_path, count=40, picture=textured, encode=encode_jpeg).write()
    settings: Any = {"shuffle": shuffle, "augment": Augment(crop_area_share=(0.05, 1.0))}

    assert_equal(manifest, native_pictures=120, shards=FarAway(tmp_path), **settings)


def broken(data: bytes, draw: np.random.Generator) -> bytes:
    """Cut a file, flip bits of it, or put noise in it."""
    what, out = draw.integers(4), bytearray(data)
    if what == 0:
        return data[: draw.integers(len(data))]
    for _ in range(draw.integers(1, 12)):
        at = draw.integers(len(out) if what == 1 else min(700, len(out)))
        out[at] ^= 1 << draw.integers(8)
    if what == 3:
        at = draw.integers(len(out))
        out[at : at + 40] = draw.bytes(40)
    return bytes(out)


def spoilt(encoder: Callable[[Pixels], bytes], share: float) -> Callable[[Pixels], bytes]:
    draw = np.random.default_rng(5)

    def encode(pixels: Pixels) -> bytes:
        data = encoder(pixels)
        return broken(data, draw) if draw.uniform() < share else data

    return encode


@pytest.mark.parametrize(
    "encoder", ["parts", "420", "restarts", "a restart an MCU", "own codes", "progressive", "411"]
)
def test_broken_pictures_are_refused_as_python_does(tmp_path: Path, encoder: str) -> None:
    """Thousands of spoilt files with right checksums: the same are refused, nothing crashes."""

    def small(number: int) -> Pixels:
        return textured(number, 61, 83)

    encode = spoilt(ENCODERS[encoder], 0.7)
    manifest = Farm(tmp_path, count=1000, picture=small, encode=encode).write()
    settings: Any = {"on_error": "substitute", "max_dropped_share": 1, "tail": "pad"}
    settings |= {"batch_size": 50, "size": 32, "augment": Augment(crop_area_share=(0.05, 1.0))}

    def outcome(native: bool) -> tuple[Pixels, Pixels, list[str]]:
        with Loader(manifest, native=native, **settings) as loader:
            seen = [(b.images.copy(), b.valid) for _ in range(3) for b in loader]
            return *(np.concatenate(part) for part in zip(*seen, strict=True)), loader.dropped()

    images, valid, dropped = outcome(native=False)
    same_images, same_valid, same_dropped = outcome(native=True)

    assert 0.2 < valid.mean() < 0.9
    assert (valid == same_valid).all()
    assert sorted(dropped) == sorted(same_dropped)
    assert np.abs(images.astype(int) - same_images).max() <= 1


def test_one_that_is_no_jpeg_slows_down_no_other(tmp_path: Path) -> None:
    def encode(pixels: Pixels) -> bytes:
        data = encode_jpeg(pixels)
        return data if pixels.mean() < 200 else data[:3] + b"\x1f" + data[4:]

    def white_at_5(number: int) -> Pixels:
        return np.full((32, 32, 3), 255 if number == 5 else 90, np.uint8)

    manifest = Farm(tmp_path, count=40, picture=white_at_5, encode=encode).write()
    settings: Any = {"on_error": "substitute", "max_dropped_share": 0.1, "threads": 1}

    assert batches(manifest, native=True, shuffle="none", **settings)[2] == 3 * 39


def test_a_changed_byte_is_named_as_python_does(tmp_path: Path) -> None:
    manifest = Farm(tmp_path, count=40, shards=1, picture=textured, encode=encode_jpeg).write()
    place = manifest.location(7)
    path = tmp_path / place.shard
    data = bytearray(path.read_bytes())
    data[place.payload_offset_bytes + 900] ^= 1
    path.write_bytes(data)

    said = []
    for native in (False, True):
        with pytest.raises(CorruptDataError) as refused:
            batches(manifest, native=native)
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert f"byte {place.offset_bytes} (position 7)" in said[0]


def test_a_process_of_its_own_uses_it(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=50, size=16, process=True, native=True) as loader:
        here = [batch.images.copy() for batch in loader]
        assert loader.stats()["native_pictures"] == 100
    with Loader(hundred, batch_size=50, size=16, native=True) as loader:
        assert all((a == b.images).all() for a, b in zip(here, loader, strict=True))


@pytest.mark.parametrize("native", [True, False])
def test_a_process_of_its_own_has_torch_only_to_resize(hundred: Manifest, native: bool) -> None:
    importlib.import_module("torch")
    with Loader(hundred, batch_size=50, size=16, process=True, native=native) as loader:
        next(iter(loader))
        child = psutil.Process(loader._feed._child._process.pid)  # type: ignore[attr-defined]
        has_torch = any("libtorch" in mapped.path for mapped in child.memory_maps())
    assert has_torch is not native


def test_a_library_of_another_version_is_not_used(
    hundred: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("besana_native.COLUMNS", 17)
    with Loader(hundred, batch_size=50, size=16) as loader:
        next(iter(loader))
        assert loader.stats()["native_pictures"] == 0
    with pytest.raises(MissingExtraError, match="another version"):
        Loader(hundred, batch_size=50, size=16, native=True)


def test_malformed_calls_are_refused() -> None:
    import besana_native

    with pytest.raises(ValueError, match="channels"):
        besana_native.Filler([], 8, 8, 2)
    filler = besana_native.Filler(["/nowhere"], 8, 8, 3)
    out = np.zeros((2, 8, 8, 3), np.uint8)
    orders = np.zeros((1, besana_native.COLUMNS), np.int64)
    with pytest.raises(ValueError, match="right form"):
        filler.fill(orders[:, 1:].copy(), [], out)
    orders[0, 0] = 2
    with pytest.raises(ValueError, match="beyond the batch"):
        filler.fill(orders, [], out)
    for numbers in np.random.default_rng(1).integers(-(2**62), 2**62, (200, orders.shape[1])):
        numbers[0] = 0
        assert bytes(filler.fill(numbers, [b"x" * 40], out)[0]) == b"\0"


def test_float32_equals_what_numpy_makes(hundred: Manifest) -> None:
    import besana_native

    from besana.shards.normal import Normal

    pixels = np.random.default_rng(0).integers(0, 255, (24, 31, 3), dtype=np.uint8)
    made = [np.empty(pixels.shape, np.float32) for _ in range(2)]
    for out, found in zip(made, (None, besana_native), strict=True):
        Normal((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), 31, 3, found).apply(pixels, out)
    assert made[0].tobytes() == made[1].tobytes()
