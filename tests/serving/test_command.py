"""`besana export` and `besana serve` as commands, in processes of their own."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from exported import SIZE, pictures, tiny_model

from besana.cli import main
from besana.images.encode import encode_png
from besana.models.model import save_model
from besana.registry import open_registry
from besana.serving.client import Client, ServerRefusedError
from besana.workspace import Workspace
from small_dataset import striped_dataset

pytestmark = pytest.mark.slow  # processes and exports of their own

TOKEN = "a-token-for-tests-only"


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        workspace = Workspace.create(tmp_path_factory.mktemp("farm") / "farm")
        dataset = striped_dataset(workspace)
        folder = workspace.path / "models/classifier/1"
        model = tiny_model(folder)
        facts = {"name": "default", "version": 1, "hash": dataset.hash, "sample_px": SIZE}
        save_model(folder, model.network, model.card.model_copy(update={"dataset": facts}))
        registry = open_registry(workspace)
        version = registry.register("classifier", "", run="r", mlflow_run="", tags={})
        registry.set_alias(version, "champion")
        yield workspace.path


def start(*words, **environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "besana", "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    )
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return process, json.loads(line)["page"]


def finish(process):
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in err.splitlines()]


def call(*words):
    with pytest.raises(SystemExit) as leaving:
        main([str(word) for word in words])
    assert leaving.value.code == 0


def refusal(capsys, *words):
    with pytest.raises(SystemExit) as leaving:
        main([str(word) for word in words])
    assert leaving.value.code == 1
    return capsys.readouterr().err


def test_serving_before_exporting_says_what_to_do(farm, capsys):
    assert "Run: besana export" in refusal(capsys, "serve", farm, "--port", 0)


def test_export_writes_the_models_folder_and_a_device_folder(farm, tmp_path, capsys):
    call("export", farm, "onnx", "--precision", "fp32")
    call("export", farm, "edge", tmp_path / "pi", "--precision", "fp32")
    call("export", farm, "edge", tmp_path / "pi", "--precision", "fp32")

    shown = capsys.readouterr().out
    assert "3 files" in shown
    assert "golden pictures" in shown
    files = {"README.md", "cameras.json", "export.json", "golden.npz", "model-fp32.onnx"}
    assert {path.name for path in (tmp_path / "pi").iterdir()} == files
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("mine")
    assert "holds something else" in refusal(capsys, "export", farm, "edge", tmp_path / "full")
    assert "Give OUT" in refusal(capsys, "export", farm, "edge")
    assert "Give OUT" in refusal(capsys, "export", farm, "labels")


def test_a_server_answers_keeps_its_token_private_and_stops_when_told(farm):
    call("export", farm, "onnx", "--precision", "fp32")
    process, page = start(farm, "--port", 0, "--threads", 1, "--decoders", 1)
    try:
        path = farm / "serve-token"
        assert path.stat().st_mode & 0o777 == 0o600
        with Client(page, path.read_text()) as client:
            answer = client.predict([encode_png(pictures(1, size=SIZE)[0])])
        assert answer["predictions"][0]["regions"][0]["class_name"] in ("across", "upright")
    finally:
        status, lines = finish(process)
    assert status == 0
    events = [line.get("event") for line in lines]
    assert events.index("loaded") < events.index("draining")
    requests = [line for line in lines if line.get("path") == "/predict"]
    assert [(line["method"], line["status"]) for line in requests] == [("POST", 200)]
    assert not any(path.read_text() in json.dumps(line) for line in lines)


def test_a_retraining_is_started_by_who_has_the_token(farm):
    call("export", farm, "onnx", "--precision", "fp32")
    process, page = start(farm, "--port", 0, "--threads", 1, BESANA_SERVE_TOKEN=TOKEN)
    try:
        with Client(page, TOKEN) as client:
            assert client.ask("GET", "/pipeline/retrain") == {"state": "never_started"}
            assert client.ask("POST", "/pipeline/retrain", {})["state"] == "running"
            with pytest.raises(ServerRefusedError, match="runs already"):
                client.ask("POST", "/pipeline/retrain", {})
            until = time.monotonic() + 60
            while (said := client.ask("GET", "/pipeline/retrain"))["state"] == "running":
                assert time.monotonic() < until
                time.sleep(0.1)
        assert said["state"] in ("finished", "failed")
        assert "Traceback" not in said["said"]
    finally:
        finish(process)
    process, page = start(farm, "--port", 0, "--threads", 1, "--no-token")
    try:
        with Client(page) as client, pytest.raises(ServerRefusedError) as caught:
            client.ask("POST", "/pipeline/retrain", {})
        assert caught.value.status == 403
    finally:
        finish(process)


def test_a_container_serves_a_folder_as_its_cloud_says(farm):
    call("export", farm, "onnx", "--precision", "fp32")
    folder = str(farm / "models/classifier/1/onnx")
    process, page = start(
        farm / "nowhere",
        AIP_HTTP_PORT="18473",
        AIP_STORAGE_URI=folder,
        AIP_HEALTH_ROUTE="/health",
        AIP_PREDICT_ROUTE="/predict-here",
    )
    try:
        assert page.endswith(":18473/")
        connection = http.client.HTTPConnection("127.0.0.1", 18473)
        connection.request("GET", "/health", headers={"Host": "any.example"})
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        status, _ = finish(process)
    assert status == 0


def test_a_drain_under_load_fails_no_request(farm):
    call("export", farm, "onnx", "--precision", "fp32")
    process, page = start(
        farm, "--port", 0, "--drain-s", 0.5, "--threads", 1, BESANA_SERVE_TOKEN=TOKEN
    )
    port = int(page.rsplit(":", 1)[1].strip("/"))
    picture = encode_png(pictures(1, size=SIZE)[0])
    failed, done, ready = [], [], threading.Event()

    def ask():
        """Send until the server says that it stops, as a load balancer would."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png"}
        while True:
            connection.request("POST", "/predict", picture, headers)
            answer = connection.getresponse()
            answer.read()
            (done if answer.status == 200 else failed).append(answer.status)
            ready.set()
            if answer.headers.get("connection") == "close":
                connection.close()
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert ready.wait(60)
    time.sleep(0.2)
    status, _ = finish(process)
    for thread in threads:
        thread.join()
    assert status == 0
    assert not failed
    assert len(done) > 3


def test_serving_others_needs_a_token(farm, capsys, monkeypatch):
    assert "no token is asked for" in refusal(
        capsys, "serve", farm, "--host", "0.0.0.0", "--no-token"
    )
    monkeypatch.setenv("BESANA_SERVE_TOKEN", "short")
    assert "5 letters" in refusal(capsys, "serve", farm, "--port", 0)
    monkeypatch.delenv("BESANA_SERVE_TOKEN")
    (farm / "serve-token").touch()
    (farm / "serve-token").chmod(0o644)
    assert "chmod 600" in refusal(capsys, "serve", farm, "--port", 0)
