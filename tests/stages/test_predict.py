"""What `predict` writes: each sample once a version, or a CSV for a folder."""

import csv
import datetime as dt

import numpy as np
import pytest
import sqlalchemy as sa
from inline_engine import Inline

from besana import catalog as tables
from besana.errors import ConfigError, NotReadyError
from besana.images.encode import encode_jpeg
from besana.models.model import Card, save_model
from besana.models.network import Backbone, build
from besana.registry import open_registry
from besana.stages.predict import Config, run
from besana.workspace import Workspace
from small_dataset import NOW, add_samples, stripes

MODEL = "stripes"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One MLflow file for all tests here: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def workspace(tmp_path, monkeypatch, store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return Workspace.create(tmp_path / "farm")


@pytest.fixture
def model(workspace, tmp_path):
    """A registered champion, untrained; its line of models is this test's own."""
    name = f"m-{tmp_path.name.replace('_', '-')}"
    built = build(Backbone("timm/test_byobnet", size_px=32), classes=2, seed=3)
    card = Card(
        backbone="timm/test_byobnet",
        preprocessing=built.preprocessing,
        classes=["across", "upright"],
        dataset={"sample_px": 32},
    )
    save_model(workspace.models.below(f"{name}/1"), built.network, card)
    registry = open_registry(workspace)
    version = registry.register(name, "", run="r", mlflow_run="", tags={})
    registry.set_alias(version, "champion")
    return name


def _predictions(workspace):
    return workspace.catalog.rows(sa.select(tables.predictions).order_by(sa.text("frame_id")))


def test_every_sample_is_predicted_once(workspace, model):
    images, _ = stripes(20)
    add_samples(workspace, images)

    report = run(workspace, Config(model=model))
    rows = _predictions(workspace)
    again = run(workspace, Config(model=model))

    assert (report.counts_in, report.counts_out) == (20, 20)
    assert (again.counts_in, again.counts_out) == (0, 0)
    assert _predictions(workspace) == rows
    assert len(rows) == 20
    assert (rows[0].model, rows[0].version) == (model, 1)
    assert rows[0].class_name in ("across", "upright")
    assert rows[0].probability == max(rows[0].probabilities.values())
    assert sum(rows[0].probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_prediction_is_what_the_model_says(workspace, model):
    from besana.models.model import load_model

    images, _ = stripes(6)
    add_samples(workspace, images)
    run(workspace, Config(model=model))

    expected = load_model(workspace.models.below(f"{model}/1")).predict(images)
    found = [row.probabilities["upright"] for row in _predictions(workspace)]
    assert found == pytest.approx(expected[:, 1].tolist(), abs=1e-5)


def test_an_engine_predicts_what_one_machine_does(workspace, model, monkeypatch):
    monkeypatch.setattr("besana.learning.on_engine._ROWS", 8)
    images, _ = stripes(21)
    add_samples(workspace, images)
    found = []
    for engine in (None, Inline()):
        report = run(workspace, Config(model=model, batch_size=8), engine)
        assert (report.counts_in, report.counts_out) == (21, 21)
        found.append([{**row._mapping, "predicted_at": None} for row in _predictions(workspace)])
        with workspace.catalog.transaction() as connection:
            connection.execute(sa.delete(tables.predictions))
    assert found[0] == found[1]
    assert len(found[0]) == 21


def test_new_samples_are_added_and_those_prepared_anew_are_predicted_anew(workspace, model):
    images, _ = stripes(6)
    add_samples(workspace, images[:3])
    run(workspace, Config(model=model))
    add_samples(workspace, images[3:], shard="b.tfrecord")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    with workspace.catalog.transaction() as connection:
        first = tables.samples.c.frame_id == "pen/a.tfrecord-00000"
        connection.execute(sa.update(tables.samples).where(first).values(prepared_at=later))

    report = run(workspace, Config(model=model))

    assert report.counts_out == 4
    assert len(_predictions(workspace)) == 6


def test_samples_of_kept_out_frames_and_other_bands_are_left(workspace, model):
    images, _ = stripes(5)
    add_samples(workspace, images)
    add_samples(workspace, images[:2, :, :, :1], shard="grey.tfrecord")
    issue = {
        "frame_id": "pen/a.tfrecord-00001",
        "kind": "dark",
        "stage": "clean",
        "blocks": True,
        "found_at": NOW,
    }
    workspace.catalog.insert(tables.issues, [issue])

    report = run(workspace, Config(model=model, max_dropped_share=0.5))

    assert (report.counts_out, report.dropped) == (4, {"other_channels": 2})


def test_damaged_record_is_dropped_and_the_rest_goes_on(workspace, model):
    images, _ = stripes(30)
    rows = add_samples(workspace, images)
    path = workspace.shards.local_path("a.tfrecord")
    data = bytearray(path.read_bytes())
    data[rows[7]["payload_offset_bytes"] + 50] ^= 1
    path.write_bytes(data)

    report = run(workspace, Config(model=model))

    assert (report.counts_out, report.dropped) == (29, {"damaged": 1})
    assert "pen/a.tfrecord-00007" not in [row.frame_id for row in _predictions(workspace)]


def test_unknown_model_or_empty_workspace_says_what_to_do(workspace, model):
    with pytest.raises(NotReadyError, match="besana prepare"):
        run(workspace, Config(model=model))
    with pytest.raises(NotReadyError, match="besana register"):
        run(workspace, Config(model="nobody"))
    with pytest.raises(ConfigError, match="--folder"):
        run(workspace, Config(model=model, camera="pen-a"))


def test_folder_is_classified_into_a_csv(workspace, model, tmp_path):
    images, _ = stripes(5, size=64)
    folder = tmp_path / "card"
    (folder / "day").mkdir(parents=True)
    for number, image in enumerate(images):
        (folder / "day" / f"{number}.jpg").write_bytes(encode_jpeg(image))
    (folder / "=cmd.jpg").write_bytes(b"not a picture")
    (folder / "note.txt").write_text("ignored")

    report = run(workspace, Config(model=model, folder=folder, max_dropped_share=0.5))

    assert (report.counts_in, report.counts_out) == (6, 5)
    assert report.dropped == {"not_an_image": 1}
    with (workspace.reports / "predictions.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    assert [row["file"] for row in rows] == ["'=cmd.jpg", *(f"day/{i}.jpg" for i in range(5))]
    assert rows[0]["issue"] == "not_an_image"
    assert rows[1]["region"] == "all"
    assert float(rows[1]["across"]) + float(rows[1]["upright"]) == pytest.approx(1, abs=1e-5)
    assert _predictions(workspace) == []
    assert not list(workspace.temporary.iterdir())


def test_folder_uses_the_cameras_regions(workspace, model, tmp_path):
    regions = "left = [0, 0, 64, 64]\nright = [64, 0, 128, 64]\n"
    text = f"[cameras.pen-a]\n[cameras.pen-a.regions]\n{regions}"
    (workspace.path / "besana.toml").write_text(text)
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 64:] = 255
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encode_jpeg(image))

    output = tmp_path / "out.csv"
    run(
        Workspace(workspace.path),
        Config(model=model, folder=folder, camera="pen-a", output=output),
    )

    with output.open(newline="") as file:
        assert [row["region"] for row in csv.DictReader(file)] == ["left", "right"]
