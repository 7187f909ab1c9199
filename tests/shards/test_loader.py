"""The loader: every sample in its order, whole batches, exact resume, any number of ranks."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import Farm, loader_threads, png, smooth_picture

from besana.errors import BesanaError, ConfigError, MemoryLimitError, NotFoundError
from besana.shards import Augment, Loader, Manifest


def numbers(loader: Loader) -> list[int]:
    return [int(n) for batch in loader for n in batch.index[batch.valid]]


def seen(images: np.ndarray[Any, Any]) -> list[int]:
    """Read the samples' numbers from the pictures themselves."""
    return np.rint(images[..., 0].mean(axis=(1, 2))).astype(int).tolist()


def test_pictures_belong_to_their_index_and_label(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=16, size=24, threads=2) as loader:
        batches = list(loader)

    assert len(batches) == len(loader) == 6
    for batch in batches:
        assert batch.images.shape == (16, 24, 24, 3)
        assert batch.images.dtype == np.uint8
        assert np.abs(np.array(seen(batch.images)) - batch.index).max() <= 1
        assert (batch.labels == batch.index % 3).all()
        assert batch.valid.all()


def test_an_epoch_is_a_permutation_that_changes_with_epoch_and_seed(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=20, size=8, threads=2) as loader:
        first, second = numbers(loader), numbers(loader)
        assert loader.epoch == 2
    with Loader(hundred, batch_size=20, size=8, threads=2, seed=1) as other:
        third = numbers(other)

    assert sorted(first) == sorted(second) == sorted(third) == list(range(100))
    assert first != second
    assert first != third
    assert first != sorted(first)


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_threads_change_nothing(hundred: Manifest, threads: int) -> None:
    augment = Augment(flip_vertical_share=0.5, quarter_turns=True, brightness=0.3, saturation=0.4)

    def pictures(count: int) -> np.ndarray[Any, Any]:
        with Loader(hundred, batch_size=25, size=16, threads=count, augment=augment) as loader:
            return np.concatenate([batch.images for batch in loader])

    assert (pictures(2) == pictures(threads)).all()


def test_evaluation_gives_each_sample_once_with_padding(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=32, size=8, shuffle="none", threads=2) as loader:
        batches = list(loader)

    assert [int(n) for batch in batches for n in batch.index[batch.valid]] == list(range(100))
    last = batches[-1]
    assert last.images.shape == (32, 8, 8, 3)
    assert last.valid.tolist() == [True] * 4 + [False] * 28
    assert last.index[4:].tolist() == last.labels[4:].tolist() == [-1] * 28
    assert not last.images[4:].any()


@pytest.mark.parametrize("shuffle", ["none", "global", "block"])
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_share_the_same_global_batches(hundred: Manifest, ranks: int, shuffle: Any) -> None:
    def batches(rank: int, count: int) -> list[np.ndarray[Any, Any]]:
        options: dict[str, Any] = {"shuffle": shuffle, "tail": "pad", "block_bytes": 4000}
        with Loader(
            hundred, batch_size=16, size=8, rank=rank, ranks=count, threads=1, **options
        ) as loader:
            return [batch.index for batch in loader]

    alone = batches(0, 1)
    together = [batches(rank, ranks) for rank in range(ranks)]

    assert {len(part) for part in together} == {len(alone)}
    for number, whole in enumerate(alone):
        merged = np.stack([part[number] for part in together], axis=1).ravel()
        assert merged.tolist() == whole.tolist()


@pytest.mark.parametrize("tail", ["drop", "carry", "pad"])
@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_resume_goes_on_with_the_next_sample(hundred: Manifest, tail: Any, stop: int) -> None:
    options: dict[str, Any] = {"size": 8, "threads": 2, "tail": tail, "seed": 5}
    with Loader(hundred, batch_size=16, **options) as loader:
        whole = [n for _ in range(3) for n in numbers(loader)]
    with Loader(hundred, batch_size=16, **options) as loader:
        iterator = iter(loader)
        before = [int(n) for _ in range(stop) for n in next(iterator).index]
        state = json.loads(json.dumps(loader.state_dict()))
    assert len(json.dumps(state)) < 1000
    with Loader(hundred, batch_size=16, **options) as other:
        other.load_state_dict(state)
        after = [n for _ in range(3 - other.epoch) for n in numbers(other)]

    assert before + after == whole


