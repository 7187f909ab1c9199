"""What `train` leaves: a model folder, a run, nothing twice, and the same after a kill."""

import json

import numpy as np
import pytest

from besana.errors import ConfigError, NotFoundError, NotReadyError
from besana.learning.runs import all_runs, open_run
from besana.learning.training import Training
from besana.models.model import load_model, read_card
from besana.registry import open_registry
from besana.stages.train import Config, run
from besana.workspace import Workspace
from small_dataset import add_samples, freeze_dataset, striped_dataset, stripes

SMALL = {"backbone": "timm/test_byobnet", "size_px": 32, "threads": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One MLflow file for all tests here: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def workspace(tmp_path, monkeypatch, store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return Workspace.create(tmp_path / f"farm-{tmp_path.name}")


def _probe(**values):
    return Config(**{"strategy": "probe", "weights": "random", **SMALL, **values})


def _scratch(**values):
    base = {**SMALL, "epochs": 4, "batch_size": 8, "learning_rate": 3e-3, "augment": "none"}
    return Config(strategy="scratch", **{**base, **values})


def test_scratch_learns_and_leaves_a_model_and_a_logged_run(workspace):
    dataset = striped_dataset(workspace)
    images, labels = stripes(40, seed=5)

    report = run(workspace, _scratch(epochs=8))

    found = open_run(workspace)
    model = load_model(found.model)
    assert (model.predict(images).argmax(axis=1) == labels).mean() > 0.95
    assert (report.counts_in, report.counts_out, report.dropped) == (48, 48, {})
    assert report.facts["validation_accuracy"] > 0.95
    assert model.card.dataset == {
        "name": "default",
        "version": 1,
        "hash": dataset.hash,
        "sample_px": 32,
    }
    assert model.card.classes == ["across", "upright"]
    assert model.card.lineage["run"] == found.id
    assert found.record["state"] == "finished"
    assert not list(found.folder.glob("checkpoints*"))
    logged = open_registry(workspace)._client.get_run(found.record["mlflow_run"])
    assert logged.data.params["strategy"] == "scratch"
    assert logged.data.tags["dataset.hash"] == dataset.hash
    assert logged.data.metrics["validation_loss"] == pytest.approx(report.facts["validation_loss"])


def test_train_twice_does_nothing_the_second_time(workspace):
    striped_dataset(workspace)
    first = run(workspace, _probe())
    weights = (open_run(workspace).model / "weights.safetensors").stat()

    second = run(workspace, _probe())

    assert (second.counts_in, second.counts_out) == (0, 0)
    assert second.facts["run"] == first.facts["run"]
    assert (open_run(workspace).model / "weights.safetensors").stat().st_mtime_ns == (
        weights.st_mtime_ns
    )
    assert len(list(all_runs(workspace))) == 1


def test_probe_embeds_each_sample_once(workspace):
    striped_dataset(workspace, validation=False)
    run(workspace, _probe())
    blocks = sorted(workspace.embeddings.list())

    run(workspace, _probe(penalties=[0.5]))

    assert sorted(workspace.embeddings.list()) == blocks
    assert len(list(all_runs(workspace))) == 2


def test_probe_reports_grouped_beside_random_folds(workspace):
    # Pairs of equal pictures with random labels: only a leaking split seems to learn.
    images, _ = stripes(30, seed=3)
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
    images = np.repeat(noise, 3, axis=0)
    labels = np.repeat(np.random.default_rng(1).integers(0, 2, 30), 3)
    rows = add_samples(workspace, images)
    freeze_dataset(workspace, rows, labels, ["train"] * 90, group=np.repeat(np.arange(30), 3))

    report = run(workspace, _probe(penalties=[0.001]))

    assert report.facts["random_folds_accuracy"] > report.facts["grouped_folds_accuracy"] + 0.2
    assert report.sections[0].title == "What a random split would have promised"


def test_killed_training_goes_on_to_the_same_model(workspace, tmp_path, monkeypatch):
    striped_dataset(workspace)
    other = Workspace.create(tmp_path / "other")
    striped_dataset(other)
    run(other, _scratch())

    learn, steps = Training._learn, []

    def killed(self, batch):
        steps.append(1)
        if len(steps) == 9:
            raise KeyboardInterrupt
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_learn", killed)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, _scratch(checkpoint_minutes=0))
    assert next(all_runs(workspace)).record["state"] == "unfinished"
    with pytest.raises(NotReadyError, match="Nothing is trained"):
        open_run(workspace)

    run(workspace, _scratch(checkpoint_minutes=0))

    # checkpoint_minutes has no effect on what is learnt, so both are the same run.
    assert open_run(workspace).id == open_run(other).id
    assert read_card(open_run(workspace).model).weights_sha256 == (
        read_card(open_run(other).model).weights_sha256
    )
    assert (
        open_run(workspace).record["history"][-1]["train_loss"]
        == (open_run(other).record["history"][-1]["train_loss"])
    )


def test_finetune_starts_from_a_probe_on_given_weights(workspace, tmp_path):
    from safetensors.torch import save_file

    from besana.models.network import Backbone, build

    striped_dataset(workspace, validation=False)
    file = tmp_path / "weights.safetensors"
    network = build(Backbone(SMALL["backbone"]), classes=7, seed=4).network
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)

    report = run(
        workspace,
        Config(strategy="finetune", weights=str(file), epochs=2, batch_size=8, **SMALL),
    )

    assert "There is no validation split, so early stopping is off." in [
        section.text for section in report.sections if hasattr(section, "text")
    ]
    card = read_card(open_run(workspace).model)
    assert card.lineage["weights"] == "weights.safetensors"
    assert list(workspace.embeddings.list())


def test_folds_are_scored_each_on_its_own_samples(workspace):
    striped_dataset(workspace, folds=2)

    report = run(workspace, _scratch(folds=True, epochs=6))

    assert report.facts["folds_accuracy"] > 0.9
    assert report.facts["folds_accuracy_deviation"] >= 0
    folds = open_run(workspace).record["folds"]
    assert [fold["fold"] for fold in folds] == [0, 1]
    assert sum(fold["samples"] for fold in folds) == 72
    assert all(fold["samples"] + fold["train_samples"] == 72 for fold in folds)
    mean = np.mean([fold["accuracy"] for fold in folds])
    assert report.facts["folds_accuracy"] == pytest.approx(mean)
    [table] = [section for section in report.sections if section.title == "Folds of the dataset"]
    assert [row[0] for row in table.rows] == [0, 1]


def test_several_classes_a_sample_get_thresholds(workspace):
    images, labels = stripes(96)
    truth = np.stack([labels == 1, np.arange(96) % 5 == 0], axis=1)
    images[truth[:, 1], :8, :8] = (255, 0, 0)
    rows = add_samples(workspace, images)
    freeze_dataset(
        workspace, rows, truth, ["train"] * 72 + ["test"] * 24, classes=("upright", "weed")
    )

    run(workspace, _probe())

    model = load_model(open_run(workspace).model)
    assert model.card.kind == "multi"
    assert sorted(model.card.thresholds) == ["upright", "weed"]
    assert (model.holds(model.predict(images)) == truth).mean() > 0.9


def test_other_bands_train_too(workspace):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32, 1)).astype(np.uint8)
    labels = np.arange(40) % 2
    images[labels == 1] //= 3
    rows = add_samples(workspace, images)
    freeze_dataset(workspace, rows, labels, ["train"] * 32 + ["test"] * 8)

    run(workspace, _probe())

    model = load_model(open_run(workspace).model)
    assert model.card.preprocessing.channels == 1
    assert (model.predict(images).argmax(axis=1) == labels).mean() > 0.9


