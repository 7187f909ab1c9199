"""Batch operations: on fixed amounts they are torchvision's, each picture by its own amount."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from torchvision.transforms import InterpolationMode, v2  # noqa: E402  after the skip
from torchvision.transforms.v2 import functional as reference  # noqa: E402

from besana.shards import batch_operations as operations  # noqa: E402
from besana.shards.batch_mixing import (  # noqa: E402
    Mixing,
    beta_quantile,
    draw_mixing,
    mix_images,
    mix_targets,
)
from besana.shards.batch_policy import LIGHTS, MOVES, NAMES, apply_drawn  # noqa: E402

WHITE = 255.0


def pictures(count: int = 6, channels: int = 3, seed: int = 0) -> Any:
    """Draw smooth pictures with some texture, (count, channels, 20, 24) float32 of whole values."""
    generator = np.random.default_rng(seed)
    coarse = torch.from_numpy(generator.random((count, channels, 5, 6)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (20, 24), mode="bilinear") * 220
    return (
        smooth + torch.from_numpy(generator.random(smooth.shape).astype(np.float32)) * 30
    ).round()


def each(function: Callable[..., Any], images: Any, amounts: Any) -> Any:
    """Apply a reference to one picture after the other, in its range of 0 to 1."""
    changed = [function(image / WHITE, float(a)) for image, a in zip(images, amounts, strict=True)]
    return torch.stack(changed) * WHITE


FACTORS = torch.tensor([0.0, 0.4, 1.0, 1.3, 2.0, 0.9])
SHIFTS = torch.tensor([-0.5, -0.2, 0.0, 0.07, 0.33, 0.5])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
@pytest.mark.parametrize("channels", [3, 1])
def test_light_is_torchvisions(name: str, channels: int) -> None:
    images = pictures(channels=channels)
    theirs = each(getattr(reference, f"adjust_{name}"), images, FACTORS)
    ours = getattr(operations, name)(images, FACTORS, WHITE)

    assert torch.allclose(ours, theirs, atol=2e-3)
    assert not torch.allclose(ours, images, atol=1) or (name == "saturation" and channels == 1)


def test_hue_is_torchvisions() -> None:
    images = pictures()
    images[0, :, :2] = 77  # grey has no hue
    ours = operations.hue(images, SHIFTS, WHITE)

    assert torch.allclose(ours, each(reference.adjust_hue, images, SHIFTS), atol=2e-2)
    assert torch.equal(ours[0, :, :2], images[0, :, :2])


def test_solarising_and_posterising_are_torchvisions() -> None:
    images = pictures()
    thresholds = torch.tensor([0.0, 40, 100, 128, 200, 255])
    ours = operations.solarise(images, thresholds, WHITE)
    theirs = torch.stack(
        [
            reference.solarize(i.to(torch.uint8), float(t))
            for i, t in zip(images, thresholds, strict=True)
        ]
    )
    assert torch.equal(ours.to(torch.uint8), theirs)
    bits = torch.tensor([1, 3, 4, 5, 7, 8])
    ours = operations.posterise(images, bits, WHITE)
    theirs = torch.stack(
        [reference.posterize(i.to(torch.uint8), int(b)) for i, b in zip(images, bits, strict=True)]
    )
    assert torch.equal(ours.to(torch.uint8), theirs)


def test_equalising_and_stretching_are_torchvisions() -> None:
    images = pictures() / 3 + 20
    images = images.round()
    images[0] = 9  # of one value: nothing to stretch
    none = torch.zeros(6)
    ours = operations.equalise(images, none, WHITE)
    theirs = reference.equalize(images.to(torch.uint8))
    assert torch.equal(ours.round().to(torch.uint8), theirs)
    ours = operations.stretch_contrast(images, none, WHITE)
    assert torch.allclose(ours, reference.autocontrast(images / WHITE) * WHITE, atol=1e-2)


def test_flips_and_turns_are_torchvisions() -> None:
    images = pictures(4)[:, :, :, :20].to(torch.uint8)
    across = torch.tensor([True, False, True, False])
    upside_down = torch.tensor([True, True, False, False])
    ours = operations.flip(images, across, upside_down)

    assert torch.equal(ours[0], reference.vertical_flip(reference.horizontal_flip(images[0])))
    assert torch.equal(ours[1], reference.vertical_flip(images[1]))
    assert torch.equal(ours[2], reference.horizontal_flip(images[2]))
    assert torch.equal(ours[3], images[3])
    turned = operations.turn(images, torch.tensor([0, 1, 2, 3]))
    for quarters in range(4):
        assert torch.equal(turned[quarters], reference.rotate(images[quarters], 90.0 * quarters))


def test_warps_are_torchvisions() -> None:
    images = pictures(len(MOVES))
    signed = np.array([0.8, -0.6, 0.5, -0.9, 0.7])
    drawn = np.array([NAMES.index(name) for name in MOVES])
    ours = apply_drawn(images, drawn, signed, WHITE, grey_bands=False)
    shears = [math.degrees(math.atan(0.3 * s)) for s in signed[:2]]
    shifts = [int(150 / 331 * side * s) for side, s in ((24, 0.5), (20, -0.9))]
    settings: list[dict[str, Any]] = [
        {"angle": 0.0, "translate": [0, 0], "shear": [shears[0], 0.0]},
        {"angle": 0.0, "translate": [0, 0], "shear": [0.0, shears[1]]},
        {"angle": 0.0, "translate": [shifts[0], 0], "shear": [0.0, 0.0]},
        {"angle": 0.0, "translate": [0, shifts[1]], "shear": [0.0, 0.0]},
        {"angle": -30 * 0.7, "translate": [0, 0], "shear": [0.0, 0.0]},
    ]
    for place, given in enumerate(settings):
        theirs = reference.affine(
            images[place], scale=1.0, interpolation=InterpolationMode.BILINEAR, **given
        )
        assert torch.allclose(ours[place], theirs, atol=0.02), MOVES[place]


def test_the_policy_has_torchvisions_strengths() -> None:
    images = pictures(len(LIGHTS))
    drawn = np.array([NAMES.index(name) for name in LIGHTS])
    ours = apply_drawn(images, drawn, np.full(len(LIGHTS), 0.3), WHITE, grey_bands=False)
    theirs = {
        "brightness": "Brightness",
        "saturation": "Color",
        "contrast": "Contrast",
        "sharpness": "Sharpness",
        "posterise": "Posterize",
        "solarise": "Solarize",
        "stretch_contrast": "AutoContrast",
        "equalise": "Equalize",
    }
    policy = v2.RandAugment()
    for place, name in enumerate(LIGHTS):
        image = images[place].to(torch.uint8)
        magnitudes = policy._AUGMENTATION_SPACE[theirs[name]][0](31, 20, 24)
        magnitude = 0.0 if magnitudes is None else float(magnitudes[9])
        expected = policy._apply_image_or_video_transform(
            image, theirs[name], magnitude, interpolation=InterpolationMode.NEAREST, fill={}
        )
        difference = (ours[place] - expected.float()).abs().max()
        assert difference <= 2, name  # theirs cuts off fractions after every step


def test_a_strength_of_no_sign_changes_both_ways() -> None:
    images = pictures(2)
    drawn = np.full(2, NAMES.index("brightness"))
    up, down = apply_drawn(images, drawn, np.array([0.5, -0.5]), WHITE, grey_bands=False)

    assert up.mean() > images[0].mean()
    assert down.mean() < images[1].mean()


def test_erasing_is_torchvisions() -> None:
    images = pictures(3)
    boxes = torch.tensor([[2, 3, 5, 7], [0, 0, 20, 24], [4, 4, 0, 0]])
    fill = images.mean(dim=(2, 3), keepdim=True)
    ours = operations.erase(images, boxes, fill)

    for image, box, value, changed in zip(images, boxes.tolist(), fill, ours, strict=True):
        top, left, height, width = box
        assert torch.equal(changed, reference.erase(image, top, left, height, width, value))


def test_erasing_is_kornias() -> None:
    kornia = pytest.importorskip("kornia")
    images = pictures(2) / WHITE
    boxes = torch.tensor([[2, 3, 5, 7], [1, 8, 9, 4]])
    erasing = kornia.augmentation.RandomErasing(p=1.0, value=0.25)
    flags = {
        name: boxes[:, column].float()
        for name, column in (("ys", 0), ("xs", 1), ("heights", 2), ("widths", 3))
    }
    theirs = erasing.apply_transform(images, {**flags, "values": torch.full((2,), 0.25)}, {})

    assert torch.equal(operations.erase(images, boxes, torch.full((1,), 0.25)), theirs)


def test_mixup_and_cutmix_are_torchvisions() -> None:
    images = pictures(4)
    targets = torch.eye(4)
    before = (np.arange(4) - 1) % 4
    none = np.zeros((4, 4), np.int64)
    blended = Mixing(before, np.full(4, 0.3), np.full(4, 0.3), none)
    theirs = v2.MixUp(num_classes=4)
    labels = torch.arange(4)
    given = {"labels": labels, "batch_size": 4, "lam": 0.3}
    assert torch.allclose(mix_images(images, blended), theirs.transform(images, given), atol=1e-4)
    assert torch.allclose(mix_targets(targets, blended), theirs.transform(labels, given))
    pasted = Mixing(before, np.full(4, 1 - 30 / 480), np.ones(4), np.array([[4, 7, 6, 5]] * 4))
    cut = v2.CutMix(num_classes=4)
    given = {"labels": labels, "batch_size": 4, "box": (7, 4, 12, 10), "lam_adjusted": 1 - 30 / 480}
    assert torch.equal(mix_images(images, pasted), cut.transform(images, given))
    assert torch.allclose(mix_targets(targets, pasted), cut.transform(labels, given))


def test_boxes_to_paste_cover_what_the_targets_say() -> None:
    table = np.random.default_rng(0).random((4000, 6))
    mixing = draw_mixing(
        table, np.ones(4000, np.bool_), (20, 24), alphas=(0.0, 1.0), share=1.0, stride=8
    )
    top, left, height, width = mixing.boxes.T

    assert (1 - mixing.kept).tolist() == pytest.approx((height * width / 480).tolist())
    assert (top + height <= 20).all()
    assert (left + width <= 24).all()
    assert ((mixing.partner - np.arange(4000)) % 8 == 0).all()
    assert (mixing.partner != np.arange(4000)).all()


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_shares_to_mix_follow_a_beta_distribution(alpha: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    uniform = np.linspace(0.001, 0.999, 499)

    assert beta_quantile(uniform, alpha) == pytest.approx(
        stats.beta.ppf(uniform, alpha, alpha), abs=1e-3
    )


@pytest.mark.parametrize("grey_bands", [True, False])
def test_bands_beyond_colour_are_left_or_treated_as_grey(*, grey_bands: bool) -> None:
    images = pictures(channels=5)
    ours = operations.on_colours(operations.contrast, images, FACTORS, WHITE, grey_bands=grey_bands)

    assert torch.equal(ours[:, :3], operations.contrast(images[:, :3], FACTORS, WHITE))
    for band in (3, 4):
        alone = operations.contrast(images[:, band : band + 1], FACTORS, WHITE)
        expected = alone if grey_bands else images[:, band : band + 1]
        assert torch.equal(ours[:, band : band + 1], expected)


def test_two_bands_are_grey_pictures() -> None:
    images = pictures(channels=2)
    ours = operations.on_colours(operations.brightness, images, FACTORS, WHITE, grey_bands=False)

    for band in (0, 1):
        theirs = each(reference.adjust_brightness, images[:, band : band + 1], FACTORS)
        assert torch.allclose(ours[:, band : band + 1], theirs, atol=1e-3)
