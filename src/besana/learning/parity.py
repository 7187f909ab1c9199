"""Certify exports: the same golden set through PyTorch and through each file."""

from __future__ import annotations

import hashlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from besana.errors import CorruptDataError, NotReadyError
from besana.learning.onnx_export import Whole, graph_bytes, to_fp16, to_fp32, to_int8
from besana.models.golden import (
    Answers,
    Gap,
    Golden,
    Pixels,
    answer,
    gap,
    made_pictures,
    resize_all,
    write_golden,
)
from besana.models.model import Model
from besana.models.onnx_guard import inspect_onnx
from besana.models.onnx_model import (
    CERTIFICATE,
    GOLDEN,
    Certificate,
    Export,
    OnnxModel,
    Precision,
    load_export,
)
from besana.storage import Storage

# What an export may differ from PyTorch on real pictures: least agreement of the best class,
# largest gap of a probability. Drawn pictures are outside the ranges that int8 was calibrated to.
LIMITS: dict[Precision, tuple[float, float]] = {
    "fp32": (1.0, 1e-3),
    "fp16": (0.98, 5e-2),
    "int8": (0.95, 0.5),
}
# A deliberate mistake must move scores by this many deviations, or the set could not show it.
LEAST_EFFECT = 0.02

_TIMED = 20


@dataclass(frozen=True)
class Origin:
    """Where an exported model comes from.

    Attributes:
        model: Name of the line of models; empty for a run.
        version: Its version; 0 for a run.
        run: besana's run that trained it.
    """

    model: str = ""
    version: int = 0
    run: str = ""


def export_model(
    model: Model,
    folder: Storage,
    origin: Origin,
    *,
    pictures: Sequence[Pixels],
    calibration: NDArray[np.uint8],
    precisions: Sequence[Precision],
) -> Certificate:
    """Write a model as ONNX with its certificate; the certificate comes last.

    Then everything is read back and checked as a server would.

    Args:
        model: What to export.
        folder: Where to.
        origin: What it is called.
        pictures: Real pictures for the golden set, each (height, width, channels).
        calibration: (n, size, size, channels) pictures from which int8 takes its ranges.
        precisions: Which files; fp32 is always among them.

    Raises:
        CorruptDataError: If the fp32 export does not answer as PyTorch does.
        NotReadyError: If the model answers alike whatever it is shown.
    """
    preprocessing = model.card.preprocessing
    count = len(pictures)
    shown = [*pictures, *made_pictures(preprocessing.channels, preprocessing.size_px)]
    whole = Whole(model.network.cpu(), model.card).eval()
    reference = _in_torch(whole, shown, partial(resize_all, size_px=preprocessing.size_px))
    trained = _in_torch(whole, shown, preprocessing.resize)
    mutations = _effects(model, whole, shown, reference)
    certificate = _begun(model, origin, shown, mutations, whole)
    graphs = _graphs(model, calibration, precisions)
    files = {name: graph_bytes(graph, certificate.notes()) for name, graph in graphs.items()}
    said: dict[str, Answers] = {}
    exports: dict[Precision, Export] = {}
    for name, data in files.items():
        loaded = _loaded(data, certificate, name)
        said[name] = loaded.answers(Golden(shown, reference, {}))
        real = [Answers(a.probability[:count], a.scores[:count]) for a in (reference, said[name])]
        exports[name] = _certified(loaded, data, gap(*real))
    golden = write_golden(Golden(shown, reference, said))
    certificate = certificate.model_copy(
        update={
            "exports": exports,
            "golden_sha256": hashlib.sha256(golden).hexdigest(),
            "resize_gap": round(gap(reference, trained).probability_gap, 6),
        }
    )
    for name, data in files.items():
        folder.write(exports[name].file, data)
    folder.write(GOLDEN, golden)
    folder.write(CERTIFICATE, (certificate.model_dump_json(indent=2) + "\n").encode())
    for name, export in exports.items():
        if export.holds:
            load_export(folder, precision=name)
    return certificate


def _begun(
    model: Model,
    origin: Origin,
    shown: Sequence[Pixels],
    mutations: Mapping[str, float],
    whole: Whole,
) -> Certificate:
    import onnx
    import onnxruntime

    card = model.card
    return Certificate(
        model=origin.model,
        version=origin.version,
        run=origin.run,
        backbone=card.backbone,
        preprocessing=card.preprocessing,
        classes=card.classes,
        kind=card.kind,
        thresholds=card.thresholds,
        dataset=card.dataset,
        recipe=card.recipe,
        weights_sha256=card.weights_sha256,
        embedding=whole.head.in_features,
        exports={},
        golden_sha256="",
        golden_pictures=len(shown),
        mutations={name: round(effect, 4) for name, effect in mutations.items()},
        made_with={
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "machine": platform.machine(),
        },
    )