def test_run_json_says_how_it_was_made(workspace):
    striped_dataset(workspace, validation=False)
    run(workspace, _probe())

    record = json.loads((open_run(workspace).folder / "run.json").read_text())

    assert record["settings"]["backbone"] == SMALL["backbone"]
    assert record["dataset"]["version"] == 1
    assert record["train_samples"] == 72
    assert record["metrics"]["penalty"] in [penalty for penalty, _ in record["losses"]]


def test_dataset_without_a_training_sample_says_so(workspace):
    images, labels = stripes(8)
    freeze_dataset(workspace, add_samples(workspace, images), labels, ["test"] * 8)

    with pytest.raises(NotReadyError, match="no training sample"):
        run(workspace, _scratch())


def test_dataset_of_one_class_teaches_nothing_and_says_so(workspace):
    images, _ = stripes(8)
    rows = add_samples(workspace, images)
    freeze_dataset(workspace, rows, [0] * 8, ["train"] * 6 + ["test"] * 2, classes=("lying",))

    with pytest.raises(ConfigError, match="All samples of dataset default/1 are 'lying'"):
        run(workspace, _scratch())


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"dataset": "none"}, NotReadyError, "besana split"),
        ({"dataset": "default/x"}, ConfigError, "not a dataset"),
        ({"backbone": "timm/resnet81"}, ConfigError, "no network"),
        ({"weights": "nowhere.safetensors"}, NotFoundError, "nowhere.safetensors"),
    ],
)
def test_wrong_settings_say_what_is_wrong(workspace, values, error, said):
    striped_dataset(workspace)

    with pytest.raises(error, match=said):
        run(workspace, _probe(**{"weights": "random", **values}))
