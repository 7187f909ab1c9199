"""Pictures from JPEG in parts: the loader gives the pixels that whole decoding gives."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from shard_farm import Farm

from besana.images.encode import encode_jpeg, jpeg_without_metadata
from besana.shards import Augment, Loader, Manifest

CROPS = Augment(crop_area_share=(0.05, 0.9), flip_vertical_share=0.5)


def textured(number: int) -> np.ndarray[Any, Any]:
    noise = np.random.default_rng(number).integers(0, 255, (150, 200, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def grey(number: int) -> np.ndarray[Any, Any]:
    return textured(number)[:, :, :1]


def whole(pixels: np.ndarray[Any, Any]) -> bytes:
    """Encode to the same picture, but without the table of its segments."""
    stripped = jpeg_without_metadata(encode_jpeg(pixels))
    assert stripped is not None
    return stripped


def batches(manifest: Manifest, **options: Any) -> np.ndarray[Any, Any]:
    with Loader(manifest, batch_size=20, size=48, augment=CROPS, threads=3, **options) as loader:
        return np.concatenate([batch.images for _ in range(2) for batch in loader])


@pytest.mark.parametrize("picture", [textured, grey])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_batches_equal_those_of_whole_pictures(tmp_path: Path, picture: Any, dtype: str) -> None:
    parts = Farm(tmp_path / "parts", count=40, picture=picture, encode=encode_jpeg).write()
    plain = Farm(tmp_path / "plain", count=40, picture=picture, encode=whole).write()

    assert (batches(parts, dtype=dtype) == batches(plain, dtype=dtype)).all()


@pytest.mark.parametrize("picture", [textured, grey])
def test_bands_beyond_the_first_are_kept(tmp_path: Path, picture: Any) -> None:
    def bands(number: int) -> dict[str, np.ndarray[Any, Any]]:
        return {name: grey(number + 100 * i) for i, name in enumerate(("nir", "red edge"), 1)}

    more: Any = {"count": 40, "picture": picture, "bands": bands}
    parts = Farm(tmp_path / "parts", encode=encode_jpeg, **more).write()
    plain = Farm(tmp_path / "plain", encode=whole, **more).write()

    seen = batches(parts)
    assert seen.shape[3] == picture(0).shape[2] + 2
    assert (seen == batches(plain)).all()


def test_a_corrupt_record_is_named_or_replaced_as_ever(tmp_path: Path) -> None:
    manifest = Farm(tmp_path, count=40, shards=1, picture=textured, encode=encode_jpeg).write()
    place = manifest.location(7)
    path = tmp_path / place.shard
    damaged = bytearray(path.read_bytes())
    damaged[place.payload_offset_bytes + place.payload_length_bytes - 9] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(Exception, match=f"byte {place.offset_bytes} .position 7"):
        batches(manifest)
    with Loader(
        manifest, batch_size=20, size=48, augment=CROPS, on_error="substitute", max_dropped_share=1
    ) as loader:
        seen = [int(n) for batch in loader for n in batch.index]
        assert len(seen) == 40
        assert 7 not in seen
        assert len(loader.dropped()) == 1


def test_a_part_that_does_not_decode_is_corrupt(tmp_path: Path) -> None:
    """The checksum is right, yet the picture is not: its Huffman codes make no sense."""

    def broken(pixels: np.ndarray[Any, Any]) -> bytes:
        encoded = bytearray(encode_jpeg(pixels))
        encoded[len(encoded) // 2 : len(encoded) // 2 + 400] = b"\xff\x01" * 200
        return bytes(encoded)

    manifest = Farm(tmp_path, count=20, picture=textured, encode=broken).write()
    with Loader(
        manifest,
        batch_size=20,
        size=48,
        shuffle="none",
        on_error="substitute",
        max_dropped_share=1,
        augment=Augment(crop_area_share=(0.8, 0.8)),
    ) as loader:
        (batch,) = loader
    assert not batch.valid.any()
    assert not batch.images.any()


def test_epochs_after_the_first_give_the_same_pixels(tmp_path: Path) -> None:
    """Pictures that were decoded whole are decoded down to their crop only: nobody can tell."""
    manifest = Farm(tmp_path, count=40, picture=textured, encode=whole).write()
    with Loader(manifest, batch_size=20, size=48, augment=CROPS, threads=3) as loader:
        seen = [batch.images.copy() for _ in range(3) for batch in loader]
    for epoch in range(3):
        with Loader(manifest, batch_size=20, size=48, augment=CROPS) as fresh:
            fresh.set_epoch(epoch)
            first = [batch.images.copy() for batch in fresh]
        assert all((a == b).all() for a, b in zip(seen[2 * epoch :], first, strict=False))


def test_a_picture_that_is_broken_below_its_crop_stays_refused(tmp_path: Path) -> None:
    def broken(pixels: np.ndarray[Any, Any]) -> bytes:
        encoded = bytearray(whole(pixels))
        encoded[-400:-2] = b"\xff\x01" * 199
        return bytes(encoded)

    manifest = Farm(tmp_path, count=20, picture=textured, encode=broken).write()
    settings: Any = {"on_error": "substitute", "max_dropped_share": 1, "tail": "pad"}
    with Loader(manifest, batch_size=20, size=48, augment=CROPS, **settings) as loader:
        for epoch in range(3):
            (batch,) = loader
            assert not batch.valid.any()
            assert len(loader.dropped()) == 20 * (epoch + 1)
