"""A model as ONNX: loaded only when its hash, its graph and its answers hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from besana.config import Settings, parse
from besana.errors import (
    ConfigError,
    CorruptDataError,
    MissingExtraError,
    NotFoundError,
    NotReadyError,
)
from besana.models.golden import Answers, Gap, Golden, answer, gap, read_golden, resize_all
from besana.models.onnx_guard import inspect_onnx
from besana.models.preprocessing import Preprocessing
from besana.storage import Folder, Storage, open_storage

CERTIFICATE, GOLDEN = "export.json", "golden.npz"
INPUT, OUTPUTS = "images", ("probability", "scores", "embedding")
METADATA = "besana"

Precision = Literal["fp32", "fp16", "int8"]

# How far a device may be from where the export was made: largest gap of a probability, and of a
# score in deviations. Whole numbers round differently on processors without the same instructions.
DEVICE_TOLERANCE: dict[Precision, tuple[float, float]] = {
    "fp32": (1e-3, 5e-3),
    "fp16": (1e-2, 3e-2),
    "int8": (5e-2, 2e-1),
}

_HINT = "Export it again: besana export FARM onnx"


class Export(Settings):
    """One file of an export, and how well it repeats the network in PyTorch."""

    file: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.onnx$", description="Its name.")
    sha256: str = Field(description="Hash of the file.")
    size_bytes: int = Field(description="Size of the file.")
    top1_agreement_share: float = Field(description="Golden pictures with the same best class.")
    probability_gap: float = Field(description="Largest difference of a probability.")
    score_gap: float = Field(description="Largest difference of a score, in deviations.")
    latency_ms: float = Field(description="Median of one picture on one thread, where it was made.")
    holds: bool = Field(description="Whether it may be served.")


class Certificate(Settings):
    """Say what was exported and that it answers as the network in PyTorch: `export.json`."""

    format: Literal[1] = Field(default=1, description="Version of this file's layout.")
    model: str = Field(description="Name of the line of models; empty for a run.")
    version: int = Field(ge=0, description="Its version; 0 for a run.")
    run: str = Field(default="", description="besana's run that trained it.")
    backbone: str = Field(description="Name of the network.")
    preprocessing: Preprocessing = Field(description="What happens to a picture first.")
    classes: list[str] = Field(min_length=1, description="Class names in output order.")
    kind: Literal["single", "multi"] = Field(description="One class a sample, or several.")
    thresholds: dict[str, float] = Field(default={}, description="From when a class holds.")
    dataset: dict[str, Any] = Field(default={}, description="Name, version, hash, sample size.")
    recipe: str = Field(default="", description="Hash of what prepare did to the samples.")
    weights_sha256: str = Field(description="Hash of the weights it was made from.")
    embedding: int = Field(ge=1, description="Numbers in an embedding.")
    exports: dict[Precision, Export] = Field(description="The files by precision.")
    golden_sha256: str = Field(description="Hash of golden.npz.")
    golden_pictures: int = Field(ge=1, description="Pictures in it.")
    resize_gap: float = Field(
        default=0.0,
        description="Largest difference of a probability between torch's resizing and Pillow's.",
    )
    mutations: dict[str, float] = Field(
        description="Gap that each deliberate mistake makes on the golden set, in deviations."
    )
    made_with: dict[str, str] = Field(default={}, description="Libraries and processor.")

    def notes(self) -> dict[str, Any]:
        """Give what also stands inside each graph, so that no file goes without it."""
        names = {"preprocessing", "classes", "kind", "thresholds", "dataset", "weights_sha256"}
        return self.model_dump(mode="json", include=names)

    def holds(self, probability: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which classes hold: the most probable one, or all above their thresholds."""
        if self.kind == "single":
            best = probability.argmax(axis=1)
            return np.asarray(best[:, None] == np.arange(probability.shape[1]))
        least = [self.thresholds.get(name, 0.5) for name in self.classes]
        return np.asarray(probability >= np.asarray(least, np.float32))


