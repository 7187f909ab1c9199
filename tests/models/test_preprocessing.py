"""What happens to a picture before a network sees it."""

import numpy as np
import pytest
import torch

from besana.config import parse
from besana.errors import ConfigError
from besana.images.resize import resize
from besana.models.preprocessing import Preprocessing


def _pictures(height, width, channels, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


@pytest.mark.parametrize("shape", [(100, 80), (64, 64), (65, 70), (200, 30), (20, 20)])
def test_resize_is_what_the_loader_does(shape):
    pictures = _pictures(*shape, 3)
    expected = np.stack([resize(picture, (64, 64)) for picture in pictures])

    assert np.array_equal(Preprocessing(size_px=64).resize(pictures), expected)


def test_resize_leaves_pictures_of_the_right_size():
    pictures = _pictures(64, 64, 3)

    assert Preprocessing(size_px=64).resize(pictures) is pictures


def test_resize_takes_many_bands():
    pictures = _pictures(100, 80, 9)
    nine = Preprocessing(size_px=64, channels=9, mean=[0] * 9, std=[1] * 9)
    one = Preprocessing(size_px=64, channels=1, mean=[0], std=[1])

    assert np.array_equal(nine.resize(pictures)[..., 8:], one.resize(pictures[..., 8:]))


def test_normalise_maps_mean_to_zero_and_a_deviation_to_one():
    preprocessing = Preprocessing(size_px=8, channels=2, mean=[100, 20], std=[50, 10])
    images = torch.tensor([100, 30], dtype=torch.uint8).expand(1, 8, 8, 2)

    inputs = preprocessing.normalise(images)

    assert inputs.shape == (1, 2, 8, 8)
    assert inputs[0, :, 0, 0].tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("values", [{"mean": [1.0]}, {"std": [1.0, 0.0, 1.0]}])
def test_preprocessing_refuses_values_that_do_not_fit_the_bands(values):
    with pytest.raises(ConfigError):
        parse(Preprocessing, values, where="model.json")
