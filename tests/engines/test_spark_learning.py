"""Spark embeds, exports and predicts byte for byte, and MLlib finds the probe's classifier."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from besana.models.model import Card, save_model
from besana.models.network import Backbone, build
from besana.registry import open_registry
from besana.workspace import Workspace
from small_dataset import add_samples, freeze_dataset, stripes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed"),
]
SCRIPT = Path(__file__).with_name("learns_on_spark.py")
MODEL = "stripes"
NEAR = 2e-3


def make_farm(folder: Path) -> None:
    farm = Workspace.create(folder)
    images, labels = stripes(75)
    rows = add_samples(farm, images)
    freeze_dataset(farm, rows, labels, ["train"] * 50 + ["test"] * 25)
    built = build(Backbone("timm/test_byobnet", size_px=32), classes=2, seed=3)
    card = Card(
        backbone="timm/test_byobnet",
        preprocessing=built.preprocessing,
        classes=["across", "upright"],
        dataset={"sample_px": 32},
    )
    save_model(farm.models.below(f"{MODEL}/1"), built.network, card)
    farm.catalog.close()


def test_a_cluster_embeds_exports_and_predicts_what_one_machine_does(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("local", "cluster"):
        make_farm(tmp_path / name)
    registry = open_registry(Workspace(tmp_path / "local"))
    version = registry.register(MODEL, "", run="r", mlflow_run="", tags={})
    registry.set_alias(version, "champion")
    conf = "--conf spark.ui.enabled=false --conf spark.driver.memory=800m"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "local"), str(tmp_path / "cluster"), MODEL],
        env={
            **os.environ,
            "PYSPARK_SUBMIT_ARGS": f"--master local[2] {conf} pyspark-shell",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [found[name] for name in ("embed", "tfrecord", "folders", "predict")] == [True] * 4
    assert found["single"] < NEAR
    assert found["multi"] < NEAR