def _graphs(
    model: Model, calibration: NDArray[np.uint8], precisions: Sequence[Precision]
) -> dict[Precision, object]:
    graphs: dict[Precision, object] = {"fp32": to_fp32(model)}
    if "fp16" in precisions:
        graphs["fp16"] = to_fp16(graphs["fp32"])
    if "int8" in precisions:
        graphs["int8"] = to_int8(graphs["fp32"], calibration)
    return graphs


def _loaded(data: bytes, certificate: Certificate, precision: Precision) -> OnnxModel:
    inspect_onnx(data, where=f"model-{precision}.onnx")
    return OnnxModel(data, certificate, precision)


def _certified(loaded: OnnxModel, data: bytes, found: Gap) -> Export:
    """Decide whether a file may be served, and measure what it costs."""
    precision = loaded.precision
    least, most = LIMITS[precision]
    holds = found.top1_agreement_share >= least and found.probability_gap <= most
    if precision == "fp32" and not holds:
        raise CorruptDataError(
            f"The export answers differently from PyTorch: probabilities differ by "
            f"{found.probability_gap:.4f}, scores by {found.score_gap:.4f} deviations.",
            "Report this, with the name of the backbone.",
        )
    return Export(
        file=f"model-{precision}.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        top1_agreement_share=round(found.top1_agreement_share, 4),
        probability_gap=round(found.probability_gap, 9),
        score_gap=round(found.score_gap, 9),
        latency_ms=round(_latency_ms(loaded), 3),
        holds=holds,
    )


def _in_torch(whole: Whole, shown: Sequence[Pixels], resize: Callable[[Pixels], Pixels]) -> Answers:
    def run(images: Pixels) -> Answers:
        with torch.inference_mode():
            probability, scores, _ = whole(torch.from_numpy(images))
        return Answers(probability.float().numpy(), scores.float().numpy())

    return answer(shown, resize, run)


def _effects(
    model: Model, whole: Whole, shown: Sequence[Pixels], reference: Answers
) -> dict[str, float]:
    """Make each mistake that a port of a model makes, and see that the golden set shows it."""
    preprocessing = model.card.preprocessing
    size = preprocessing.size_px
    resize = partial(resize_all, size_px=size)
    swapped = _in_torch(whole, shown, lambda picture: resize(picture)[..., ::-1].copy())
    nearest = _in_torch(whole, shown, lambda picture: _nearest(picture, size))
    shifted = _in_torch(whole, shown, lambda picture: resize(picture) // 2)
    turned = Answers(
        np.roll(reference.probability, 1, axis=1), np.roll(reference.scores, 1, axis=1)
    )
    said = {
        "bands_swapped": swapped,
        "resized_otherwise": nearest,
        "normalised_otherwise": shifted,
        "classes_in_another_order": turned,
    }
    if preprocessing.channels == 1:
        said.pop("bands_swapped")
    effects = {name: gap(reference, answers).score_gap for name, answers in said.items()}
    blind = [name for name, effect in effects.items() if effect < LEAST_EFFECT]
    if blind:
        raise NotReadyError(
            f"The model answers alike with {blind[0].replace('_', ' ')}, so no check of its "
            "exports would mean anything.",
            "Train it further, or on pictures that differ.",
        )
    return effects


def _nearest(picture: Pixels, size_px: int) -> Pixels:
    _, height, width, _ = picture.shape
    rows = (np.arange(size_px) * height // size_px).clip(0, height - 1)
    columns = (np.arange(size_px) * width // size_px).clip(0, width - 1)
    return np.ascontiguousarray(picture[:, rows][:, :, columns])


def _latency_ms(model: OnnxModel) -> float:
    size = model.certificate.preprocessing.size_px
    one = np.zeros((1, size, size, model.certificate.preprocessing.channels), np.uint8)
    times = []
    for _ in range(_TIMED):
        started = time.perf_counter()
        model.run(one)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[_TIMED // 4 :])


__all__ = ["LEAST_EFFECT", "LIMITS", "Gap", "Origin", "export_model"]
