"""Turn a network in PyTorch into ONNX graphs: fp32, fp16 and int8."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from typing_extensions import override

from besana.errors import MissingExtraError
from besana.models.model import Card, Model, probabilities
from besana.models.network import features, linear_head
from besana.models.onnx_model import INPUT, METADATA, OUTPUTS

_OPSET = 18
# What calibrates int8 at a time: the activations of a batch are all kept.
_CALIBRATION_BATCH = 8
# The classifier stays whole: it is small, and its errors are answers.
_WEIGHED = ("Conv", "MatMul")


class Whole(nn.Module):
    """A network with its normalisation before it and probabilities behind it.

    Args:
        network: One of timm's networks, in evaluation mode.
        card: Its preprocessing and kind.
    """

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network, self.kind = network, card.kind
        self.head = linear_head(network)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(card.preprocessing.mean))
        self.register_buffer("std", torch.tensor(card.preprocessing.std))

    @override
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Judge pictures.

        Args:
            images: (n, size, size, channels) uint8.

        Returns:
            (n, classes) probabilities, (n, classes) scores, (n, features) embeddings.
        """
        inputs = images.float().sub(self.mean).div(self.std).permute(0, 3, 1, 2)
        embedding = features(self.network, inputs)
        scores = self.head(embedding)
        return probabilities(scores, self.kind), scores, embedding


def to_fp32(model: Model) -> Any:
    """Export a model as an ONNX graph of 32-bit numbers.

    Returns:
        An `onnx.ModelProto` for any number of pictures at a time.
    """
    onnx = _onnx()
    size, channels = model.card.preprocessing.size_px, model.card.preprocessing.channels
    whole = Whole(model.network.cpu(), model.card).eval()
    example = torch.zeros(2, size, size, channels, dtype=torch.uint8)
    file = io.BytesIO()
    with _quiet():
        program = torch.onnx.export(
            whole,
            (example,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            verbose=False,
        )
        if program is not None:
            onnx.save(program.model_proto, file)
    model.network.to(model.device)
    return onnx.load_model_from_string(file.getvalue())


def to_fp16(graph: Any) -> Any:
    """Halve the numbers of a graph; what comes in and goes out keeps its type.

    Args:
        graph: From `to_fp32`; it is left as it is.
    """
    onnx = _onnx()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.load_model_from_string(graph.SerializeToString())
    with _quiet():
        return convert_float_to_float16(copy, keep_io_types=True)


def to_int8(graph: Any, pictures: NDArray[np.uint8]) -> Any:
    """Quantise the weights and activations of a graph to 8 bits, by channel and statically.

    Weights use 7 of the 8 bits, so that sums cannot overflow on processors without VNNI and every
    processor gives the same answer.

    Args:
        graph: From `to_fp32`; it is left as it is.
        pictures: (n, size, size, channels) of the dataset, from which ranges are taken.
    """
    onnx = _onnx()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        quantize_static(
            source,
            target,
            _Calibration(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_WEIGHED),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(target)


def graph_bytes(graph: Any, notes: dict[str, Any]) -> bytes:
    """Give a graph as the bytes of a file, with notes on what it is inside.

    Args:
        graph: What an export made.
        notes: From `Certificate.notes`.
    """
    del graph.metadata_props[:]
    entry = graph.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(notes, sort_keys=True)
    graph.producer_name, graph.doc_string = "besana", ""
    data: bytes = graph.SerializeToString()
    return data


class _Calibration:
    """Hand pictures to the quantiser, batch by batch, once."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        starts = range(0, len(pictures), _CALIBRATION_BATCH)
        self._batches = iter([pictures[n : n + _CALIBRATION_BATCH] for n in starts])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Give the next batch; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "Exporting needs onnx, onnxscript and ONNX Runtime.", 'Run: pip install "besana[train]"'
        ) from None
    return onnx


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what exporters print and warn about themselves."""
    level = logging.root.level
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.root.setLevel(level)
