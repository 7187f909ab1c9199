"""Write a dataset's manifest: one row a sample, in row groups, with a hash of its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from crc32c import crc32c

from besana.errors import ConfigError
from besana.shards.columns import booleans, numbers, text, valid
from besana.storage import Storage, open_storage

_NAMES = pa.dictionary(pa.int32(), pa.string())

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("region", pa.string(), nullable=False),
        pa.field("shard", _NAMES, nullable=False),
        pa.field("offset_bytes", pa.uint64(), nullable=False),
        pa.field("length_bytes", pa.uint32(), nullable=False),
        pa.field("payload_offset_bytes", pa.uint64(), nullable=False),
        pa.field("payload_length_bytes", pa.uint32(), nullable=False),
        pa.field("crc32c", pa.uint32(), nullable=False),
        pa.field("height_px", pa.uint32(), nullable=False),
        pa.field("width_px", pa.uint32(), nullable=False),
        pa.field("channels", pa.uint8(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("labels", pa.list_(pa.bool_())),
        pa.field("split", _NAMES, nullable=False),
        pa.field("fold", pa.int8(), nullable=False),
        pa.field("group", pa.int64(), nullable=False),
        pa.field("camera", _NAMES, nullable=False),
        pa.field("captured_at", pa.timestamp("us", tz="UTC")),
        pa.field("light", _NAMES, nullable=False),
    ]
)
"""Columns of a manifest; a label, fold or group of -1, null or an empty name means none."""

ROW_GROUP_ROWS = 4096
FINGERPRINT_KEY = b"besana.fingerprint"
DIGESTS_KEY = b"besana.digests"
CLASSES_KEY = b"besana.classes"
ROW_GROUPS_KEY = b"besana.row_groups"

ON_DEMAND = ("frame_id", "region", "group", "camera", "captured_at", "light")
"""Columns that readers take from the file by row group; each group of each has a CRC32C."""

_DEFAULTS: dict[str, Any] = {
    "region": "all",
    "label": -1,
    "labels": None,
    "split": "",
    "fold": -1,
    "group": -1,
    "camera": "",
    "captured_at": None,
    "light": "",
}

Rows: TypeAlias = pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]


class ManifestWriter:
    """Stream rows into `manifest.parquet`; it appears whole when the `with` block ends well.

    However the rows are cut into batches, the file and its fingerprint are the same.

    Args:
        place: Storage, or the path of the file.
        key: Key in the storage; not used with a path.
        classes: Class names in the order of the labels.

    Attributes:
        classes: Class names; may still change inside the block.
        fingerprint: SHA-256 over all columns, known after the block.
        count: Rows written so far.
    """

    def __init__(
        self,
        place: Storage | str | Path,
        key: str = "manifest.parquet",
        *,
        classes: Sequence[str] = (),
    ) -> None:
        self._storage, self._key = locate(place, key)
        self.classes = tuple(classes)
        self._stack = contextlib.ExitStack()
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._digests = ColumnDigests(MANIFEST_SCHEMA.names)
        self._group_checksums: dict[str, list[int]] = {name: [] for name in ON_DEMAND}
        self.fingerprint = ""
        self.count = 0

    def __enter__(self) -> Self:
        stream = self._stack.enter_context(self._storage.open_writer(self._key))
        self._file = pq.ParquetWriter(
            stream,
            MANIFEST_SCHEMA,
            compression="zstd",
            write_page_checksum=True,
        )
        self._stack.callback(self._file.close)
        return self

    def write(self, rows: Rows) -> None:
        """Add rows; columns that are missing get their defaults.

        Raises:
            ConfigError: If a column is unknown, missing without a default, or of a wrong type.
        """
        table = conform(rows)
        if table.num_rows:
            self._pending.append(table)
            self._pending_rows += table.num_rows
            self.count += table.num_rows
        while self._pending_rows >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = pa.concat_tables(self._pending, promote_options="default").combine_chunks()
        group, rest = table.slice(0, ROW_GROUP_ROWS), table.slice(ROW_GROUP_ROWS)
        self._pending = [rest] if rest.num_rows else []
        self._pending_rows = rest.num_rows
        self._digests.update(group)
        for name, checksums in self._group_checksums.items():
            checksums.append(column_checksum(group.column(name)))
        self._file.write_table(_named(group), row_group_size=ROW_GROUP_ROWS)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        with self._stack:  # publishes when this block ends well
            while self._pending_rows:
                self._flush()
            self._finish()

    def _finish(self) -> None:
        self.fingerprint = self._digests.fingerprint(self.classes)
        self._file.add_key_value_metadata(
            {
                FINGERPRINT_KEY: self.fingerprint.encode(),
                DIGESTS_KEY: json.dumps(self._digests.hex()).encode(),
                CLASSES_KEY: json.dumps(self.classes).encode(),
                ROW_GROUPS_KEY: json.dumps(self._group_checksums).encode(),
            }
        )


def locate(place: Storage | str | Path, key: str) -> tuple[Storage, str]:
    """Turn a storage with a key, or a path, into a storage with a key."""
    if isinstance(place, Storage):
        return place, key
    folder, _, name = str(place).rpartition("/")
    return open_storage(folder or ("/" if str(place).startswith("/") else ".")), name


def conform(rows: Rows) -> pa.Table:
    """Bring rows into the manifest's columns, names as plain text.

    Raises:
        ConfigError: If a column is unknown, missing without a default, or of a wrong type.
    """
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if not isinstance(rows, pa.Table):
        names = dict.fromkeys(name for row in rows for name in row)
        rows = pa.table({name: [row.get(name) for row in rows] for name in names})
    unknown = set(rows.column_names) - set(MANIFEST_SCHEMA.names)
    if unknown:
        raise ConfigError(f"Unknown column '{sorted(unknown)[0]}' for a manifest.")
    return pa.table({field.name: _column(rows, field) for field in MANIFEST_SCHEMA})


def _column(rows: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    plain = pa.string() if pa.types.is_dictionary(field.type) else field.type
    if field.name in rows.column_names:
        column = rows.column(field.name)
    elif field.name in _DEFAULTS:
        column = pa.nulls(rows.num_rows, plain)
    elif rows.num_rows == 0:
        column = pa.nulls(0, plain)
    else:
        raise ConfigError(f"A manifest needs the column '{field.name}'.")
    try:
        column = column.cast(plain)
    except pa.ArrowException as error:
        raise ConfigError(f"Column '{field.name}' of a manifest: {error}.") from None
    if not field.nullable and column.null_count:
        if field.name not in _DEFAULTS:
            raise ConfigError(f"Column '{field.name}' of a manifest has empty rows.")
        column = pc.fill_null(column, pa.scalar(_DEFAULTS[field.name], plain))
    return column


def _named(table: pa.Table) -> pa.Table:
    """Turn columns of repeated names into dictionaries."""
    for index, field in enumerate(MANIFEST_SCHEMA):
        if pa.types.is_dictionary(field.type):
            column = table.column(index).combine_chunks().dictionary_encode()
            table = table.set_column(index, field, column)
    return table.cast(MANIFEST_SCHEMA)


class ColumnDigests:
    """Hash columns as rows stream by; how they are cut into batches makes no difference."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parts = {name: [hashlib.sha256() for _ in range(3)] for name in names}

    def update(self, table: pa.Table) -> None:
        """Take in rows; columns as the manifest stores them or with names as plain text."""
        for name, parts in self._parts.items():
            column = table.column(name).combine_chunks()
            for part, data in zip(parts, _canonical(column), strict=True):
                part.update(data)

    def hex(self) -> dict[str, str]:
        """Give each column's digest."""
        return {
            name: hashlib.sha256(b"".join(part.digest() for part in parts)).hexdigest()
            for name, parts in self._parts.items()
        }

    def fingerprint(self, classes: Sequence[str]) -> str:
        """Give one digest of all columns and the class names."""
        return combine(self.hex(), classes)


def combine(digests: Mapping[str, str], classes: Sequence[str]) -> str:
    """Make the fingerprint from the columns' digests and the class names."""
    content = json.dumps([sorted(digests.items()), list(classes)])
    return hashlib.sha256(content.encode()).hexdigest()


def column_checksum(column: pa.ChunkedArray) -> int:
    """Compute the CRC32C of a column's content."""
    crc = 0
    for data in _canonical(column):
        crc = crc32c(data, crc)
    return crc


def _canonical(column: pa.Array | pa.ChunkedArray) -> tuple[bytes, bytes, bytes]:
    """Give validity, lengths and values of a column as bytes that depend on its content alone."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    present = valid(column).astype(np.uint8).tobytes()
    if column.null_count:
        column = column.drop_null()
    if pa.types.is_string(column.type):
        lengths, characters = text(column)
        return present, lengths.astype("<u4").tobytes(), characters
    if pa.types.is_list(column.type):
        lengths = numbers(column.value_lengths())
        values = booleans(column.flatten()).astype(np.uint8)
        return present, lengths.astype("<u4").tobytes(), values.tobytes()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values = numbers(column)
    return present, b"", values.astype(values.dtype.newbyteorder("<")).tobytes()
