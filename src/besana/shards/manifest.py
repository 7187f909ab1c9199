"""A dataset's manifest in memory: where each sample lies and what it is, 32 bytes a sample."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import override

from besana.errors import BesanaError, ConfigError, CorruptDataError, NotFoundError
from besana.shards.columns import booleans, coded, numbers, valid
from besana.shards.manifest_writer import (
    CLASSES_KEY,
    DIGESTS_KEY,
    FINGERPRINT_KEY,
    MANIFEST_SCHEMA,
    ON_DEMAND,
    ROW_GROUPS_KEY,
    ColumnDigests,
    ManifestWriter,
    column_checksum,
    combine,
    locate,
)
from besana.shards.mapped import (
    MAPPED_ROWS,
    Allocate,
    disk_columns,
    map_columns,
    mapped_path,
    narrowest,
    write_columns,
)
from besana.shards.ranges import RangeFile
from besana.shards.writer import Location
from besana.storage import Storage

__all__ = ["MANIFEST_SCHEMA", "Coded", "Fold", "Manifest", "ManifestWriter", "open_manifest"]

Positions = npt.NDArray[np.int64]
Fold = tuple[int, Literal["train", "validation"]]

_HELD = {
    "shard": "codes",
    "offset_bytes": "uint64",
    "length_bytes": "uint32",
    "payload_offset_bytes": "uint64",
    "payload_length_bytes": "uint32",
    "crc32c": "uint32",
    "height_px": "uint32",
    "width_px": "uint32",
    "channels": "uint8",
    "label": "int32",
    "split": "codes",
    "fold": "int8",
}


class Coded(NamedTuple):
    """Names kept as numbers.

    Attributes:
        codes: One a sample, an index into `names`.
        names: The names, in the order of their first use.
    """

    codes: npt.NDArray[Any]
    names: tuple[str, ...]


class Manifest:
    """Know every sample of a dataset by its position, 0 to `len(manifest) - 1`.

    What the loader needs is held in numpy columns; identities, cameras, groups and times are
    read from the file when asked for.

    Attributes:
        fingerprint: SHA-256 over all columns: the dataset's identity.
        classes: Class names in the order of the labels; may be empty.
        shards: Keys of the shards; `shard` holds indices into it.
        splits: Names of the splits; `split` holds indices into it.
        shard: Shard of each sample.
        offset_bytes: Start of each record in its shard.
        length_bytes: Length of each record.
        payload_length_bytes: Length of each encoded image.
        crc32c: CRC32C of each record's data.
        height_px: Height of each image.
        width_px: Width of each image.
        channels: Channels of each image, all bands together.
        label: Class of each sample, -1 for none.
        labels: For multi-label datasets, (samples, classes) bool; else None.
        split: Split of each sample.
        fold: Fold in which a sample validates, -1 for none.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage = storage
        self.key = key
        self._group: tuple[int, tuple[str, ...], pa.Table] | None = None
        with self._opened() as file:
            self._rows_before = _rows_before(file)
            digests = self._read_footer(file)
            columns, names = self._columns(file, digests)
        pa.default_memory_pool().release_unused()
        self.shards: tuple[str, ...] = tuple(names["shards"])
        self.splits: tuple[str, ...] = tuple(names["splits"])
        self._payload_delta = columns["payload_delta"]
        self.shard: npt.NDArray[Any] = columns["shard"]
        self.offset_bytes: npt.NDArray[np.uint64] = columns["offset_bytes"]
        self.length_bytes: npt.NDArray[np.uint32] = columns["length_bytes"]
        self.payload_length_bytes: npt.NDArray[np.uint32] = columns["payload_length_bytes"]
        self.crc32c: npt.NDArray[np.uint32] = columns["crc32c"]
        self.height_px: npt.NDArray[Any] = columns["height_px"]
        self.width_px: npt.NDArray[Any] = columns["width_px"]
        self.channels: npt.NDArray[np.uint8] = columns["channels"]
        self.label: npt.NDArray[Any] = columns["label"]
        self.labels: npt.NDArray[np.bool_] | None = columns.get("labels")
        self.split: npt.NDArray[Any] = columns["split"]
        self.fold: npt.NDArray[np.int8] = columns["fold"]

    @override
    def __repr__(self) -> str:
        return f"<Manifest of {len(self)} samples in {len(self.shards)} shards, {self.key}>"

    def __len__(self) -> int:
        return len(self.offset_bytes)

    @property
    def held_bytes(self) -> int:
        """Tell how much memory the columns take."""
        held = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return sum(array.nbytes for array in held)

    def payload_offset_bytes(self, positions: Positions) -> npt.NDArray[np.uint64]:
        """Tell where the encoded images start in their shards."""
        starts: npt.NDArray[np.uint64] = (
            self.offset_bytes[positions] + self._payload_delta[positions]
        )
        return starts

    def select(self, split: str | None = None, fold: Fold | None = None) -> Positions:
        """Find samples, in the manifest's order.

        Args:
            split: Name of a split; None for all.
            fold: `(k, "train")` for all but fold k of the split, `(k, "validation")` for fold k;
                None for all.

        Raises:
            NotFoundError: If the manifest has no such split or fold.
        """
        chosen = np.ones(len(self), np.bool_)
        if split is not None:
            if split not in self.splits:
                names = ", ".join(name for name in self.splits if name) or "no split"
                raise NotFoundError(f"No split '{split}' in {self.key}.", f"It has: {names}.")
            chosen &= self.split == self.splits.index(split)
        if fold is not None:
            number, part = fold
            if part not in ("train", "validation"):
                raise ConfigError(f"Fold part '{part}' is neither 'train' nor 'validation'.")
            if not np.any(self.fold[chosen] == number):
                raise NotFoundError(f"No fold {number} in {self.key}.", "Run: besana split")
            chosen &= self.fold >= 0
            chosen &= (self.fold == number) if part == "validation" else (self.fold != number)
        return np.flatnonzero(chosen)

    def location(self, position: int) -> Location:
        """Tell where one sample lies."""
        return Location(
            shard=self.shards[self.shard[position]],
            offset_bytes=int(self.offset_bytes[position]),
            length_bytes=int(self.length_bytes[position]),
            payload_offset_bytes=int(self.offset_bytes[position])
            + int(self._payload_delta[position]),
            payload_length_bytes=int(self.payload_length_bytes[position]),
            crc32c=int(self.crc32c[position]),
        )

    def sample_ids(self, positions: Sequence[int] | Positions) -> list[str]:
        """Read the ids of some samples, `<frame id>/<region>`."""
        return [f"{row['frame_id']}/{row['region']}" for row in self.identities(positions)]

    def identities(self, positions: Sequence[int] | Positions) -> list[dict[str, Any]]:
        """Read frame, region, camera, time and light of some samples from the file.

        Only one row group is held at a time: ask in the manifest's order when there are many.
        """
        columns = ("frame_id", "region", "camera", "captured_at", "light")
        wanted = np.asarray(positions, np.int64)
        groups = np.searchsorted(self._rows_before, wanted, side="right") - 1
        rows: list[dict[str, Any]] = [{}] * len(wanted)
        for group in np.unique(groups):
            table = self._row_group(int(group), columns)
            places = np.flatnonzero(groups == group)
            found = table.take(wanted[places] - self._rows_before[group]).to_pylist()
            for place, row in zip(places, found, strict=True):
                rows[place] = row
        return rows

    def column(self, name: str) -> npt.NDArray[Any] | Coded:
        """Read a whole column from the file: numbers, `datetime64[us]` (UTC) or coded names.

        Raises:
            ConfigError: If there is no such column, or it holds an identity per sample.
        """
        if name not in MANIFEST_SCHEMA.names or name in ("frame_id", "labels"):
            raise ConfigError(f"A manifest has no column '{name}' to read as a whole.")
        with self._guarded(), self._opened() as file:
            tables = [self._read_group(file, i, [name]) for i in range(file.num_row_groups)]
        chunks = [chunk for table in tables for chunk in table.column(0).chunks]
        column = pa.chunked_array(chunks, MANIFEST_SCHEMA.field(name).type).combine_chunks()
        if pa.types.is_string(column.type):
            column = column.dictionary_encode()
        if pa.types.is_dictionary(column.type):
            codes = numbers(column.indices)
            return Coded(_narrow(codes), tuple(column.dictionary.to_pylist()))
        return numbers(column)

    def _row_group(self, group: int, columns: tuple[str, ...]) -> pa.Table:
        held = self._group
        if held is None or held[:2] != (group, columns):
            with self._guarded(), self._opened() as file:
                held = (group, columns, self._read_group(file, group, list(columns)))
            self._group = held
        return held[2]

    def _read_group(self, file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        table = file.read_row_group(group, columns, use_threads=False)
        for name in set(columns) & set(ON_DEMAND):
            if column_checksum(table.column(name)) != self._checksums[name][group]:
                raise self._corrupt(f"column '{name}' does not match its checksum")
        return table

    def _opened(self) -> pq.ParquetFile:
        path = self.storage.local_path(self.key)
        if self.storage.size(self.key) is None:
            raise NotFoundError(f"No manifest '{self.key}' in {self.storage.url}.")
        source = path or io.BufferedReader(RangeFile(self.storage, self.key), 1 << 20)
        with self._guarded():
            return pq.ParquetFile(source, page_checksum_verification=True)

    def _read_footer(self, file: pq.ParquetFile) -> dict[str, str]:
        """Take over fingerprint, classes and checksums; give the columns' digests."""
        metadata = file.metadata.metadata or {}
        if FINGERPRINT_KEY not in metadata:
            raise self._corrupt("it has no fingerprint")
        if not file.schema_arrow.equals(MANIFEST_SCHEMA):
            raise self._corrupt("its columns are not those of a manifest")
        self.fingerprint = metadata[FINGERPRINT_KEY].decode(errors="replace")
        with self._guarded():
            digests: dict[str, str] = json.loads(metadata[DIGESTS_KEY])
            self.classes: tuple[str, ...] = tuple(json.loads(metadata[CLASSES_KEY]))
            self._checksums: dict[str, list[int]] = json.loads(metadata[ROW_GROUPS_KEY])
            whole = combine(digests, self.classes) == self.fingerprint
        if not whole:
            raise self._corrupt("its fingerprint does not match")
        return digests

    def _columns(
        self, file: pq.ParquetFile, digests: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give the held columns and the names that some are indices into: mapped when large."""
        path = self.storage.local_path(self.key)
        if path is None or file.metadata.num_rows < MAPPED_ROWS:
            columns, names = self._load(file, digests, np.empty)
            return {name: _narrow(column) for name, column in columns.items()}, names
        place = mapped_path(path)
        with contextlib.suppress(OSError, CorruptDataError):
            return map_columns(place, self.fingerprint)
        try:
            columns, names = self._load(file, digests, disk_columns(path.parent))
            write_columns(place, self.fingerprint, columns, names)
            return map_columns(place, self.fingerprint)
        except (OSError, AttributeError):  # a full disk, one only read, a system that cannot
            columns, names = self._load(file, digests, np.empty)
            return {name: _narrow(column) for name, column in columns.items()}, names

    def _load(
        self, file: pq.ParquetFile, digests: dict[str, str], allocate: Allocate
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        with self._guarded():
            columns, names, found = _read_columns(file, len(self.classes), allocate)
        if wrong := [name for name, digest in found.items() if digests.get(name) != digest]:
            raise self._corrupt(f"column '{wrong[0]}' does not match its digest")
        return columns, names

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what pyarrow says about a damaged file into our error."""
        try:
            yield
        except BesanaError:
            raise
        except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
            raise self._corrupt(str(error)) from None

    def _corrupt(self, what: str) -> CorruptDataError:
        return CorruptDataError(
            f"Manifest '{self.key}' in {self.storage.url} is corrupt: {what.strip()}.",
            "Run besana split again, or restore it from a copy.",
        )


def open_manifest(place: Storage | str | Path, key: str = "manifest.parquet") -> Manifest:
    """Open a manifest.

    Args:
        place: A storage, or the path of the file.
        key: Key in the storage; not used with a path.

    Raises:
        NotFoundError: If it is not there.
        CorruptDataError: If its content does not match its digests.
    """
    return Manifest(*locate(place, key))


def _rows_before(file: pq.ParquetFile) -> Positions:
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)[: max(len(sizes), 1)]


def _batches(file: pq.ParquetFile, columns: list[str]) -> Any:
    for group in range(file.metadata.num_row_groups):
        yield from (
            file.read_row_group(group, columns, use_threads=False).combine_chunks().to_batches()
        )


def _read_columns(
    file: pq.ParquetFile, classes: int, allocate: Allocate
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Fill the held columns row group by row group, hashing what is read."""
    rows = file.metadata.num_rows
    groups = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
    if rows != sum(groups):
        raise ValueError("its row groups do not add up")
    names = [*_HELD, "labels"]
    digests = ColumnDigests(names)
    columns: dict[str, Any] = {
        name: allocate(rows, np.uint32 if kind == "codes" else kind) for name, kind in _HELD.items()
    }
    columns["labels"] = None
    known: dict[str, dict[str, int]] = {"shard": {}, "split": {}}
    start = 0
    for batch in _batches(file, names):
        table = pa.Table.from_batches([batch])
        digests.update(table)
        part = slice(start, start + batch.num_rows)
        for name in _HELD:
            columns[name][part] = coded(batch.column(name), known.get(name))
        columns["labels"] = _labels(batch.column("labels"), columns["labels"], part, rows, classes)
        start += batch.num_rows
    if start != rows:
        raise ValueError("rows are missing")
    delta = columns.pop("payload_offset_bytes")
    delta -= columns["offset_bytes"]
    columns["payload_delta"] = delta
    if columns["labels"] is None:
        del columns["labels"]
    return columns, {f"{name}s": list(codes) for name, codes in known.items()}, digests.hex()


def _labels(
    column: pa.Array,
    held: npt.NDArray[np.bool_] | None,
    part: slice,
    rows: int,
    classes: int,
) -> npt.NDArray[np.bool_] | None:
    """Spread lists of booleans into a matrix; there is none while all are null."""
    present = np.flatnonzero(valid(column))
    if not len(present):
        return held
    values = booleans(column.drop_null().flatten()).reshape(len(present), -1)
    if held is None:
        held = np.zeros((rows, classes or values.shape[1]), np.bool_)
    held[part.start + present] = values
    return held


def _narrow(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Store whole numbers in the smallest type that holds them all."""
    return values.astype(narrowest(values), copy=False)
