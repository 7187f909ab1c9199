"""An exported folder on a device that has no torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from exported import SIZE, pictures
from servers import CAMERAS

from besana.commands import bench_device
from besana.images.encode import encode_jpeg, encode_png
from besana.models.onnx_model import read_certificate
from besana.serving.edge import EdgeModel, edge_files

# What a Raspberry Pi with besana's core and onnxruntime does not have.
MISSING = (
    *("torch", "timm", "mlflow", "sklearn", "scipy", "matplotlib", "onnx", "onnxscript"),
    *("fastapi", "starlette", "uvicorn", "prometheus_client", "safetensors"),
)
BARE = f"""
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Bare())
"""


@pytest.fixture
def device(folder):
    """The folder as `besana export FARM edge` makes it."""
    for name, data in edge_files(read_certificate(folder), CAMERAS).items():
        (folder / name).write_bytes(data)
    return folder


def bare(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", BARE + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_device_without_torch_gives_the_same_answers(device, tmp_path):
    frame = encode_jpeg(
        np.random.default_rng(5).integers(0, 256, (60, 120, 3)).astype(np.uint8), 95
    )
    (tmp_path / "frame.jpg").write_bytes(frame)
    (tmp_path / "sample.png").write_bytes(encode_png(pictures(1, size=SIZE)[0]))
    program = "from besana.serving.edge import main\nsys.exit(main(sys.argv[1:]))"

    cut = bare(program, device, tmp_path / "frame.jpg", "--camera", "pen-a")
    whole = bare(program, device, tmp_path / "sample.png")

    assert (cut.returncode, whole.returncode) == (0, 0), cut.stderr + whole.stderr
    here = EdgeModel(device)
    assert json.loads(cut.stdout)["regions"] == here.judge({"rgb": frame}, "pen-a")
    assert [one["region"] for one in json.loads(cut.stdout)["regions"]] == ["bed-1", "bed-2"]


def test_a_device_says_which_picture_it_cannot_use(device, tmp_path):
    (tmp_path / "a.jpg").write_text("nothing")
    program = "from besana.serving.edge import main\nsys.exit(main(sys.argv[1:]))"
    done = bare(program, device, tmp_path / "a.jpg")
    assert done.returncode == 3
    assert "not_an_image" in json.loads(done.stdout)["problem"]


def test_a_device_refuses_a_model_that_was_changed(device, tmp_path):
    path = device / "model-fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    program = "from besana.serving.edge import main\nsys.exit(main(sys.argv[1:]))"
    done = bare(program, device, tmp_path / "a.jpg")
    assert done.returncode == 1
    assert "not the file that its certificate names" in done.stderr


def test_bench_device_prints_what_it_costs_without_torch(device):
    program = (
        "from besana.cli import main\n"
        "main(['bench-device', sys.argv[1], '--precision', 'int8', '--seconds', '0.2'])"
    )
    done = bare(program, device)
    assert done.returncode == 0, done.stderr
    for word in ("median_ms", "p99_ms", "pictures_per_s", "memory_bytes", "load_s"):
        assert word in done.stdout


def test_bench_device_measures(device):
    config = bench_device.Config(folder=device, seconds=0.1)
    figures = bench_device.run(device, config)
    assert figures["p99_ms"] >= figures["median_ms"] > 0
    assert figures["probability_gap"] < 1e-3


def test_unknown_camera_is_named(device):
    with pytest.raises(ValueError, match="Known: camera, pen-a"):
        EdgeModel(device).judge({"rgb": b""}, "nobody")
