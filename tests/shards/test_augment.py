"""Augmentation: drawn from (seed, epoch, sample, operation) alone, within its bounds."""

from typing import Any

import numpy as np
import pytest

from besana.errors import ConfigError
from besana.shards.augment import Augment, Changes, central_boxes, draw_changes, smallest_crop

MANY = np.arange(5000)


def draw(
    augment: Augment | None, *, relative: float = 1.0, epoch: int = 0, seed: int = 0
) -> Changes:
    epochs = np.full(len(MANY), epoch)
    return draw_changes(augment, MANY, epochs, np.full(len(MANY), relative), seed)


def test_a_sample_draws_the_same_in_any_batch() -> None:
    augment = Augment(brightness=0.5)
    whole = draw(augment, epoch=3)
    few = np.array([4999, 17, 3])
    apart = draw_changes(augment, few, np.full(3, 3), np.ones(3), 0)

    for all_of_them, some in zip(whole, apart, strict=True):
        assert (all_of_them[few] == some).all()


def test_epochs_and_seeds_draw_differently() -> None:
    boxes = [draw(Augment(), epoch=e, seed=s).box for e, s in [(0, 0), (1, 0), (0, 1)]]

    assert (boxes[0] != boxes[1]).any(axis=1).all()
    assert (boxes[0] != boxes[2]).any(axis=1).all()


@pytest.mark.parametrize("relative", [0.2, 0.7, 1.0, 1.6, 6.0])
def test_boxes_keep_their_area_and_ratio(relative: float) -> None:
    augment = Augment(crop_area_share=(0.3, 0.8), crop_ratio=(0.8, 1.25))
    top, left, height, width = draw(augment, relative=relative).box.T
    tall, wide = smallest_crop(augment, np.array([relative]))

    assert (np.stack([top, left]) >= 0).all()
    assert (top + height <= 1 + 1e-9).all()
    assert (left + width <= 1 + 1e-9).all()
    assert (height >= tall - 1e-9).all()
    assert (width >= wide - 1e-9).all()
    drawn = (np.abs(height - central_boxes(np.array([relative]))[0, 2]) > 1e-9) | (width < 0.999)
    area, ratio = (height * width)[drawn], (width / height * relative)[drawn]
    if 0.6 < relative < 1.7:
        assert area.min() >= 0.3 - 1e-9
        assert area.max() <= 0.8 + 1e-9
        assert ratio.min() >= 0.8 - 1e-9
        assert ratio.max() <= 1.25 + 1e-9
    if relative == 1:
        assert area.mean() == pytest.approx(0.55, abs=0.03)


def test_shares_come_true() -> None:
    changes = draw(
        Augment(
            flip_horizontal_share=0.3, flip_vertical_share=0.9, quarter_turns=True, contrast=0.4
        )
    )

    assert changes.flip.mean() == pytest.approx(0.3, abs=0.03)
    assert changes.upend.mean() == pytest.approx(0.9, abs=0.03)
    assert np.bincount(changes.turns).tolist() == pytest.approx([1250] * 4, rel=0.12)
    assert changes.colour is not None
    assert (changes.colour[:, [0, 2]] == 1).all()
    assert changes.colour[:, 1].min() == pytest.approx(0.6, abs=0.01)
    assert changes.colour[:, 1].max() == pytest.approx(1.4, abs=0.01)


def test_operations_are_independent() -> None:
    changes = draw(Augment(flip_vertical_share=0.5))
    top, left, height, width = changes.box.T
    table = [top / (1 - height), left / (1 - width), height * width, changes.flip, changes.upend]
    correlation = np.corrcoef(np.stack(table))

    assert np.abs(correlation - np.eye(5)).max() < 0.06


def test_without_augmentation_the_view_is_whole_or_central() -> None:
    assert (draw(None).box == [0, 0, 1, 1]).all()
    assert draw(None, relative=2.0).box[0].tolist() == [0, 0.25, 1, 0.5]
    assert draw(None, relative=0.5).box[0].tolist() == [0.25, 0, 0.5, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"crop_area_share": (0.0, 1.0)},
        {"crop_area_share": (0.9, 0.5)},
        {"crop_ratio": (-1.0, 1.0)},
        {"flip_horizontal_share": 1.5},
        {"brightness": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Augment(**options)
