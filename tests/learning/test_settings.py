"""Settings of a training: what is chosen wins over the strategy's own, and names another run."""

import pytest

from besana.learning.settings import TrainSettings


@pytest.mark.parametrize("strategy", ["finetune", "scratch"])
def test_a_chosen_zero_is_not_an_empty_setting(strategy):
    chosen = TrainSettings(strategy=strategy, light_change=0, average_decay=0, colourless_share=0)

    assert (chosen.light, chosen.highest_decay) == (0, 0)
    assert chosen.appearance_share(chosen.colourless_share) == 0


def test_finetune_varies_pictures_more_than_scratch():
    finetune, scratch = (TrainSettings(strategy=name) for name in ("finetune", "scratch"))

    assert finetune.light > scratch.light
    assert finetune.appearance_share(None) > scratch.appearance_share(None) == 0
    assert finetune.averaged_share > scratch.averaged_share


def test_epochs_follow_from_the_number_of_samples():
    finetune = TrainSettings(strategy="finetune")

    assert [finetune.passes(samples) for samples in (10, 900, 1_000_000)] == [12, 5, 3]
    assert TrainSettings(strategy="finetune", epochs=2).passes(10) == 2


def test_threads_do_not_make_another_run_but_a_seed_does():
    one = TrainSettings(strategy="scratch")

    assert one.identity() == TrainSettings(strategy="scratch", threads=3).identity()
    assert one.identity() != TrainSettings(strategy="scratch", seed=1).identity()
