"""A model on a device: ONNX Runtime, numpy and besana's core, without anything that trains.

Run it as `python -m besana.serving.edge FOLDER PICTURE...`: one line of JSON a picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from besana.config import parse, suggestion
from besana.errors import BesanaError, ConfigError, CorruptDataError, NotFoundError
from besana.images.camera import Camera
from besana.images.guard import Bounds
from besana.models.onnx_model import Certificate, OnnxModel, Precision, load_export
from besana.serving.pictures import Wanted, prepare
from besana.storage import open_storage

CAMERAS, README = "cameras.json", "README.md"

_ONE_SAMPLE = Camera(name="camera")


class EdgeModel:
    """Judge frames of known cameras on a device.

    Args:
        folder: What `besana export FARM edge` wrote.
        precision: Which of its files.
        threads: Threads for one frame.

    Raises:
        CorruptDataError: If the folder is not whole, or the device answers differently.
    """

    def __init__(self, folder: Path | str, precision: Precision = "fp32", threads: int = 1) -> None:
        self.model: OnnxModel = load_export(folder, precision=precision, threads=threads)
        self.cameras = read_cameras(folder)
        self._limits = Bounds().limits()

    def judge(self, files: Mapping[str, bytes], camera: str = "") -> list[dict[str, Any]]:
        """Classify the regions of one frame.

        Args:
            files: Band to the bytes of its file, the main band first.
            camera: Its name; empty for a picture that is one sample.

        Returns:
            One entry a region, as `besana serve` answers.

        Raises:
            ConfigError: If nobody knows the camera.
            CorruptDataError: If the frame cannot be used.
        """
        certificate = self.model.certificate
        prepared = prepare(
            files, find_camera(self.cameras, camera), wanted_by(certificate), self._limits
        )
        probability = self.model.predict(prepared.images)
        return named_answers(certificate, prepared.regions, probability)


def wanted_by(certificate: Certificate) -> Wanted:
    """Say what pictures a model takes."""
    preprocessing = certificate.preprocessing
    sample_px = int(certificate.dataset.get("sample_px", preprocessing.size_px))
    return Wanted(sample_px, preprocessing.size_px, preprocessing.channels)


def find_camera(cameras: Mapping[str, Camera], name: str) -> Camera:
    """Give a camera by its name; one without lens and regions when no name is given.

    Raises:
        ConfigError: If nobody knows it.
    """
    if not name:
        return _ONE_SAMPLE
    if name not in cameras:
        hint = suggestion(name, cameras) or "No camera is known."
        raise ConfigError(f"Nobody knows a camera '{name}'.", hint)
    return cameras[name]


def named_answers(
    certificate: Certificate, regions: Sequence[str], probability: Any
) -> list[dict[str, Any]]:
    """Put probabilities into words: one entry a region."""
    is_multi = certificate.kind == "multi"
    holds = certificate.holds(probability).tolist() if is_multi else [()] * len(probability)
    answers = []
    for region, values, held in zip(regions, probability.tolist(), holds, strict=True):
        named = {
            name: round(value, 6) for name, value in zip(certificate.classes, values, strict=True)
        }
        best = max(named, key=named.__getitem__)
        answer = {"region": region, "class_name": best, "probability": named[best]}
        if is_multi:
            answer["classes"] = [n for n, h in zip(certificate.classes, held, strict=True) if h]
        answers.append({**answer, "probabilities": named})
    return answers


def edge_files(certificate: Certificate, cameras: Mapping[str, Camera]) -> dict[str, bytes]:
    """Make what an export lacks for a device: its cameras, and a page on how to run it."""
    described = {name: camera.model_dump(mode="json") for name, camera in cameras.items()}
    text = _README.format(
        name=f"{certificate.model}/{certificate.version}", classes=", ".join(certificate.classes)
    )
    return {CAMERAS: json.dumps(described, indent=1).encode(), README: text.encode()}


def read_cameras(folder: Path | str) -> dict[str, Camera]:
    """Read the cameras of an edge folder; none when it has none.

    Raises:
        CorruptDataError: If the file is not whole.
    """
    try:
        tables = json.loads(open_storage(folder).read(CAMERAS))
    except NotFoundError:
        return {}
    except ValueError as error:
        raise CorruptDataError(f"{CAMERAS} in {folder} is not JSON: {error}.") from None
    return {name: parse(Camera, table, where=CAMERAS) for name, table in tables.items()}


_README = """# {name}

Classes: {classes}.

    pip install besana onnxruntime
    python -m besana.serving.edge . picture.jpg
    python -m besana.serving.edge . frame.jpg --camera pen-a
    besana bench-device .

`export.json` says what the model is and how far each file is from the network it was made from;
the device repeats `golden.npz` at every start and refuses to work when its answers differ.
Pictures are decoded, undistorted and cut by besana as `cameras.json` says, scaled to the model's
size by besana, and normalised inside the graph.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify pictures; status 1 when the model is refused, 3 when a picture is."""
    parser = argparse.ArgumentParser(prog="python -m besana.serving.edge")
    parser.add_argument("folder")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--camera", default="")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "int8"])
    given = parser.parse_args(arguments)
    try:
        model = EdgeModel(given.folder, given.precision)
    except BesanaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    status = 0
    for path in given.pictures:
        line: dict[str, Any] = {"file": str(path)}
        try:
            line["regions"] = model.judge({"rgb": path.read_bytes()}, given.camera)
        except (BesanaError, OSError) as error:
            status, line["problem"] = 3, str(error)
        sys.stdout.write(json.dumps(line) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
