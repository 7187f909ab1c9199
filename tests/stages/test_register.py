"""The gate, the files and the aliases that `register` leaves."""

import json

import numpy as np
import pytest

from besana.errors import NotReadyError
from besana.learning.gate import compare
from besana.learning.runs import open_run
from besana.models.model import load_model, read_card
from besana.registry import open_registry
from besana.stages import evaluate, train
from besana.stages.register import Config, run
from besana.workspace import Workspace
from small_dataset import striped_dataset


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One MLflow file for all tests here: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def workspace(tmp_path, monkeypatch, store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    workspace = Workspace.create(tmp_path / f"farm-{tmp_path.name}")
    striped_dataset(workspace)
    return workspace


@pytest.fixture
def name(tmp_path):
    """A line of models of its own for each test."""
    return f"m-{tmp_path.name.replace('_', '-')}"


def _train(workspace, *, seed=0, rate=3e-3):
    train.run(
        workspace,
        train.Config(
            strategy="scratch",
            backbone="timm/test_byobnet",
            size_px=32,
            epochs=8,
            batch_size=8,
            learning_rate=rate,
            augment="none",
            seed=seed,
            threads=1,
        ),
    )
    evaluate.run(workspace, evaluate.Config(replicates=100, pictures=0))
    return open_run(workspace)


def test_first_model_becomes_champion_with_its_files(workspace, name):
    trained = _train(workspace)

    report = run(workspace, Config(name=name))
    assert report.results == [f"{name}/1 is champion: There was no champion."]

    version = open_registry(workspace).champion(name)
    folder = workspace.models.below(f"{name}/1")
    assert (version.number, version.run, version.aliases) == (1, trained.id, ("champion",))
    assert version.source == folder.url
    assert read_card(folder).weights_sha256 == version.tags["weights.sha256"]
    assert json.loads(version.tags["classes"]) == ["across", "upright"]
    assert version.tags["dataset.hash"] == trained.record["dataset"]["hash"]
    assert load_model(folder).card.preprocessing.size_px == 32
    assert report.facts["alias"] == "champion"
    logged = open_registry(workspace)._client.get_run(trained.record["mlflow_run"])
    assert logged.data.metrics["test_accuracy"] > 0.9


def test_registering_a_run_twice_is_one_version(workspace, name):
    _train(workspace)
    run(workspace, Config(name=name))

    again = run(workspace, Config(name=name))

    assert again.counts_in == 0
    assert [version.number for version in open_registry(workspace).versions(name)] == [1]


def test_killed_between_version_and_alias_goes_on(workspace, name, monkeypatch):
    from besana.registry import Registry

    _train(workspace)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, Config(name=name))
    run(workspace, Config(name=name))

    assert [version.aliases for version in open_registry(workspace).versions(name)] == [
        ("champion",)
    ]


def test_worse_model_stays_challenger_and_an_equal_one_takes_over(workspace, name):
    _train(workspace)
    run(workspace, Config(name=name))
    _train(workspace, seed=1, rate=1e-7)

    worse = run(workspace, Config(name=name))

    registry = open_registry(workspace)
    assert worse.facts["alias"] == "challenger"
    assert registry.champion(name).number == 1

    _train(workspace, seed=2)
    equal = run(workspace, Config(name=name, margin=0.2))

    assert equal.facts["alias"] == "champion"
    assert [version.aliases for version in registry.versions(name)] == [(), (), ("champion",)]


@pytest.mark.slow
def test_people_may_decide(workspace, name):
    _train(workspace)
    run(workspace, Config(name=name, promote="never"))
    assert open_registry(workspace).champion(name) is None

    _train(workspace, seed=1, rate=1e-7)
    run(workspace, Config(name=name, promote="always"))
    assert open_registry(workspace).champion(name).number == 2


def test_run_that_was_not_evaluated_is_refused(workspace, name):
    with pytest.raises(NotReadyError, match="besana train"):
        run(workspace, Config(name=name))


def _compared(champion, challenger, **values):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    said = [np.where(rng.random(400) < right, truth, 1 - truth) for right in (champion, challenger)]
    classes = np.arange(2)
    settings = {"kind": "single", "metric": "accuracy", "margin": 0.02, "level": 0.9}
    return compare(
        truth[:, None] == classes,
        said[0][:, None] == classes,
        said[1][:, None] == classes,
        values.pop("group", np.arange(400) // 4),
        **{**settings, **values},
    )


def test_gate_passes_what_is_better_and_stops_what_is_worse():
    better, worse = _compared(0.8, 0.95), _compared(0.95, 0.8)

    assert better.passes
    assert better.reason.startswith("Not worse: accuracy differs by +")
    assert not worse.passes
    assert worse.reason.startswith("Worse: ")
    assert better.difference == pytest.approx(-worse.difference, abs=0.05)
    assert (better.samples, better.groups) == (400, 100)


def test_gate_keeps_the_champion_when_the_test_set_is_too_small_to_tell():
    unsure = _compared(0.9, 0.9, group=np.arange(400) // 100)
    blind = _compared(0.9, 0.95, group=np.zeros(400, int))

    assert not unsure.passes
    assert "points worse" in unsure.reason
    assert not blind.passes
    assert blind.low is None


def test_gate_compares_several_classes_a_sample():
    rng = np.random.default_rng(0)
    truth = rng.random((200, 3)) < 0.4

    verdict = compare(
        truth,
        truth ^ (rng.random(truth.shape) < 0.2),
        truth,
        np.arange(200) // 2,
        kind="multi",
        metric="macro_f1",
        margin=0.0,
        level=0.9,
    )

    assert verdict.passes
    assert verdict.challenger == 1.0
