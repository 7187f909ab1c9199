"""The training loop: it learns, it stops, and it goes on exactly where it was."""

import contextlib

import numpy as np
import pytest
import torch
from array_batches import ArrayBatches, stripes

from besana.errors import BesanaError
from besana.learning.checkpoint import Checkpoints
from besana.learning.losses import one_hot, score
from besana.learning.recipe import Recipe, Watch
from besana.learning.training import Training
from besana.models.network import Backbone, build

BALANCED = np.ones(2, np.float32)


class KilledError(Exception):
    """Stands in for a kill -9 between two steps."""


def _training(recipe, images, classes=2, **backbone):
    built = build(
        Backbone("timm/test_resnet", size_px=32, options={"drop_rate": 0.2}, **backbone),
        classes=classes,
        seed=1,
    )
    weights = np.ones(classes, np.float32)
    return Training(
        built.network, built.preprocessing, recipe, weights=weights, samples=len(images)
    )


def _judge(training, images, labels):
    def validate(network):
        with torch.inference_mode():
            inputs = training.preprocessing.normalise(torch.from_numpy(images))
            probability = torch.softmax(network(inputs), 1).numpy()
        return score(probability, one_hot(labels, 2), kind="single")

    return validate


def _losses(folder, killed_after=None, checkpoint_s=0.0, epochs=3):
    """Train; returns the bits of every step's loss and the final weights."""
    images, labels = stripes(44)
    training = _training(
        Recipe(epochs=epochs, learning_rate=2e-3, seed=5, grey_share=0.3, blur_share=0.3), images
    )
    seen = {}

    def step(number, value):
        seen[number] = value.numpy().tobytes()
        if number == killed_after:
            raise KilledError

    outcome = None
    with contextlib.suppress(KilledError):
        outcome = training.run(
            ArrayBatches(images, labels),
            Checkpoints(folder, {"classes": "a"}),
            checkpoint_s=checkpoint_s,
            validate=_judge(training, images, labels),
            watch=Watch(step=step),
        )
    return seen, outcome


def _equal(one, two):
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("killed_after", [1, 6, 7])
def test_resumed_training_has_bit_equal_losses_and_weights(tmp_path, killed_after):
    expected, whole = _losses(tmp_path / "whole", checkpoint_s=1e9)

    before, _ = _losses(tmp_path / "killed", killed_after)
    after, resumed = _losses(tmp_path / "killed")

    assert min(after) <= killed_after  # the step of the kill itself was not saved
    assert before | after == expected
    assert _equal(resumed.network, whole.network)
    assert [e.train_loss for e in resumed.history] == [e.train_loss for e in whole.history]


def test_training_killed_twice_with_a_torn_checkpoint_still_ends_the_same(tmp_path):
    expected, whole = _losses(tmp_path / "whole", checkpoint_s=1e9)
    _losses(tmp_path / "killed", 7)
    newest = max((tmp_path / "killed").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])

    after, resumed = _losses(tmp_path / "killed")

    assert "was skipped" in resumed.notes[0]
    assert {step: expected[step] for step in after} == after
    assert _equal(resumed.network, whole.network)


def test_training_learns_what_it_has_not_seen(tmp_path):
    images, labels = stripes(160)
    unseen = stripes(64, seed=9)
    training = _training(Recipe(epochs=6, learning_rate=3e-3), images)

    outcome = training.run(
        ArrayBatches(images, labels), Checkpoints(tmp_path), validate=_judge(training, *unseen)
    )

    assert outcome.history[outcome.best_epoch].validation.accuracy > 0.95
    assert _judge(training, *unseen)(outcome.network).accuracy > 0.95


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path):
    images, labels = stripes(40)
    training = _training(Recipe(epochs=30, learning_rate=5e-3, patience_epochs=2), images)
    wrong = _judge(training, images, 1 - labels)

    outcome = training.run(ArrayBatches(images, labels), Checkpoints(tmp_path), validate=wrong)

    assert outcome.stopped_early
    assert len(outcome.history) == outcome.best_epoch + 3
    best = outcome.history[outcome.best_epoch].validation
    assert wrong(outcome.network) == best
    assert best.loss == min(epoch.validation.loss for epoch in outcome.history)


def test_training_without_validation_says_that_it_will_not_stop_early(tmp_path):
    images, labels = stripes(16)
    training = _training(Recipe(epochs=2, learning_rate=1e-3, patience_epochs=1), images)

    outcome = training.run(ArrayBatches(images, labels), Checkpoints(tmp_path))

    assert outcome.notes == ["There is no validation split, so early stopping is off."]
    assert (outcome.best_epoch, outcome.stopped_early) == (1, False)


def test_training_takes_several_classes_a_sample(tmp_path):
    images, labels = stripes(120)
    truth = np.stack([labels == 1, labels == 0, np.ones(120)], axis=1).astype(bool)
    training = _training(Recipe(epochs=5, learning_rate=3e-3, kind="multi"), images, classes=3)

    outcome = training.run(ArrayBatches(images, truth), Checkpoints(tmp_path))

    with torch.inference_mode():
        scores = outcome.network(training.preprocessing.normalise(torch.from_numpy(images)))
    assert ((scores.numpy() > 0) == truth).mean() > 0.95


def test_training_that_diverges_says_what_to_do(tmp_path):
    images, labels = stripes(16)
    training = _training(Recipe(epochs=2, learning_rate=1e-3), images)
    with torch.no_grad():
        training.network.fc.weight.fill_(float("nan"))

    with pytest.raises(BesanaError, match="lower learning_rate"):
        training.run(ArrayBatches(images, labels), Checkpoints(tmp_path))


def test_earlier_layers_learn_more_slowly(tmp_path):
    images, labels = stripes(16)
    recipe = Recipe(epochs=1, learning_rate=1e-3, layer_decay=0.5, head_factor=10, weight_decay=0.1)
    training = _training(recipe, images)
    before = {name: p.detach().clone() for name, p in training.network.named_parameters()}

    training.run(ArrayBatches(images, labels), Checkpoints(tmp_path))

    moved = {
        name: (parameter.detach() - before[name]).abs().max().item()
        for name, parameter in training.network.named_parameters()
    }
    assert moved["conv1.0.weight"] < moved["layer2.0.conv1.weight"] < moved["fc.weight"]


def test_an_average_share_of_one_is_the_mean_of_all_weights(tmp_path):
    images, labels = stripes(40)
    recipe = Recipe(epochs=2, learning_rate=5e-3, average_share=1.0, average_decay=0.999)
    training = _training(recipe, images)
    first = next(training.network.parameters()).detach().clone()
    seen = [first, first]

    def step(_number, _loss):
        seen.append(next(training.network.parameters()).detach().clone())

    outcome = training.run(
        ArrayBatches(images, labels), Checkpoints(tmp_path), watch=Watch(step=step)
    )

    average = next(outcome.network.parameters())
    assert len(seen) == 12
    assert not torch.allclose(seen[-1], first, atol=1e-4)
    assert torch.allclose(average, torch.stack(seen).mean(dim=0), atol=1e-6)
