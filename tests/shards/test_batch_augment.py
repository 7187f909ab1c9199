"""Changes of whole batches: drawn from (seed, epoch, sample), the same for any ranks."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from besana.errors import ConfigError  # noqa: E402  after the skip
from besana.shards import Loader, Manifest  # noqa: E402
from besana.shards.batch_augment import BatchAugment, erase_boxes  # noqa: E402
from besana.shards.loader import Batch  # noqa: E402

EVERYTHING = BatchAugment(
    flip_horizontal_share=0.5,
    flip_vertical_share=0.5,
    quarter_turns=True,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    policy_steps=2,
    erase_share=0.5,
    erase_fill="mean",
    mixup_alpha=0.4,
    cutmix_alpha=1.0,
    mix_ranks=4,
)


def batch(count: int = 64, channels: int = 3, *, dtype: Any = np.uint8, epoch: int = 0) -> Batch:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 255, (count, 16, 16, channels)).astype(dtype)
    index = np.arange(count) + 10
    labels = index % 3
    return Batch(images, labels, index, np.ones(count, np.bool_), np.full(count, epoch))


def by_sample(manifest: Manifest, augment: BatchAugment, **options: Any) -> dict[int, Any]:
    found: dict[int, Any] = {}
    with Loader(manifest, batch_size=32, size=16, seed=4, **options) as loader:
        for number, given in enumerate(loader):
            changed = augment.apply(given, seed=4, classes=3, ranks=loader.settings.ranks)
            assert changed.images.dtype == torch.uint8
            for i, n in enumerate(given.index.tolist()):
                found[n, number] = (
                    changed.images[i].numpy().tobytes(),
                    changed.targets[i].tolist(),
                )
    return found


@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_ranks_and_threads_gives_the_same(hundred: Manifest, ranks: int) -> None:
    alone = by_sample(hundred, EVERYTHING, threads=3)
    together: dict[int, Any] = {}
    for rank in range(ranks):
        together |= by_sample(hundred, EVERYTHING, threads=1, ranks=ranks, rank=rank)

    assert together == alone
    assert len(alone) == 96


def test_a_batch_is_left_alone_and_nothing_changes_by_default() -> None:
    given = batch()
    before = given.images.copy()
    same = BatchAugment().apply(given, seed=0, classes=3)
    EVERYTHING.apply(given, seed=0, classes=3)

    assert (given.images == before).all()
    assert (same.images.permute(0, 2, 3, 1).numpy() == before).all()
    assert same.images.is_contiguous(memory_format=torch.channels_last)
    assert (same.targets.argmax(1).numpy() == given.labels).all()
    assert not np.shares_memory(same.images.numpy(), given.images)


def test_epochs_and_seeds_draw_differently() -> None:
    changed = [
        EVERYTHING.apply(batch(epoch=epoch), seed=seed, classes=3).images
        for epoch, seed in [(0, 0), (1, 0), (0, 1)]
    ]

    for other in changed[1:]:
        same = (changed[0] == other).flatten(1).all(1)
        assert same.float().mean() < 0.05


def test_padding_stays_black_and_is_not_mixed() -> None:
    given = batch()
    given.images[-8:], given.labels[-8:], given.valid[-8:], given.index[-8:] = 0, -1, False, -1
    changed = EVERYTHING.apply(given, seed=0, classes=3)

    assert not changed.images[-8:].any()
    assert not changed.targets[-8:].any()
    assert changed.targets[:-8].sum(1).tolist() == pytest.approx([1.0] * 56)
    assert changed.valid.tolist() == given.valid.tolist()


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint16, 16), (np.float32, 1), (np.uint8, 5)])
def test_any_type_and_number_of_bands(dtype: Any, channels: int) -> None:
    given = batch(channels=channels, dtype=dtype)
    if dtype == np.float32:
        given.images[...] /= 255
    changed = EVERYTHING.apply(given, seed=0, classes=3)

    assert changed.images.shape == (64, channels, 16, 16)
    assert changed.images.dtype == torch.from_numpy(given.images).dtype
    assert changed.images.float().std() > 0


def test_flips_of_all_bands_are_the_drawn_ones() -> None:
    given = batch(channels=5)
    flipped = BatchAugment(flip_horizontal_share=0.4).apply(given, seed=3, classes=3).images
    images = torch.from_numpy(given.images).permute(0, 3, 1, 2)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)

    assert (mirrored ^ kept).all()
    assert 0.2 < mirrored.float().mean() < 0.6


def test_multi_labels_are_mixed_as_shares() -> None:
    given = batch()
    labels = np.random.default_rng(0).random((64, 3)) < 0.5
    several = Batch(given.images, labels, given.index, given.valid, given.epoch)
    changed = BatchAugment(mixup_alpha=1.0).apply(several, seed=0, classes=3)

    assert changed.targets.min() >= 0
    assert changed.targets.max() <= 1
    assert ((changed.targets > 0) & (changed.targets < 1)).any()


def test_boxes_to_erase_keep_their_area_ratio_and_place() -> None:
    augment = BatchAugment(erase_share=0.5, erase_area_share=(0.1, 0.2), erase_ratio=(0.5, 2.0))
    boxes = erase_boxes(augment, np.random.default_rng(0).random((4000, 23)), 100, 140)
    top, left, height, width = boxes.T
    drawn = height > 0

    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 100).all()
    assert (left + width <= 140).all()
    area = (height * width)[drawn] / 14_000
    assert area.min() > 0.095
    assert area.max() < 0.205
    assert area.mean() == pytest.approx(0.15, abs=0.005)
    assert ((height / np.maximum(width, 1))[drawn] < 2.1).all()


def test_whole_values_are_rounded_once() -> None:
    given = batch(count=2)
    given.images[...] = 101
    changed = BatchAugment(brightness=0.3, contrast=0.3).apply(given, seed=1, classes=3).images
    as_floats = Batch(
        given.images.astype(np.float32), given.labels, given.index, given.valid, given.epoch
    )
    exact = BatchAugment(brightness=0.3, contrast=0.3).apply(
        as_floats, seed=1, classes=3, white=255.0
    )

    assert torch.equal(changed.float(), exact.images.round())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hue": 0.6}, "hue 0.6"),
        ({"brightness": -1}, "brightness -1"),
        ({"erase_area_share": (0.5, 0.1)}, "erase_area_share"),
        ({"erase_ratio": (0.0, 1.0)}, "erase_ratio"),
        ({"mixup_alpha": -1}, "mixup_alpha"),
        ({"mix_ranks": 0}, "mix_ranks"),
        ({"erase_fill": "white"}, "erase_fill"),
        ({"further_bands": "colour"}, "further_bands"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchAugment(**options)


def test_batches_that_cannot_be_mixed_or_turned_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of twice mix_ranks"):
        BatchAugment(mixup_alpha=1.0).apply(batch(count=12), seed=0, classes=3)
    with pytest.raises(ConfigError, match="3 ranks"):
        BatchAugment(mixup_alpha=1.0).apply(batch(), seed=0, classes=3, ranks=3)
    given = batch()
    wide = Batch(given.images[:, :8], given.labels, given.index, given.valid, given.epoch)
    with pytest.raises(ConfigError, match="square"):
        BatchAugment(quarter_turns=True).apply(wide, seed=0, classes=3)
    with pytest.raises(ConfigError, match="Label 2"):
        BatchAugment().apply(given, seed=0, classes=2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_up_to_rounding() -> None:
    here = EVERYTHING.apply(batch(), seed=0, classes=3)
    there = EVERYTHING.apply(batch(), seed=0, classes=3, device="cuda")
    difference = (here.images.float() - there.images.cpu().float()).abs()

    assert (difference <= 1).float().mean() > 0.999
    assert torch.allclose(here.targets, there.targets.cpu())