def test_resume_with_other_batches_and_ranks_loses_nothing(hundred: Manifest) -> None:
    options: dict[str, Any] = {"size": 8, "threads": 1, "tail": "carry"}
    with Loader(hundred, batch_size=10, **options) as loader:
        whole = [n for _ in range(3) for n in numbers(loader)]
    with Loader(hundred, batch_size=10, **options) as loader:
        iterator = iter(loader)
        before = [int(n) for _ in range(7) for n in next(iterator).index]
        state = loader.state_dict()
    ranks = []
    for rank in range(2):
        with Loader(hundred, batch_size=6, rank=rank, ranks=2, **options) as other:
            other.load_state_dict(state)
            ranks.append([n for _ in range(3) for n in numbers(other)])
    after = np.stack(ranks, axis=1).ravel().tolist()

    assert len(after) >= 300 - 70 - 5
    assert (before + after)[:300] == whole[: len(before + after)]


def test_state_may_be_loaded_before_or_after_iter(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=10, size=8, threads=1) as loader:
        iterator = iter(loader)
        next(iterator)
        state = loader.state_dict()
        expected = next(iterator).index.tolist()
        next(iterator)
        loader.load_state_dict(state)
        after_iter = next(iterator).index.tolist()
        loader.load_state_dict(state)
        before_iter = next(iter(loader)).index.tolist()

    assert after_iter == before_iter == expected


def test_set_epoch_keeps_a_resumed_place(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=10, size=8, threads=1) as loader:
        loader.set_epoch(3)
        iterator = iter(loader)
        next(iterator)
        state = loader.state_dict()
        expected = next(iterator).index.tolist()
    with Loader(hundred, batch_size=10, size=8, threads=1) as loader:
        loader.load_state_dict(state)
        loader.set_epoch(3)
        assert next(iter(loader)).index.tolist() == expected


def test_breaking_off_starts_the_epoch_again(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=10, size=8, threads=1) as loader:
        first = next(iter(loader)).index.tolist()
        again = next(iter(loader)).index.tolist()

    assert first == again


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 9}, "seed"), ({"shuffle": "none"}, "shuffle"), ({"fold": (0, "train")}, "samples")],
)
def test_a_state_of_another_loader_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    manifest = Farm(tmp_path, count=20, shards=1, more={"fold": 1}).write()
    manifest.fold[:5] = 0
    with Loader(manifest, batch_size=5, size=8) as loader:
        state = loader.state_dict()
    with (
        Loader(manifest, batch_size=5, size=8, **change) as other,
        pytest.raises(ConfigError, match=message),
    ):
        other.load_state_dict(state)


def test_kept_batches_are_never_overwritten(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=5, size=16, threads=4) as loader:
        kept = list(loader)
        extra = loader.stats()["extra_batches"]

    assert extra == 20 - loader.memory.slots
    for batch in kept:
        assert np.abs(np.array(seen(batch.images)) - batch.index).max() <= 1


def test_slots_come_back_when_batches_are_let_go(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=5, size=16, threads=2) as loader:
        places = {batch.images.__array_interface__["data"][0] for batch in loader}
        assert loader.stats()["extra_batches"] == 0

    assert len(places) <= loader.memory.slots


def test_a_view_keeps_its_slot(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=5, size=16, threads=2) as loader:
        iterator = iter(loader)
        first = next(iterator)
        view, expected = first.images[2:4], first.images[2:4].copy()
        del first
        for _ in iterator:
            pass

    assert (view == expected).all()


def test_multi_labels_come_as_rows(tmp_path: Path) -> None:
    manifest = Farm(tmp_path, count=10, shards=1, more={"labels": [True, False, True]}).write()
    with Loader(manifest, batch_size=8, size=8, shuffle="none", threads=1) as loader:
        batches = list(loader)

    assert batches[0].labels.tolist() == [[True, False, True]] * 8
    assert batches[1].labels.tolist() == [[True, False, True]] * 2 + [[False] * 3] * 6


