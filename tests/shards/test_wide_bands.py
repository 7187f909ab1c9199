"""One to sixteen bands of 8 bits, 16 bits and float32, of any size, from writer to loader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from besana.errors import ConfigError
from besana.images.encode import encode_png, encode_tiff
from besana.shards import Augment, Loader, Manifest, ManifestWriter, ShardWriter, open_manifest
from besana.shards.decoding import decode_crop
from besana.shards.writer import sample_example
from besana.storage import open_storage

Bands = list[np.ndarray[Any, Any]]


def band(kind: str, number: int, height: int, width: int) -> np.ndarray[Any, Any]:
    """Draw one band (height, width, 1) of whole or measured values."""
    generator = np.random.default_rng(number)
    if kind == "float32":
        return generator.normal(-20, 40, (height, width, 1)).astype(np.float32)
    return generator.integers(0, np.iinfo(kind).max, (height, width, 1), dtype=kind, endpoint=True)


def encode(pixels: np.ndarray[Any, Any]) -> tuple[bytes, str]:
    if pixels.dtype == np.float32:
        return encode_tiff(pixels), "tiff"
    return encode_png(pixels), "png"


def write(folder: Path, samples: list[Bands]) -> Manifest:
    storage = open_storage(folder)
    with ManifestWriter(storage) as manifest, ShardWriter(storage, "a.tfrecord") as shard:
        for number, bands in enumerate(samples):
            height, width = bands[0].shape[:2]
            encoded, name = encode(bands[0])
            size = {
                "height_px": height,
                "width_px": width,
                "channels": sum(part.shape[2] for part in bands),
            }
            more = {f"b{n}": encode(part)[0] for n, part in enumerate(bands[1:])}
            example = sample_example(
                f"cam/{number}", encoded, image_format=name, bands=more, **size
            )
            place = shard.add(example)
            fields = {field: getattr(place, field) for field in place.__slots__}
            manifest.write([{"frame_id": f"cam/{number}", **size, **fields}])
    return open_manifest(storage)


def in_float(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if pixels.dtype == np.float32:
        return pixels
    return (pixels / np.iinfo(pixels.dtype).max).astype(np.float32)


@given(
    st.lists(st.sampled_from(["uint8", "uint16", "float32"]), min_size=1, max_size=16),
    st.integers(8, 20),
    st.integers(8, 20),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bands_come_back_as_float32(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], height: int, width: int
) -> None:
    samples = [
        [band(kind, 7 * n + k, height, width) for k, kind in enumerate(kinds)] for n in (0, 1)
    ]
    manifest = write(tmp_path_factory.mktemp("bands"), samples)
    with Loader(
        manifest, None, 2, (height, width), shuffle="none", dtype="float32", threads=1
    ) as loader:
        (batch,) = loader
    expected = np.stack([np.concatenate([in_float(p) for p in bands], axis=2) for bands in samples])

    assert batch.images.shape == (2, height, width, len(kinds))
    assert batch.images == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 5, 16])
def test_whole_bands_are_lossless(tmp_path: Path, dtype: Any, channels: int) -> None:
    samples = [[band(dtype, n * 99 + k, 12, 12) for k in range(channels)] for n in range(3)]
    manifest = write(tmp_path, samples)
    with Loader(manifest, None, 3, 12, shuffle="none", dtype=dtype, threads=2) as loader:
        (batch,) = loader

    assert (batch.images == np.stack([np.concatenate(bands, axis=2) for bands in samples])).all()


def test_measured_values_are_lossless() -> None:
    pixels = band("float32", 3, 17, 23)
    pixels[0, 0], pixels[1, 1], pixels[2, 2] = np.nan, np.inf, -0.0
    found = decode_crop(memoryview(encode_tiff(pixels)), 17, 23, (0, 0, 17, 23))

    assert found.tobytes() == pixels.tobytes()


def test_pictures_of_mixed_sizes_share_a_batch_and_keep_their_values(tmp_path: Path) -> None:
    sizes = [(8, 30), (40, 12), (16, 16), (90, 7)]
    samples = [
        [np.full((*size, 1), 1000 * n, np.uint16), np.full((*size, 1), n - 0.5, np.float32)]
        for n, size in enumerate(sizes)
    ]
    augment = Augment(flip_vertical_share=0.5, quarter_turns=True)
    with Loader(
        write(tmp_path, samples), None, 4, 16, shuffle="none", dtype="float32", augment=augment
    ) as loader:
        (batch,) = loader

    for n in range(4):
        assert batch.images[n, ..., 0] == pytest.approx(1000 * n / 65535, abs=1e-5)
        assert batch.images[n, ..., 1] == pytest.approx(n - 0.5)


def test_measured_values_are_not_squeezed_into_whole_numbers(tmp_path: Path) -> None:
    manifest = write(tmp_path, [[band("uint8", 0, 9, 9), band("float32", 1, 9, 9)]])

    with (
        Loader(manifest, None, 1, 9, shuffle="none", threads=1) as loader,
        pytest.raises(ConfigError, match="no full scale"),
    ):
        list(loader)


def test_mean_and_deviation_are_given_for_each_band(tmp_path: Path) -> None:
    bands = [band("uint8", 0, 9, 9), band("float32", 1, 9, 9)]
    with Loader(
        write(tmp_path, [bands]), None, 1, 9, shuffle="none", dtype="float32",
        mean=[0.5, -20.0], std=[0.25, 40.0],
    ) as loader:  # fmt: skip
        (batch,) = loader

    assert batch.images[0, ..., :1] == pytest.approx((bands[0] / 255 - 0.5) / 0.25, abs=1e-4)
    assert batch.images[0, ..., 1:] == pytest.approx((bands[1] + 20) / 40, abs=1e-4)
