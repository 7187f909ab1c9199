"""Trainers as tasks of Spark: the same network as one trainer on this machine."""

import os
import shutil
import subprocess
import sys

import pytest
from test_trainers import SMALL, check_equal, ended, flag

from besana.stages.train import Config, run
from besana.workspace import Workspace
from small_dataset import striped_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed"),
]


def test_train_on_spark_learns_what_one_trainer_does(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    farm = Workspace.create(tmp_path / "farm")
    striped_dataset(farm)
    few = {**SMALL, "epochs": 1}
    run(farm, Config(**few))
    single = ended(farm)
    words = [word for key, value in few.items() for word in (flag(key), str(value))]
    command = [sys.executable, "-m", "besana", "train", str(farm.path), *words, "--quiet"]
    master = "--master local[2] --conf spark.ui.enabled=false --conf spark.driver.memory=512m"

    done = subprocess.run(
        [*command, "--parallel", "ddp", "--engine", "spark"],
        env={**os.environ, "PYSPARK_SUBMIT_ARGS": f"{master} pyspark-shell"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    record = check_equal(farm, single)
    assert record["metrics"]["trainers"] == 2