def test_bands_are_stacked_in_their_order(tmp_path: Path) -> None:
    def bands(number: int) -> dict[str, np.ndarray[Any, Any]]:
        return {
            "nir": np.full((40, 48, 1), number * 257, np.uint16),
            "edge": np.full((40, 48, 1), 200 - number, np.uint8),
        }

    manifest = Farm(tmp_path, count=12, shards=1, bands=bands).write()
    with Loader(manifest, batch_size=12, size=20, shuffle="none", threads=2) as loader:
        eight = next(iter(loader)).images
    with Loader(
        manifest, batch_size=12, size=20, shuffle="none", threads=2, dtype="uint16"
    ) as loader:
        sixteen = next(iter(loader)).images

    assert eight.shape == (12, 20, 20, 5)
    assert eight[..., 3].reshape(12, -1).tolist() == [[n] * 400 for n in range(12)]
    assert eight[..., 4].reshape(12, -1).tolist() == [[200 - n] * 400 for n in range(12)]
    assert sixteen.dtype == np.uint16
    assert sixteen[..., 3].reshape(12, -1).tolist() == [[n * 257] * 400 for n in range(12)]
    assert np.abs(sixteen[..., :3].astype(int) - eight[..., :3].astype(int) * 257).max() < 300


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_flips_and_turns_move_all_channels_alike(tmp_path: Path, channels: int, dtype: Any) -> None:
    corner = np.zeros((32, 32, 1), np.uint8)
    corner[:16, :16] = 200

    def picture(number: int) -> np.ndarray[Any, Any]:
        return np.repeat(corner, 1 if channels < 3 else 3, axis=2)

    def bands(number: int) -> dict[str, np.ndarray[Any, Any]]:
        return {f"band{n}": corner for n in range({2: 1, 5: 2}.get(channels, 0))}

    farm = Farm(tmp_path, count=64, shards=1, picture=picture, encode=png, bands=bands)
    augment = Augment(
        crop_area_share=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip_vertical_share=0.5,
        quarter_turns=True,
    )  # fmt: skip
    with Loader(
        farm.write(), batch_size=64, size=16, threads=2, augment=augment, dtype=dtype
    ) as loader:
        (batch,) = loader
    images = batch.images[:, ::8, ::8] > batch.images.max() // 2
    places = {tuple(image[..., 0].ravel().tolist()) for image in images}

    assert (images == images[..., :1]).all()
    assert (images.sum(axis=(1, 2)) == 1).all()
    assert len(places) == 4


def test_grey_and_colour_share_a_batch(tmp_path: Path) -> None:
    def picture(number: int) -> np.ndarray[Any, Any]:
        pixels = smooth_picture(number)
        return pixels if number % 2 else pixels[:, :, :1]

    manifest = Farm(tmp_path, count=8, shards=1, picture=picture).write()
    with Loader(manifest, batch_size=8, size=8, shuffle="none", threads=1) as loader:
        images = next(iter(loader)).images

    assert images.shape == (8, 8, 8, 3)
    assert np.abs(images[4].astype(int) - 4).max() <= 1


