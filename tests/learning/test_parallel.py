"""Local and delayed SGD of two trainers, beside the same computed by one process in plain steps."""

import copy
import socket

import numpy as np
import pytest
import tiny_team
import torch
from array_batches import ArrayBatches, stripes
from safetensors.torch import load_file

from besana.learning import optimiser
from besana.learning.losses import loss, one_hot
from besana.learning.settings import TrainSettings
from besana.learning.team import Team

RANKS = 2
# AdamW's first step is as long where a gradient is rounding only: other arithmetic (threads,
# memory layout) has come to 0.0045; another way to learn together comes to 0.08.
ROUNDING = 0.015


@pytest.fixture(autouse=True)
def one_thread():
    """Compute the reference with as many threads as a trainer has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Folder with the weights that a team of two came to, each way."""
    folder = tmp_path_factory.mktemp("team")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    tiny_team.start(folder, RANKS, str(port))
    return folder


class Plain:
    """One network with its optimiser, and the gradient of a part of a batch."""

    def __init__(self, way):
        built = tiny_team.tiny()
        self.recipe = tiny_team.recipe(way)
        self.network, self.preprocessing = built.network.train(), built.preprocessing
        self.optimiser = optimiser.create(self.network, self.recipe)

    def gradient(self, images, labels):
        self.network.train()
        scores = self.network(self.preprocessing.normalise(torch.from_numpy(images)))
        truth = torch.from_numpy(one_hot(labels, 2))
        value = loss(scores, truth, kind="single", weights=torch.ones(2), smoothing=0.1)
        self.optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)

    def step(self, done):
        rate = 0.5 * (1 + np.cos(np.pi * done / self.recipe.epochs))
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * rate
        self.optimiser.step()


def batches():
    """Give each batch of the training, with how much of it was done before."""
    images, labels = stripes(tiny_team.SAMPLES)
    ordered = ArrayBatches(images, labels, tiny_team.BATCH)
    for epoch in range(2):
        ordered.set_epoch(epoch)
        for number, batch in enumerate(ordered):
            yield epoch, number, epoch + number * tiny_team.BATCH / tiny_team.SAMPLES, batch


def averaged(plains):
    """Put the mean of weights, statistics and moments into each."""
    held = [
        [
            value
            for value in (
                *plain.network.state_dict().values(),
                *optimiser.tensors(plain.optimiser).values(),
            )
            if value.dtype.is_floating_point and value.ndim
        ]
        for plain in plains
    ]
    for same in zip(*held, strict=True):
        mean = torch.stack(list(same)).mean(0)
        for value in same:
            value.copy_(mean)


def difference(one, other):
    """Mean distance of two networks' weights over their mean size."""
    pairs = [(one[key].double(), other[key].double()) for key in one]
    return sum((a - b).abs().sum() for a, b in pairs) / sum(b.abs().sum() for _, b in pairs)


@pytest.mark.slow
def test_local_sgd_is_trainers_apart_and_their_mean_now_and_then(ended):
    plains = [Plain("local-sgd") for _ in range(RANKS)]
    alone = 0
    for _, number, done, batch in batches():
        for rank, plain in enumerate(plains):
            plain.gradient(batch.images[rank::RANKS], batch.labels[rank::RANKS])
            plain.step(done)
        alone += 1
        if alone == 2 or number == 4:
            averaged(plains)
            alone = 0

    assert difference(load_file(ended / "local-sgd.st"), plains[0].network.state_dict()) < ROUNDING


@pytest.mark.slow
def test_delayed_is_one_step_a_turn_with_a_gradient_of_earlier_weights(ended):
    plain = Plain("delayed")
    versions = []
    for _, number, done, batch in batches():
        if number == 0:
            versions = [copy.deepcopy(plain.network.state_dict())]
        for rank in range(RANKS):
            newest = copy.deepcopy(plain.network.state_dict())
            before = versions[max(0, len(versions) - 2)]
            plain.network.load_state_dict(before)
            plain.gradient(batch.images[rank::RANKS], batch.labels[rank::RANKS])
            after = copy.deepcopy(plain.network.state_dict())
            for name, _ in plain.network.named_buffers():
                newest[name] = newest[name] + after[name] - before[name]
            plain.network.load_state_dict(newest)
            for group in plain.optimiser.param_groups:
                group["highest"] = group["highest"] / RANKS
            plain.step(done)
            for group in plain.optimiser.param_groups:
                group["highest"] = group["highest"] * RANKS
            versions.append(copy.deepcopy(plain.network.state_dict()))

    assert difference(load_file(ended / "delayed.st"), plain.network.state_dict()) < ROUNDING


@pytest.mark.slow
def test_hybrid_is_what_one_trainer_does(ended, tmp_path):
    alone = tiny_team.train("single", Team(), tmp_path)

    assert difference(load_file(ended / "hybrid.st"), alone) < 1e-3
    assert difference(load_file(ended / "local-sgd.st"), alone) > 2 * ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("way", tiny_team.WAYS)
def test_a_team_that_was_interrupted_ends_with_the_same_bits(ended, way):
    whole, again = load_file(ended / f"{way}.st"), load_file(ended / f"{way}-2.st")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_only_what_changes_the_result_is_part_of_a_run():
    def run(**values):
        return TrainSettings(strategy="scratch", **values).identity()

    assert run(trainers=4, sync_steps=3) == run()
    assert run(parallel="ddp", trainers=4) == run(parallel="ddp", staleness=5)
    assert run(parallel="local-sgd", trainers=4) != run(parallel="local-sgd", trainers=2)
    assert run(parallel="delayed", staleness=3) != run(parallel="delayed")
