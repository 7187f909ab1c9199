"""The columns of a large manifest in a file that is mapped, not read: open in no time, held once.

The file lies beside the manifest, is made when the manifest is first opened, and may be deleted
at any time. What it holds is checked: its header and its columns against CRC32C, its origin by
the manifest's fingerprint.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from besana.errors import CorruptDataError, StorageError

MAPPED_ROWS = 1_000_000
"""From so many samples on a manifest is mapped."""

_MAGIC = b"besana\x00\x01"
_HEAD = struct.Struct("<8sQI")
_CHUNK = 1 << 20

Column = npt.NDArray[Any]
Allocate = Callable[[int, npt.DTypeLike], Column]


def mapped_path(manifest: Path) -> Path:
    """Name the file that belongs to a manifest."""
    return manifest.with_suffix(".columns")


def map_columns(path: Path, fingerprint: str) -> tuple[dict[str, Column], dict[str, Any]]:
    """Map a file's columns.

    Args:
        path: The file.
        fingerprint: What its manifest must have.

    Returns:
        Columns by name, read only, and what else was written.

    Raises:
        CorruptDataError: If it is of another manifest, or any byte changed.
        OSError: If it is not there.
    """
    with path.open("rb") as file:
        header = _read_header(file, path)
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if header["fingerprint"] != fingerprint:
        raise CorruptDataError(f"{path} belongs to another manifest.", "Delete it.")
    if len(memory) != header["size"]:
        raise CorruptDataError(f"{path} has {len(memory)} bytes, not {header['size']}.")
    columns = {}
    for name, (dtype, shape, offset, crc) in header["columns"].items():
        column = np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)
        if crc32c(column.data) != crc:
            raise CorruptDataError(f"Column '{name}' of {path} changed.", "Delete the file.")
        columns[name] = column
    return columns, header["more"]


def write_columns(
    path: Path, fingerprint: str, columns: Mapping[str, Column], more: Mapping[str, Any]
) -> None:
    """Write columns, whole numbers in the smallest type that holds them; whole or not at all.

    Raises:
        OSError: If the disk refused.
    """
    header: dict[str, Any] = {"fingerprint": fingerprint, "columns": {}, "more": dict(more)}
    types = {name: narrowest(column) for name, column in columns.items()}
    header["size"] = 1 << 62  # as long as any size will be
    room = len(_encode(header)) + 200 * len(columns)
    at = _aligned(_HEAD.size + room)
    part = path.with_name(f".besana-part-{uuid.uuid4().hex}")
    try:
        with part.open("xb") as file:
            for name, column in columns.items():
                crc = _write_column(file, at, column, types[name])
                header["columns"][name] = (types[name].str, column.shape, at, crc)
                at = _aligned(file.tell())
            file.truncate(at)
            header["size"] = at
            text = _encode(header)
            file.seek(0)
            file.write(_HEAD.pack(_MAGIC, len(text), crc32c(text)) + text)
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def disk_columns(folder: Path) -> Allocate:
    """Give columns in files without a name: the system may put them out of memory.

    The room is taken at once, because a disk that fills up under mapped memory kills the process.
    """

    def allocate(rows: int, dtype: npt.DTypeLike) -> Column:
        size = rows * np.dtype(dtype).itemsize
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)
                return np.frombuffer(mmap.mmap(file.fileno(), size), dtype)
        except OSError as error:
            raise StorageError(f"No room for a manifest in {folder}: {error}.") from None

    return allocate


def narrowest(column: Column) -> np.dtype[Any]:
    """Choose the smallest type that holds a column of whole numbers; others keep theirs."""
    if column.dtype.kind not in "iu" or not len(column):
        return column.dtype
    low, high = 0, 0
    for start in range(0, len(column), _CHUNK):
        part = column[start : start + _CHUNK]
        low, high = min(low, int(part.min())), max(high, int(part.max()))
    if low < 0:
        return np.promote_types(np.min_scalar_type(low), np.min_scalar_type(-high - 1))
    return np.min_scalar_type(high)


def _write_column(file: BinaryIO, at: int, column: Column, dtype: np.dtype[Any]) -> int:
    file.seek(at)
    crc = 0
    for start in range(0, len(column), _CHUNK):
        part = np.ascontiguousarray(column[start : start + _CHUNK], dtype)
        file.write(part.data)
        crc = crc32c(part.data, crc)
    return crc


def _read_header(file: BinaryIO, path: Path) -> dict[str, Any]:
    head = file.read(_HEAD.size)
    if len(head) == _HEAD.size:
        magic, length, crc = _HEAD.unpack(head)
        text = file.read(length) if magic == _MAGIC and length < _CHUNK * 64 else b""
        if text and crc32c(text) == crc:
            header: dict[str, Any] = json.loads(text)
            return header
    raise CorruptDataError(f"{path} is no file of columns.", "Delete it.")


def _encode(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header).encode()


def _aligned(at: int) -> int:
    return -(-at // mmap.PAGESIZE) * mmap.PAGESIZE
