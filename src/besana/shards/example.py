"""`tf.train.Example` by hand: encode and parse without protobuf or TensorFlow.

The message is `Example{1: Features{1: repeated entry{1: name, 2: Feature}}}`, a Feature holds one
list: 1 bytes, 2 floats (packed), 3 integers (packed). See `tensorflow/core/example/*.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import NamedTuple

from besana.errors import ConfigError, CorruptDataError

Buffer = bytes | bytearray | memoryview
Scalar = bytes | memoryview | str | int | float
Feature = Scalar | Sequence[Scalar]
Values = list[bytes] | list[int] | list[float]

_BYTES, _FLOATS, _INTEGERS = 1, 2, 3
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


class Encoded(NamedTuple):
    """An encoded Example, and where the bytes of its one-valued bytes features lie in it.

    Attributes:
        data: The message.
        places: Feature name to (offset, length) inside `data`.
    """

    data: bytes
    places: dict[str, tuple[int, int]]


def encode_example(features: Mapping[str, Feature]) -> Encoded:
    """Encode a `tf.train.Example`, features in the order given.

    Args:
        features: Name to bytes, text, integers or floats, one value or a sequence of one kind.

    Raises:
        ConfigError: If a feature is of no kind that an Example can hold.
    """
    pieces: list[bytes | memoryview] = []
    sizes = 0
    payloads: dict[str, tuple[int, int]] = {}
    for name, feature in features.items():
        head, payload = _encode_entry(name, feature)
        if payload is not None:
            payloads[name] = (sizes + len(head), len(payload))
        pieces.append(head)
        pieces.append(payload if payload is not None else b"")
        sizes += len(head) + len(pieces[-1])
    start = _prefix(1, sizes)
    places = {name: (len(start) + at, length) for name, (at, length) in payloads.items()}
    return Encoded(start + b"".join(pieces), places)


def _encode_entry(name: str, feature: Feature) -> tuple[bytes, bytes | memoryview | None]:
    """Encode one map entry; a single bytes value comes apart, as the end of the entry."""
    values = _values(feature)
    payload = values[0] if len(values) == 1 and isinstance(values[0], bytes | memoryview) else None
    if payload is None:
        inner, tail_bytes = _encode_list(name, values), 0
    else:
        inner, tail_bytes = _prefix(1, len(payload)), len(payload)
        inner = _prefix(_BYTES, len(inner) + tail_bytes) + inner
    key = name.encode()
    entry = _prefix(1, len(key)) + key + _prefix(2, len(inner) + tail_bytes) + inner
    return _prefix(1, len(entry) + tail_bytes) + entry, payload


def _values(feature: Feature) -> list[bytes | memoryview | int | float]:
    single = isinstance(feature, bytes | memoryview | str | Integral | Real)
    values: Sequence[Scalar] = [feature] if single else feature  # type: ignore[list-item,assignment]
    return [value.encode() if isinstance(value, str) else value for value in values]


def _encode_list(name: str, values: list[bytes | memoryview | int | float]) -> bytes:
    if not values:
        return b""
    if all(isinstance(value, bytes | memoryview) for value in values):
        body = b"".join(_prefix(1, len(value)) + bytes(value) for value in values)  # type: ignore[arg-type]
        return _prefix(_BYTES, len(body)) + body
    if all(isinstance(value, Integral) for value in values):
        packed = b"".join(_varint(int(value) & 0xFFFFFFFFFFFFFFFF) for value in values)
        kind = _INTEGERS
    elif all(isinstance(value, Real) for value in values):
        packed = struct.pack(f"<{len(values)}f", *(float(value) for value in values))
        kind = _FLOATS
    else:
        raise ConfigError(
            f"Feature '{name}' mixes kinds of values.", "Give bytes, integers or floats."
        )
    body = _prefix(1, len(packed)) + packed
    return _prefix(kind, len(body)) + body


def _prefix(number: int, length: int) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_example(data: Buffer) -> dict[str, Values]:
    """Parse a `tf.train.Example` into plain lists.

    Raises:
        CorruptDataError: If the bytes are no Example.
    """
    view = memoryview(data)
    return {name: _parse_feature(view, start, end) for name, start, end in _entries(view)}


def locate_features(data: Buffer) -> dict[str, tuple[int, int]]:
    """Find the bytes of every one-valued bytes feature, without copying any.

    Returns:
        Feature name to (offset, length) inside `data`.

    Raises:
        CorruptDataError: If the bytes are no Example.
    """
    view = memoryview(data)
    places: dict[str, tuple[int, int]] = {}
    for name, start, end in _entries(view):
        places.pop(name, None)
        spans = _bytes_spans(view, start, end)
        if len(spans) == 1:
            at, stop = spans[0]
            places[name] = (at, stop - at)
    return places


def _entries(view: memoryview) -> Iterator[tuple[str, int, int]]:
    """Walk the map entries: name, start and end of the Feature message."""
    for start, end in _messages(view, 0, len(view), 1):
        for entry_start, entry_end in _messages(view, start, end, 1):
            name, feature = "", (entry_start, entry_start)
            for number, wire, at, stop in _fields(view, entry_start, entry_end):
                if number == 1 and wire == _LENGTH_DELIMITED:
                    name = _text(view[at:stop])
                elif number == 2 and wire == _LENGTH_DELIMITED:
                    feature = (at, stop)
            yield name, *feature


def _messages(view: memoryview, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    for number, wire, at, stop in _fields(view, start, end):
        if number == wanted and wire == _LENGTH_DELIMITED:
            yield at, stop


def _bytes_spans(view: memoryview, start: int, end: int) -> list[tuple[int, int]]:
    return [
        span
        for list_start, list_end in _messages(view, start, end, _BYTES)
        for span in _messages(view, list_start, list_end, 1)
    ]


def _parse_feature(view: memoryview, start: int, end: int) -> Values:
    values: Values = []
    for number, wire, at, stop in _fields(view, start, end):
        if wire != _LENGTH_DELIMITED:
            continue
        if number == _BYTES:
            values = [bytes(view[a:b]) for a, b in _messages(view, at, stop, 1)]
        elif number == _FLOATS:
            values = _floats(view, at, stop)
        elif number == _INTEGERS:
            values = _integers(view, at, stop)
    return values


def _floats(view: memoryview, start: int, end: int) -> list[float]:
    values: list[float] = []
    for number, wire, at, stop in _fields(view, start, end):
        if number == 1 and wire in (_LENGTH_DELIMITED, _FIXED32):
            if (stop - at) % 4:
                raise _malformed()
            values.extend(struct.unpack(f"<{(stop - at) // 4}f", view[at:stop]))
    return values


def _integers(view: memoryview, start: int, end: int) -> list[int]:
    values: list[int] = []
    for number, wire, at, stop in _fields(view, start, end):
        if number != 1 or wire not in (_LENGTH_DELIMITED, _VARINT):
            continue
        while at < stop:
            value, at = _read_varint(view, at, stop)
            values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Walk the fields of a message: number, wire type, start and end of the value."""
    at = start
    while at < end:
        tag, at = _read_varint(view, at, end)
        wire = tag & 7
        if wire == _VARINT:
            stop = _read_varint(view, at, end)[1]
        elif wire == _LENGTH_DELIMITED:
            length, at = _read_varint(view, at, end)
            stop = at + length
        elif wire in (_FIXED32, _FIXED64):
            stop = at + (4 if wire == _FIXED32 else 8)
        else:
            raise _malformed()
        if stop > end:
            raise _malformed()
        yield tag >> 3, wire, at, stop
        at = stop


def _read_varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise _malformed()


def _text(view: memoryview) -> str:
    try:
        return bytes(view).decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _malformed() -> CorruptDataError:
    return CorruptDataError(
        "The record is no tf.train.Example.", "Only TFRecords of Examples can be read.", "damaged"
    )
