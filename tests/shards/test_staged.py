"""Float batches are made of staged pictures: same values, little memory, kept batches stay."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import Farm, png, smooth_picture

from besana.shards import Augment, Loader, Manifest

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOAT: Any = {"dtype": "float32", "mean": MEAN, "std": STD, "augment": Augment()}


def normal(images: np.ndarray[Any, Any], white: int = 255) -> np.ndarray[Any, Any]:
    wanted = (images / white - np.array(MEAN)) / np.array(STD)
    return np.asarray(wanted, np.float32)


@pytest.mark.parametrize("process", [False, True])
def test_float_batches_are_the_byte_batches_normalised(hundred: Manifest, process: bool) -> None:
    with Loader(hundred, batch_size=20, size=32, augment=Augment()) as loader:
        expected = [normal(batch.images) for _ in range(2) for batch in loader]
    with Loader(hundred, batch_size=20, size=32, process=process, **FLOAT) as loader:
        seen = [batch.images for _ in range(2) for batch in loader]
        assert loader.stats()["extra_batches"] == 10 - loader.memory.slots

    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(seen, expected, strict=True))


def test_pictures_of_other_types_are_normalised_by_their_own_scale(tmp_path: Path) -> None:
    """Records of 8 and of 16 bits share batches, and threads finish them in any order."""

    def encode(pixels: np.ndarray[Any, Any]) -> bytes:
        is_wide = pixels[0, 0, 0] % 2
        return png(pixels.astype(np.uint16) * 257 if is_wide else pixels)

    manifest = Farm(tmp_path, count=60, encode=encode).write()
    with Loader(manifest, batch_size=20, size=(40, 48), threads=4, **FLOAT | {"augment": None}) as (
        loader
    ):
        for batch in loader:
            for image, index in zip(batch.images, batch.index, strict=True):
                assert np.allclose(image, normal(smooth_picture(int(index))), atol=1e-4)


def test_padding_is_black_in_float_batches(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=64, size=8, shuffle="none", dtype="float32", mean=0.5) as (
        loader
    ):
        *_, last = loader
    assert not last.images[~last.valid].any()
    assert (last.images[last.valid] != 0).any()


def test_few_batches_of_float32_are_planned(hundred: Manifest) -> None:
    picture = 224 * 224 * 3
    with Loader(hundred, batch_size=64, **FLOAT) as loader:
        plan = loader.memory
    assert (plan.slots, plan.staged) == (2, 2)
    assert plan.total_bytes >= 64 * picture * 4 * (plan.slots + plan.staged)
    with Loader(hundred, batch_size=64) as loader:
        assert (loader.memory.slots, loader.memory.staged) == (6, 0)
