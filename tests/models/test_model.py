"""Model folders: what is written is what is loaded, or nothing is."""

import json

import numpy as np
import pytest
import torch

from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.models.model import CARD, WEIGHTS, Card, classes_hash, load_model, save_model
from besana.models.network import Backbone, build, linear_head
from besana.storage import open_storage


def _pictures(count=5, size=80, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, size, size, channels), np.uint8)


@pytest.fixture
def saved(tmp_path):
    """A folder with a tiny model of two classes."""
    built = build(Backbone("timm/test_resnet", size_px=64), classes=2, seed=3)
    card = Card(
        backbone="timm/test_resnet", preprocessing=built.preprocessing, classes=["cow", "empty"]
    )
    save_model(tmp_path / "model", built.network, card)
    return tmp_path / "model"


def test_model_predicts_after_loading_what_it_did_before(saved):
    before, after = load_model(saved), load_model(open_storage(saved))

    probability = before.predict(_pictures())

    assert probability.shape == (5, 2)
    assert probability.dtype == np.float32
    assert probability.sum(axis=1) == pytest.approx(np.ones(5))
    assert np.array_equal(after.predict(_pictures(), batch_size=5), probability)
    assert before.names(probability) == [
        ["cow", "empty"][index] for index in probability.argmax(axis=1)
    ]


def test_model_takes_no_pictures(saved):
    assert load_model(saved).predict(_pictures(0)).shape == (0, 2)


def test_model_looks_at_what_it_predicts_from(saved):
    model = load_model(saved)

    probability, vectors = model.look(_pictures(), batch_size=2)

    assert probability == pytest.approx(model.predict(_pictures()), abs=1e-6)
    head = linear_head(model.network)
    scores = head(torch.from_numpy(vectors)).detach().softmax(dim=1).numpy()
    assert scores == pytest.approx(probability, abs=1e-6)


def test_model_refuses_pictures_of_other_bands(saved):
    with pytest.raises(ConfigError, match="3 bands"):
        load_model(saved).predict(_pictures(channels=4))


def test_model_with_a_flipped_bit_is_refused(saved):
    data = bytearray((saved / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / WEIGHTS).write_bytes(data)

    with pytest.raises(CorruptDataError, match=r"not those that its model.json names"):
        load_model(saved)


def test_model_whose_card_names_another_network_is_refused(saved):
    card = json.loads((saved / CARD).read_text())
    (saved / CARD).write_text(json.dumps({**card, "backbone": "timm/test_byobnet"}))

    with pytest.raises(CorruptDataError, match="do not fit the network"):
        load_model(saved)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "pickle": "x"}'])
def test_model_with_a_foreign_card_is_refused(saved, text):
    (saved / CARD).write_text(text)

    with pytest.raises(CorruptDataError):
        load_model(saved)


def test_model_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        load_model(tmp_path)


def test_multi_label_model_holds_what_passes_its_threshold(tmp_path):
    built = build(Backbone("timm/test_resnet", size_px=64), classes=3)
    card = Card(
        backbone="timm/test_resnet",
        preprocessing=built.preprocessing,
        classes=["weed", "water", "dry"],
        kind="multi",
        thresholds={"water": 0.9},
    )
    save_model(tmp_path, built.network, card)
    model = load_model(tmp_path)

    holds = model.holds(np.array([[0.6, 0.6, 0.4]], np.float32))

    assert holds.tolist() == [[True, False, False]]
    assert (model.predict(_pictures()) < 1).all()


def test_classes_hash_depends_on_order():
    assert classes_hash(["a", "b"]) != classes_hash(["b", "a"])
    assert classes_hash(["a", "b"]) != classes_hash(["ab"])
