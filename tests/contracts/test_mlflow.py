"""The registry on a real MLflow server with PostgreSQL behind it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import psycopg
import pytest

from besana.errors import StorageError
from besana.registry import CHALLENGER, CHAMPION, Curve, Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(postgresql_server, tmp_path_factory):
    """The address of an MLflow server."""
    home, name = postgresql_server, f"mlflow_{uuid.uuid4().hex}"
    with psycopg.connect(f"host={home} user=besana dbname=postgres", autocommit=True) as own:
        own.execute(f'CREATE DATABASE "{name}"')
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"postgresql+psycopg://besana@/{name}?host={home}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)


def _wait(url, process, log):
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"no MLflow server:\n{log.read_text()[-3000:]}")


@pytest.fixture
def model():
    return f"m-{uuid.uuid4().hex[:8]}"


def test_a_run_is_logged_once(server, tmp_path):
    registry = Registry(server)
    note = tmp_path / "note.json"
    note.write_text("{}")

    def log():
        return registry.log_run(
            "barn",
            "run-1",
            parameters={"epochs": 3, "long": "x" * 2000},
            metrics={"accuracy": 0.9},
            curves=[Curve("loss", [1, 2, 3], [0.9, 0.5, 0.4])],
            artifacts=[note],
        )

    first = log()
    assert log() == first
    found = registry._client.get_run(first)
    assert found.data.metrics["accuracy"] == 0.9
    assert found.data.params["epochs"] == "3"
    assert len(registry._client.get_metric_history(first, "loss")) == 3
    assert [item.path for item in registry._client.list_artifacts(first)] == ["note.json"]


def test_versions_and_aliases_move_as_in_a_file(server, model):
    registry = Registry(server)
    versions = [
        registry.register(
            model, "/farm/models/place/{version}", run=f"r{n}", mlflow_run="", tags={"n": str(n)}
        )
        for n in (1, 2)
    ]
    registry.set_alias(versions[0], CHAMPION)
    registry.set_alias(versions[1], CHALLENGER)
    registry.set_alias(versions[1], CHAMPION)
    registry.remove_alias(model, CHALLENGER)

    again = Registry(server)
    champion = again.champion(model)
    assert (champion.number, champion.run, champion.source) == (2, "r2", "/farm/models/place/2")
    assert [version.aliases for version in again.versions(model)] == [(), (CHAMPION,)]
    assert again.versions("nobody") == []


def test_a_server_that_is_gone_is_told(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(StorageError, match="refused"):
            Registry(f"http://127.0.0.1:{port}").versions("classifier")
