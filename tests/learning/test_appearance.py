"""Colour and sharpness that training pictures lose."""

import torch

from besana.learning.appearance import Appearance


def _pictures(channels=3):
    return torch.randn(64, channels, 16, 16, generator=torch.Generator().manual_seed(0))


def test_nothing_changes_without_a_share():
    pictures = _pictures()

    assert Appearance().change(pictures) is pictures


def test_a_share_of_the_pictures_turns_grey_and_further_bands_stay():
    pictures = _pictures(channels=5)

    changed = Appearance(grey_share=0.5).change(pictures)

    grey = (changed[:, 0] == changed[:, 1]).flatten(1).all(dim=1)
    assert 20 <= int(grey.sum()) <= 44
    assert torch.allclose(changed[grey][:, 0], pictures[grey][:, :3].mean(dim=1))
    assert torch.equal(changed[~grey], pictures[~grey])
    assert torch.equal(changed[:, 3:], pictures[:, 3:])


def test_one_band_has_no_colour_to_lose():
    pictures = _pictures(channels=1)

    assert Appearance(grey_share=1.0).change(pictures) is pictures


def test_a_share_of_the_pictures_loses_sharpness_but_not_brightness():
    pictures = _pictures()

    changed = Appearance(blur_share=0.5).change(pictures)

    same = (changed == pictures).flatten(1).all(dim=1)
    assert 20 <= int(same.sum()) <= 44
    assert (changed[~same].flatten(1).std(dim=1) < pictures[~same].flatten(1).std(dim=1)).all()
    flat = torch.ones(4, 3, 8, 8)
    assert torch.allclose(Appearance(blur_share=1.0).change(flat), flat)
