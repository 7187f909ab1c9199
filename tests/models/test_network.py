"""Networks by name, their weights and their first layer."""

import importlib

import pytest
import torch
from safetensors.torch import save_file

from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.models import MODELS
from besana.models.network import Backbone, build, features, linear_head

TINY = "timm/test_resnet"


def _write(network, file):
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)


def test_models_table_names_modules_that_create():
    for module in MODELS.values():
        assert callable(importlib.import_module(module).create)


@pytest.mark.parametrize("name", ["timm/test_resnet", "test_resnet.r160_in1k", "besana/small"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_build_gives_scores_for_any_number_of_bands(name, channels):
    built = build(Backbone(name, size_px=64), classes=4, channels=channels)
    images = torch.zeros(2, 64, 64, channels, dtype=torch.uint8)

    inputs = built.preprocessing.normalise(images)
    scores = built.network.eval()(inputs)

    assert inputs.shape == (2, channels, 64, 64)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert scores.shape == (2, 4)
    assert built.weights.source == "random"


def test_build_is_repeatable_and_leaves_the_global_random_state():
    before = torch.get_rng_state()
    one, two = (build(Backbone(TINY), classes=2, seed=7).network for _ in range(2))

    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm/resnet81", "no network 'resnet81'"),
        ("keras/resnet", "Unknown family of networks 'keras'"),
        ("besana/smal", "No network 'besana/smal'. Did you mean 'small'?"),
    ],
)
def test_build_refuses_unknown_names_and_suggests(name, said):
    with pytest.raises(ConfigError, match=said):
        build(Backbone(name), classes=2)


def test_build_refuses_an_option_that_the_network_does_not_take():
    with pytest.raises(ConfigError, match="backbone_options"):
        build(Backbone(TINY, options={"wings": 2}), classes=2)


def test_preprocessing_takes_the_networks_own_values_and_those_given():
    own = build(Backbone(TINY), classes=2, channels=4).preprocessing
    given = build(Backbone(TINY, mean=[128], std=[64], size_px=96), classes=2).preprocessing

    assert (own.size_px, own.mean) == (160, [127.5] * 4)
    assert (given.size_px, given.mean, given.std) == (96, [128.0] * 3, [64.0] * 3)


def test_preprocessing_refuses_a_wrong_number_of_means():
    with pytest.raises(ConfigError, match="input_mean has 2 values for 3 bands"):
        build(Backbone(TINY, mean=[1, 2], std=[1]), classes=2)


def test_weights_from_a_file_fit_another_number_of_classes_and_bands(tmp_path):
    file = tmp_path / "weights.safetensors"
    source = build(Backbone(TINY), classes=11, seed=1).network
    _write(source, file)

    built = build(Backbone(TINY, str(file)), classes=2, channels=6, seed=2)

    own, theirs = built.network.state_dict(), source.state_dict()
    assert built.weights.source == "weights.safetensors"
    assert len(built.weights.sha256) == 64
    assert torch.equal(own["layer4.0.conv2.weight"], theirs["layer4.0.conv2.weight"])
    assert torch.equal(own["conv1.0.weight"][:, :3], theirs["conv1.0.weight"] / 2)
    assert torch.equal(own["conv1.0.weight"][:, 3:], theirs["conv1.0.weight"] / 2)
    assert own["fc.weight"].shape == (2, 96)


def test_adapted_first_layer_answers_alike_to_the_same_picture(tmp_path):
    file = tmp_path / "weights.safetensors"
    source = build(Backbone(TINY), classes=2).network.eval()
    _write(source, file)
    doubled = build(Backbone(TINY, str(file)), classes=2, channels=6).network.eval()
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    expected = features(source, picture)

    assert torch.allclose(features(doubled, picture.repeat(1, 2, 1, 1)), expected, atol=1e-5)


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    _write(build(Backbone("timm/test_byobnet"), classes=2).network, file)

    with pytest.raises(
        ConfigError, match=r"are not for 'timm/test_resnet': .* tensors are missing"
    ):
        build(Backbone(TINY, str(file)), classes=2)


def test_weights_cut_short_are_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    _write(build(Backbone(TINY), classes=2).network, file)
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(CorruptDataError, match="not a whole safetensors file"):
        build(Backbone(TINY, str(file)), classes=2)


@pytest.mark.parametrize("weights", ["model.pth", "imagenet"])
def test_weights_of_unknown_kind_are_refused(weights):
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        build(Backbone(TINY, weights), classes=2)


def test_pretrained_weights_without_a_network_say_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(NotFoundError, match=r"--weights FILE\.safetensors"):
        build(Backbone("timm/test_resnet.r160_in1k", "pretrained"), classes=2)


def test_pretrained_weights_that_do_not_exist_say_so():
    with pytest.raises(NotFoundError, match="no pretrained weights for 'besana/small'"):
        build(Backbone("besana/small", "pretrained"), classes=2)


def test_linear_head_is_what_scores_come_from():
    network = build(Backbone(TINY), classes=3).network.eval()
    inputs = torch.randn(2, 3, 64, 64)

    assert torch.allclose(linear_head(network)(features(network, inputs)), network(inputs))
