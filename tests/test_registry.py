"""Runs, versions and aliases in an MLflow file."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from besana.errors import NotReadyError, StorageError
from besana.registry import CHALLENGER, CHAMPION, Curve, Registry, open_registry
from besana.workspace import Workspace


def tables_of(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


def rows_of(path, table):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT * FROM {table}").fetchall()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """One store for all tests here: making its tables takes seconds."""
    workspace = Workspace.create(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_registry(workspace)


def _register(registry, model, run="a-run"):
    return registry.register(
        model,
        f"models/{model}/{{version}}",
        run=run,
        mlflow_run="",
        tags={"dataset": "default/1", "accuracy": "0.9"},
    )


def test_log_run_keeps_parameters_curves_and_files(registry, tmp_path):
    (tmp_path / "note.json").write_text("{}")
    run = registry.log_run(
        "barn",
        "default-1-probe-abc",
        parameters={"strategy": "probe", "long": "x" * 2000},
        metrics={"accuracy": 0.5},
        curves=[Curve("loss", [0, 1, 2], [3.0, 2.0, 1.0])],
        tags={"dataset.hash": "abc"},
        artifacts=[tmp_path / "note.json"],
    )
    client = registry._client
    found = client.get_run(run)

    assert found.info.status == "FINISHED"
    assert found.data.params["strategy"] == "probe"
    assert found.data.metrics == {"accuracy": 0.5, "loss": 1.0}
    assert found.data.tags["dataset.hash"] == "abc"
    assert [m.value for m in client.get_metric_history(run, "loss")] == [3.0, 2.0, 1.0]
    assert [file.path for file in client.list_artifacts(run)] == ["note.json"]


def test_log_run_twice_is_one_run(registry):
    first = registry.log_run("twice", "same", parameters={}, metrics={})

    assert registry.log_run("twice", "same", parameters={}, metrics={}) == first
    registry.log_metrics(first, {"test_accuracy": 0.75})
    assert registry._client.get_run(first).data.metrics == {"test_accuracy": 0.75}


def test_versions_are_numbered_and_keep_their_tags(registry):
    first, second = _register(registry, "barn"), _register(registry, "barn", run="b-run")

    assert (first.number, second.number) == (1, 2)
    assert second.source == "models/barn/2"
    assert (second.run, second.tags["dataset"]) == ("b-run", "default/1")
    assert [version.number for version in registry.versions("barn")] == [1, 2]


def test_alias_moves_from_version_to_version(registry):
    first, second = _register(registry, "field"), _register(registry, "field")
    assert registry.champion("field") is None

    registry.set_alias(first, CHAMPION)
    registry.set_alias(second, CHALLENGER)
    assert registry.champion("field").number == 1
    assert registry.version("field", CHALLENGER).number == 2

    registry.set_alias(second, CHAMPION)
    registry.remove_alias("field", CHALLENGER)
    registry.remove_alias("field", CHALLENGER)
    assert registry.champion("field").aliases == (CHAMPION,)
    assert registry.champion("field").number == 2
    assert registry.version("field", "1").aliases == ()


@pytest.mark.parametrize("version", ["7", "champion"])
def test_unknown_version_says_what_to_do(registry, version):
    with pytest.raises(NotReadyError, match="besana register"):
        registry.version("nobody", version)


def test_store_that_is_not_there_is_a_storage_error_without_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry("http://user:secret@127.0.0.1:9")

    with pytest.raises(StorageError, match="refused") as caught:
        registry.versions("barn")
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_store_killed_while_it_is_made_leaves_nothing_in_the_way(tmp_path):
    path, scratch = tmp_path / "mlflow.db", tmp_path / "scratch"
    scratch.mkdir()
    uri = f"sqlite:///{path}"
    script = f"from besana.registry import Registry; Registry({uri!r}).versions('barn')"
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(scratch)}
    ) as making:
        while not any(file.stat().st_size for file in scratch.glob("*/new.db")):
            assert making.poll() is None
            time.sleep(0.002)
        making.kill()
    half = next(scratch.glob("*/new.db"))
    assert "experiments" not in tables_of(half) or not rows_of(half, "experiments")
    assert not path.exists()

    assert Registry(uri, tmp_path).versions("barn") == []
    assert rows_of(path, "experiments")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "was left half made"), (b"no database at all" * 100, "refused: file is not a database")],
)
def test_a_store_that_cannot_be_one_is_told(tmp_path, content, problem):
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=f"{path} {problem}"):
        Registry(f"sqlite:///{path}", tmp_path).versions("barn")
    assert path.read_bytes() == content


def test_uri_comes_from_the_setting_then_the_environment(tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.invalid")

    assert open_registry(workspace).uri == "http://mlflow.invalid"
    assert open_registry(workspace, "http://other.invalid").uri == "http://other.invalid"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert open_registry(workspace).uri == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_importing_the_registry_does_not_import_mlflow():
    code = "import sys, besana.registry; sys.exit('mlflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0
