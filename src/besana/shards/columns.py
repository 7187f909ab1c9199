"""Arrow columns as numpy, straight from their buffers.

`Array.to_numpy` imports pandas where it is installed: half a second and 32 MB for nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def numbers(column: pa.Array) -> npt.NDArray[Any]:
    """View whole numbers or times; nulls give any value.

    Args:
        column: Of integers, or of timestamps, which come as `datetime64`.
    """
    kind = column.type
    times = pa.types.is_timestamp(kind)
    dtype = np.dtype(np.int64 if times else str(kind))
    data = column.buffers()[1]
    if data is None:
        values = np.zeros(len(column), dtype)
    else:
        values = np.frombuffer(data, dtype)[column.offset : column.offset + len(column)]
    if not times:
        return values
    values = values.copy()
    values[~valid(column)] = np.iinfo(np.int64).min
    return values.view(f"datetime64[{kind.unit}]")


def booleans(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Unpack a column of booleans without nulls."""
    return _bits(column.buffers()[1], column.offset, len(column))


def valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Tell which rows are not null."""
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return _bits(column.buffers()[0], column.offset, len(column))


def text(column: pa.StringArray) -> tuple[npt.NDArray[np.int32], bytes]:
    """Give lengths and all bytes of a column of text without nulls."""
    if not len(column):
        return np.zeros(0, np.int32), b""
    _, offsets_buffer, data = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset :][: len(column) + 1]
    start, stop = int(offsets[0]), int(offsets[-1])
    return np.diff(offsets), data.slice(start, stop - start).to_pybytes() if stop > start else b""


def coded(column: pa.Array, codes: dict[str, int] | None) -> npt.NDArray[Any]:
    """Turn names into numbers, new ones into the next numbers; numbers stay as they are.

    Args:
        column: Of names, or of whole numbers when there are no codes.
        codes: Number of each name so far; new names are added.
    """
    if codes is None:
        return numbers(column)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    known = [codes.setdefault(name, len(codes)) for name in column.dictionary.to_pylist()]
    table: npt.NDArray[Any] = np.asarray(known, np.uint32)
    values: npt.NDArray[Any] = table[numbers(column.indices)]
    return values


def _bits(buffer: pa.Buffer | None, offset: int, count: int) -> npt.NDArray[np.bool_]:
    if buffer is None or not count:
        return np.zeros(count, np.bool_)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return bits[offset : offset + count].astype(np.bool_)
