"""Look through the bytes of an ONNX file before anything runs it: the one gate for graphs.

Nothing here needs the `onnx` package, so a Raspberry Pi checks as strictly as a server.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from besana.errors import CorruptDataError

MOST_BYTES = 2_000_000_000
MOST_NODES = 20_000
MOST_STRUCTURE_BYTES = 64_000_000
"""What a graph may hold besides its weights."""

_DOMAINS = frozenset({"", "ai.onnx"})
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 8

# Numbers of fields in onnx.proto: ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 14, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE = (22, 23)
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_RAW = 1, 2, 4, 9
_TENSOR_DOUBLES, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 10, 13, 14

# ONNX type -> bytes of one value and the floating type to look for NaN in.
_TYPES: dict[int, tuple[int, str]] = {
    1: (4, "<f4"),
    2: (1, ""),
    3: (1, ""),
    6: (4, ""),
    7: (8, ""),
    9: (1, ""),
    10: (2, "<f2"),
    11: (8, "<f8"),
}


@dataclass
class Inspected:
    """What a graph is made of.

    Attributes:
        metadata: Its own notes.
        operators: How often each operator stands in it.
        weights_bytes: Size of its weights.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    operators: Counter[str] = field(default_factory=Counter)
    weights_bytes: int = 0


def inspect_onnx(data: bytes, *, where: str) -> Inspected:
    """Walk through an ONNX file and refuse whatever no exported classifier needs.

    Refused: files that end too early, weights outside the file, operators of foreign domains,
    functions, weights that are not finite or of unusual types, and graphs of unusual size.

    Args:
        data: The whole file.
        where: What messages call it.

    Raises:
        CorruptDataError: With the reasons `truncated`, `external_data`, `custom_operator`,
            `not_finite`, `too_large` or `damaged`.
    """
    if len(data) > MOST_BYTES:
        raise _refused(where, "too_large", f"has {len(data):,} bytes")
    found = Inspected()
    try:
        _model(memoryview(data), found)
    except _FoundError as error:
        raise _refused(where, error.reason, error.problem) from None
    except UnicodeDecodeError:
        raise _refused(where, "damaged", "holds text that is none") from None
    if not found.operators:
        raise _refused(where, "truncated", "holds no graph")
    if len(data) - found.weights_bytes > MOST_STRUCTURE_BYTES:
        raise _refused(where, "too_large", "describes more than a network needs")
    return found


class _FoundError(Exception):
    """Carry a refusal out of the depth of a graph."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(reason, problem)
        self.reason, self.problem = reason, problem


def _refused(where: str, reason: str, problem: str) -> CorruptDataError:
    return CorruptDataError(
        f"The graph {where} {problem}.", "Export the model again: besana export FARM onnx", reason
    )


def _model(view: memoryview, found: Inspected) -> None:
    for number, value in _fields(view):
        if number == _MODEL_GRAPH:
            _graph(_message(value), found, 0)
        elif number == _MODEL_METADATA:
            entry = {key: bytes(_message(text)).decode() for key, text in _fields(_message(value))}
            found.metadata[entry.get(1, "")] = entry.get(2, "")
        elif number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
            raise _FoundError("custom_operator", "brings functions of its own")


def _graph(view: memoryview, found: Inspected, depth: int) -> None:
    if depth > _DEEPEST:
        raise _FoundError("too_large", "has graphs within graphs without end")
    for number, value in _fields(view):
        if number == _GRAPH_NODE:
            _node(_message(value), found, depth)
        elif number == _GRAPH_INITIALIZER:
            _tensor(_message(value), found)
        elif number == _GRAPH_SPARSE:
            raise _FoundError("damaged", "has sparse weights")


def _node(view: memoryview, found: Inspected, depth: int) -> None:
    operator, domain = "", ""
    for number, value in _fields(view):
        if number == _NODE_TYPE:
            operator = bytes(_message(value)).decode()
        elif number == _NODE_DOMAIN:
            domain = bytes(_message(value)).decode()
        elif number == _NODE_ATTRIBUTE:
            _attribute(_message(value), found, depth)
    if domain not in _DOMAINS:
        raise _FoundError("custom_operator", f"uses the foreign operator '{domain}.{operator}'")
    found.operators[operator] += 1
    if found.operators.total() > MOST_NODES:
        raise _FoundError("too_large", f"has more than {MOST_NODES:,} nodes")


def _attribute(view: memoryview, found: Inspected, depth: int) -> None:
    for number, value in _fields(view):
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _tensor(_message(value), found)
        elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            _graph(_message(value), found, depth + 1)
        elif number in _ATTRIBUTE_SPARSE:
            raise _FoundError("damaged", "has sparse weights")


def _tensor(view: memoryview, found: Inspected) -> None:
    kind, dims, raw = 0, [], None
    for number, value in _fields(view):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise _FoundError("external_data", "keeps weights outside the file")
        if number == _TENSOR_DIMS:
            dims += _integers(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number in (_TENSOR_RAW, _TENSOR_FLOATS, _TENSOR_DOUBLES):
            raw = (number, value)
    if kind not in _TYPES:
        raise _FoundError("damaged", f"has weights of the unusual type {kind}")
    if raw is not None:
        _values(kind, math.prod(dims), raw, found)


def _values(kind: int, count: int, raw: tuple[int, int | memoryview], found: Inspected) -> None:
    number, value = raw
    if isinstance(value, int):  # one unpacked float: the exporter packs them
        raise _FoundError("damaged", "has weights one by one")
    size, floating = _TYPES[kind]
    found.weights_bytes += len(value)
    if number == _TENSOR_RAW and len(value) != count * size:
        raise _FoundError("damaged", f"has {len(value):,} bytes for {count:,} weights")
    if number != _TENSOR_RAW:
        floating = "<f4" if number == _TENSOR_FLOATS else "<f8"
    if not floating:
        return
    if len(value) % np.dtype(floating).itemsize:
        raise _FoundError("damaged", "has half a weight")
    if not np.isfinite(np.frombuffer(value, floating)).all():
        raise _FoundError("not_finite", "has weights that are no numbers")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _FoundError("damaged", "is not an ONNX file")
    return value


def _integers(value: int | memoryview) -> list[int]:
    """Read one integer, or several packed ones."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: an integer, or the bytes of anything else."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(view, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _FoundError("damaged", "is not an ONNX file")
        if length > len(view) - at:
            raise _FoundError("truncated", "ends too early")
        yield number, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _FoundError("truncated", "ends too early")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _FoundError("damaged", "is not an ONNX file")