class OnnxModel:
    """Judge pictures with ONNX Runtime; only `load_export` makes one that has been checked.

    Attributes:
        certificate: What the model is.
        precision: Which of its files runs.
        parity: How far it is here from where it was made.
    """

    def __init__(
        self, data: bytes, certificate: Certificate, precision: Precision, threads: int = 1
    ) -> None:
        self.certificate, self.precision = certificate, precision
        self.parity = Gap(1.0, 0.0, 0.0)
        self._session = _session(data, threads, f"{certificate.model}/{certificate.version}")
        self._check_shape()

    def resize(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize pictures, (n, height, width, channels), to the model's input."""
        return resize_all(images, self.certificate.preprocessing.size_px)

    def run(self, images: NDArray[np.uint8]) -> tuple[Answers, NDArray[np.float32]]:
        """Judge pictures that have the model's size already.

        Args:
            images: (n, size_px, size_px, channels) uint8.

        Returns:
            Probabilities and scores, and (n, features) embeddings.
        """
        probability, scores, embedding = self._session.run(list(OUTPUTS), {INPUT: images})
        return Answers(probability, scores), embedding

    def predict(self, images: NDArray[np.uint8], *, batch_size: int = 32) -> NDArray[np.float32]:
        """Classify pictures of any one size, (n, height, width, channels), as `Model` does.

        Raises:
            ConfigError: If the pictures have another number of bands.
        """
        preprocessing = self.certificate.preprocessing
        if images.ndim != 4 or images.shape[3] != preprocessing.channels:
            raise ConfigError(
                f"Pictures of shape {images.shape} for a model of {preprocessing.channels} bands.",
                "Give (n, height, width, channels).",
            )
        parts = [
            self.run(self.resize(images[n : n + batch_size]))[0].probability
            for n in range(0, len(images), batch_size)
        ]
        classes = len(self.certificate.classes)
        return np.concatenate(parts) if parts else np.empty((0, classes), np.float32)

    def answers(self, golden: Golden) -> Answers:
        """Answer the golden set, with the resizing of this machine."""
        return answer(golden.pictures, self.resize, lambda images: self.run(images)[0])

    def check(self, golden: Golden) -> Gap:
        """Repeat the golden set and compare with the answers given where the export was made.

        Raises:
            CorruptDataError: If they differ by more than another processor explains.
        """
        wanted = golden.exports.get(self.precision)
        if wanted is None:
            raise CorruptDataError(f"The golden set has no answers of {self.precision}.", _HINT)
        found = gap(wanted, self.answers(golden))
        most_probability, most_score = DEVICE_TOLERANCE[self.precision]
        if found.probability_gap > most_probability or found.score_gap > most_score:
            raise CorruptDataError(
                f"The {self.precision} export of {self.certificate.model}/"
                f"{self.certificate.version} answers differently here: probabilities differ by "
                f"{found.probability_gap:.4f}, at most {most_probability} is allowed; scores by "
                f"{found.score_gap:.4f} deviations of {most_score}.",
                _HINT,
                "parity",
            )
        return found

    def _check_shape(self) -> None:
        size = self.certificate.preprocessing.size_px
        classes = len(self.certificate.classes)
        taken = [(one.name, one.type, one.shape[1:]) for one in self._session.get_inputs()]
        given = [(one.name, one.shape[1:]) for one in self._session.get_outputs()]
        channels = self.certificate.preprocessing.channels
        wanted = [("probability", [classes]), ("scores", [classes])]
        wanted.append(("embedding", [self.certificate.embedding]))
        if taken != [(INPUT, "tensor(uint8)", [size, size, channels])] or given != wanted:
            raise CorruptDataError(
                f"The graph takes {taken} and gives {given}, its certificate says "
                f"{size} x {size} px, {channels} bands and {wanted}.",
                _HINT,
                "shape",
            )


def read_certificate(folder: Path | str | Storage) -> Certificate:
    """Read what was exported, without loading it.

    Raises:
        NotReadyError: If there is no export.
        CorruptDataError: If the certificate is not whole or of a later besana.
    """
    storage = folder if isinstance(folder, Storage) else open_storage(folder)
    try:
        values = json.loads(storage.read(CERTIFICATE))
        if not isinstance(values, Mapping):
            raise ValueError("not an object")
        return parse(Certificate, values, where=CERTIFICATE)
    except NotFoundError:
        raise NotReadyError(
            f"There is no export in {storage.url}.", "Run: besana export FARM onnx"
        ) from None
    except ConfigError as error:
        raise CorruptDataError(f"{storage.url}: {error.problem}", _HINT) from None
    except ValueError as error:
        raise CorruptDataError(
            f"{storage.url}/{CERTIFICATE} is not JSON: {error}.", _HINT
        ) from None


def load_export(
    folder: Path | str | Storage,
    *,
    precision: Precision = "fp32",
    threads: int = 1,
    sha256: str = "",
) -> OnnxModel:
    """Load an export; everything that runs a graph comes through here.

    The bytes that were hashed and looked through are those that run, so nothing can change in
    between, and weights outside the file are never opened.

    Args:
        folder: A path, a URL or an open storage.
        precision: Which file.
        threads: Threads for one batch.
        sha256: Hash of the certificate, as the registry has it; empty when there is none to ask.

    Raises:
        NotReadyError: If there is no such export.
        CorruptDataError: If anything is not as the registry or the certificate says, or the
            golden set is answered differently.
    """
    storage = folder if isinstance(folder, Storage) else open_storage(folder)
    if sha256 and hashlib.sha256(storage.read(CERTIFICATE)).hexdigest() != sha256:
        raise CorruptDataError(
            f"The certificate in {storage.url} is not the one that was registered.", _HINT, "hash"
        )
    certificate = read_certificate(storage)
    export = certificate.exports.get(precision)
    if export is None or not export.holds:
        held = ", ".join(name for name, one in certificate.exports.items() if one.holds)
        raise NotReadyError(f"No {precision} export holds in {storage.url}.", f"These do: {held}.")
    data = _read(storage, export)
    _check_notes(data, certificate, export.file)
    model = OnnxModel(data, certificate, precision, threads)
    golden = read_golden(storage.read(GOLDEN), certificate.golden_sha256, where=storage.url)
    model.parity = model.check(golden)
    return model


def _read(storage: Storage, export: Export) -> bytes:
    """Read a file that is its own: no link to elsewhere, and the bytes that were certified."""
    path = storage.local_path(export.file) if isinstance(storage, Folder) else None
    if path is not None and (path.is_symlink() or (path.exists() and path.stat().st_nlink > 1)):
        raise CorruptDataError(f"{path} is a link.", "Put the file itself there.", "link")
    data = storage.read(export.file)
    if hashlib.sha256(data).hexdigest() != export.sha256:
        raise CorruptDataError(
            f"{storage.url}/{export.file} is not the file that its certificate names.",
            _HINT,
            "hash",
        )
    return data


def _check_notes(data: bytes, certificate: Certificate, name: str) -> None:
    notes = inspect_onnx(data, where=name).metadata.get(METADATA, "")
    if notes != json.dumps(certificate.notes(), sort_keys=True):
        raise CorruptDataError(
            f"{name} is of another model: its own notes are not those of the certificate.",
            _HINT,
            "notes",
        )


def _session(data: bytes, threads: int, where: str) -> Any:
    try:
        import onnxruntime as ort
    except ImportError:
        raise MissingExtraError(
            "Running an export needs ONNX Runtime.", "Run: pip install onnxruntime"
        ) from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads of several models wait for work asleep; spinning would take it from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    usable = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in usable if name in ort.get_available_providers()]
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except _refusals() as error:
        line = str(error).splitlines()[0]
        raise CorruptDataError(f"ONNX Runtime refuses {where}: {line}", _HINT) from None


def _refusals() -> tuple[type[Exception], ...]:
    """List what the runtime raises on a graph that it cannot run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return (RuntimeError, *(getattr(state, name) for name in (*names, "RuntimeException")))
