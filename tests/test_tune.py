"""Tuning: trials on the validation split, stopped early, taken up again."""

from __future__ import annotations

import optuna
import pytest

import besana
from besana.commands import tune
from besana.errors import ConfigError, NotReadyError
from small_dataset import striped_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SMALL = '[train]\nbackbone = "besana/small"\nsize_px = 32\nthreads = 1\nepochs = 2\n'


@pytest.fixture
def farm(tmp_path):
    farm = besana.Workspace.create(tmp_path / "farm", SMALL)
    striped_dataset(farm)
    yield farm
    farm.catalog.close()


def config(**values):
    return tune.Config(**{"strategy": "scratch", "trials": 3, "epochs": [1, 2], **values})


def study_of(farm):
    storage = f"sqlite:///{farm.runs / 'tune-default.db'}"
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def test_the_best_settings_are_those_of_the_best_trial(farm, capsys):
    best = tune.run(farm, config())
    study = study_of(farm)
    assert len(study.trials) == 3
    assert best == {"strategy": "scratch", **study.best_params}
    assert 1e-4 <= best["learning_rate"] <= 1e-2
    shown = capsys.readouterr().out
    assert f"split: {study.best_value:.3f}" in shown
    assert 'strategy = "scratch"' in shown
    assert not (farm.runs / "tune").exists() or list((farm.runs / "tune").iterdir()) == []
    # The same command finds nothing left to do, a larger one goes on.
    assert tune.run(farm, config()) == best
    tune.run(farm, config(trials=4))
    assert len(study_of(farm).trials) == 4


def test_a_trial_that_was_killed_is_tried_again(farm):
    tune.run(farm, config(trials=1))
    study = study_of(farm)
    killed = study.ask()
    rate = killed.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    killed.suggest_categorical("epochs", [1, 2])
    killed.suggest_categorical("augment", ["none", "fixed", "turned"])
    tune.run(farm, config(trials=2))
    states = [trial.state.name for trial in study_of(farm).trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study_of(farm).trials[2].params["learning_rate"] == rate


def test_a_trial_worse_than_the_middle_is_stopped(farm):
    tune.run(farm, config(trials=1, epochs=[6]))
    study = study_of(farm)
    (first,) = study.trials
    for _ in range(5):
        study.add_trial(
            optuna.trial.create_trial(
                params=first.params,
                distributions=first.distributions,
                value=2.0,
                intermediate_values=dict.fromkeys(range(6), 2.0),
            )
        )
    tune.run(farm, config(trials=7, epochs=[6]))
    last = study_of(farm).trials[-1]
    assert last.state.name == "PRUNED"
    assert len(last.intermediate_values) < 6


def test_what_cannot_be_searched_is_an_error(farm, tmp_path):
    with pytest.raises(ConfigError, match="lowest_rate is above"):
        tune.run(farm, config(lowest_rate=0.1, highest_rate=0.01))
    other = besana.Workspace.create(tmp_path / "other", SMALL)
    striped_dataset(other, validation=False)
    with pytest.raises(NotReadyError, match="no validation split"):
        tune.run(other, config())
    other.catalog.close()