def test_png_is_exact(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    manifest = Farm(tmp_path, count=6, shards=2, picture=lambda n: pixels[n], encode=png).write()
    with Loader(manifest, batch_size=6, size=16, shuffle="none", threads=2) as loader:
        images = next(iter(loader)).images

    assert (images == pixels).all()


def test_crops_flips_and_colours_vary_with_the_epoch_alone(hundred: Manifest) -> None:
    augment = Augment(crop_area_share=(0.3, 0.6), brightness=0.2)
    options: dict[str, Any] = {"size": 16, "threads": 2, "augment": augment, "shuffle": "none"}

    def by_sample(loader: Loader) -> dict[int, bytes]:
        return {
            int(n): batch.images[i].tobytes()
            for batch in loader
            for i, n in enumerate(batch.index)
            if n >= 0
        }

    with Loader(hundred, batch_size=20, **options) as loader:
        first, second = by_sample(loader), by_sample(loader)
    with Loader(hundred, batch_size=7, **options) as loader:
        other_batches = by_sample(loader)

    assert first == other_batches
    assert sum(first[n] != second[n] for n in first) == 100


def test_fit_crop_keeps_shapes(tmp_path: Path) -> None:
    def picture(number: int) -> np.ndarray[Any, Any]:
        pixels = np.zeros((40, 80, 3), np.uint8)
        pixels[:, 20:60] = 250
        return pixels

    manifest = Farm(tmp_path, count=4, shards=1, picture=picture, encode=png).write()
    with Loader(manifest, batch_size=4, size=20, shuffle="none", fit="crop") as loader:
        cropped = next(iter(loader)).images
    with Loader(manifest, batch_size=4, size=20, shuffle="none") as loader:
        stretched = next(iter(loader)).images

    assert (cropped == 250).all()
    assert (stretched[:, :, :4] == 0).all()
    assert (stretched[:, :, 6:14] == 250).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ConfigError, "batch_size"),
        ({"batch_size": 101}, ConfigError, "100 samples do not fill"),
        ({"ranks": 3}, ConfigError, "shared by 3 ranks"),
        ({"rank": 1}, ConfigError, "rank 1"),
        ({"split": "tset"}, NotFoundError, "tset"),
        ({"positions": [1, 100]}, ConfigError, "0 to 99"),
        ({"memory_bytes": 1000}, MemoryLimitError, "more than the 1000 bytes"),
        ({"size": 0}, ConfigError, "size"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    hundred: Manifest, options: dict[str, Any], error: type[BesanaError], message: str
) -> None:
    with pytest.raises(error, match=message):
        Loader(hundred, **({"batch_size": 16} | options))


def test_memory_plan_keeps_to_the_budget(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=50, size=64, threads=16, memory_bytes=2_000_000) as loader:
        assert loader.memory.total_bytes <= 2_000_000
        assert loader.memory.threads < 16
        assert sorted(numbers(loader)) == list(range(100))


def test_close_ends_the_threads(hundred: Manifest) -> None:
    before = loader_threads()
    loader = Loader(hundred, batch_size=10, size=8, threads=3)
    next(iter(loader))
    assert loader_threads() == before + 3
    loader.close()

    assert loader_threads() == before
    with pytest.raises(BesanaError, match="closed"):
        next(iter(loader))


def test_dropping_the_loader_ends_the_threads(hundred: Manifest) -> None:
    before = loader_threads()
    loader = Loader(hundred, batch_size=10, size=8, threads=3)
    for _ in loader:
        break
    del loader, _
    deadline = time.monotonic() + 10
    while loader_threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)

    assert loader_threads() == before


def test_two_loops_at_once_are_refused(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=10, size=8, threads=1) as loader:
        first = iter(loader)
        next(first)
        next(iter(loader))
        with pytest.raises(BesanaError, match="another loop"):
            next(first)


def test_stats_count_what_was_done(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=10, size=8, threads=2) as loader:
        for _ in loader:
            pass
        stats = loader.stats()

    assert stats["pictures"] == 100
    assert stats["batches"] == 10
    assert stats["read_bytes"] == int(hundred.length_bytes.sum())
    assert stats["bound_by"] in ("reading", "decoding", "consumer")
    assert stats["pictures_per_s"] > 0


def test_a_bar_says_what_it_is_bound_by(
    hundred: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    with Loader(hundred, batch_size=10, size=8, threads=2, progress=True) as loader:
        list(loader)
        next(iter(loader))
    shown = capsys.readouterr().err

    assert "epoch 0" in shown
    assert "10/10" in shown
    assert re.search(r"pictures/s, bound by (reading|decoding|consumer)", shown)


def test_explicit_positions_are_used_as_given(hundred: Manifest) -> None:
    with Loader(
        hundred, batch_size=4, size=8, positions=[5, 5, 99, 2], shuffle="none", threads=1
    ) as loader:
        assert numbers(loader) == [5, 5, 99, 2]


def test_the_manifest_may_be_a_path(hundred: Manifest) -> None:
    folder = hundred.storage.url
    with Loader(f"{folder}/manifest.parquet", batch_size=50, size=8, shards=folder) as loader:
        assert sorted(numbers(loader)) == list(range(100))
