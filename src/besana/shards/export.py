"""Copy a dataset into TFRecord files of its own: labels inside, shuffled, with a manifest."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from besana.engines import Engine
from besana.errors import CorruptDataError
from besana.shards.example import Feature, parse_example
from besana.shards.indexing import records
from besana.shards.manifest import Coded, Manifest, Positions, open_manifest
from besana.shards.manifest_writer import ManifestWriter
from besana.shards.order import key_of, permutation
from besana.shards.tfrecord import open_record
from besana.shards.workers import Workers
from besana.shards.writer import Location, ShardWriter, locate_record
from besana.storage import Storage, open_storage

SHARD_BYTES = 64 << 20
_READERS = 8
_READ_AHEAD = 64
_EXPORT = 7
_FILES_A_WORKER = 4
_COPIED = ("height_px", "width_px", "channels", "label", "fold")


def export_tfrecord(
    manifest: Manifest,
    shards: Storage,
    out: Storage,
    *,
    split: str = "",
    shard_bytes: int = SHARD_BYTES,
    advance: Callable[[int], None] = lambda _count: None,
    engine: Engine | None = None,
) -> int:
    """Write samples as `<split>-00000-of-00012.tfrecord` with `manifest.parquet` beside them.

    Each record keeps its features and gets `image/class/label` and `image/class/text`. Records
    are in a random order, the same each time; so a killed copy goes on with the shards that are
    missing, and TensorFlow, which reads in order, needs only a small shuffle buffer.

    Args:
        manifest: The dataset.
        shards: Where its shards lie.
        out: Where to; must hold nothing else of these names.
        split: Only this split; empty for all.
        shard_bytes: About how large a file gets.
        advance: Called with the number of samples that are done.
        engine: Writes the files, each where it runs; None for this process. Manifest, shards
            and `out` have to be where all its machines find them.

    Returns:
        How many samples there are now.

    Raises:
        CorruptDataError: If a record does not match its checksum.
    """
    rows = _Rows(manifest)
    files = _files(manifest, split, shard_bytes)
    if engine is None:
        copied = _copied_here(manifest, shards, out, files)
    else:
        copied = _copied_elsewhere(engine, manifest, shards, out, files)
    with ManifestWriter(out, classes=manifest.classes) as writer, contextlib.closing(copied):
        for file, places in copied:
            writer.write(rows.of(file.positions, places))
            advance(len(file.positions))
    return writer.count


class _File(NamedTuple):
    """One file to write: its name and its samples."""

    key: str
    positions: Positions


Copied = Generator[tuple[_File, list[Location]]]


def _files(manifest: Manifest, split: str, shard_bytes: int) -> Iterator[_File]:
    for name in [split] if split else list(manifest.splits):
        yield from _shards_of(manifest, name, shard_bytes)


def _copied_here(
    manifest: Manifest, shards: Storage, out: Storage, files: Iterable[_File]
) -> Copied:
    workers = Workers(_READERS, "besana-export")
    try:
        for file in files:
            yield file, _copy(manifest, shards, out, file, workers)
    finally:
        workers.close()


def _copied_elsewhere(
    engine: Engine, manifest: Manifest, shards: Storage, out: Storage, files: Iterator[_File]
) -> Copied:
    """Copy on an engine, a round of files at a time, so that few places wait for their turn."""
    place = manifest.storage.url, manifest.key, manifest.fingerprint
    copy = partial(_copy_files, place=place, shards=shards, out=out)
    while round_ := list(itertools.islice(files, _FILES_A_WORKER * engine.workers)):
        places: dict[str, list[Location]] = {}
        for done in engine.map(copy, [[file] for file in round_]):
            places |= done
        yield from ((file, places[file.key]) for file in round_)


def _copy_files(
    files: Sequence[_File], *, place: tuple[str, str, str], shards: Storage, out: Storage
) -> dict[str, list[Location]]:
    """Copy some files where an engine runs; says where their records are."""
    manifest = opened_manifest(*place)
    workers = Workers(_READERS, "besana-export")
    try:
        return {file.key: _copy(manifest, shards, out, file, workers) for file in files}
    finally:
        workers.close()


@lru_cache(maxsize=1)
def opened_manifest(url: str, key: str, fingerprint: str) -> Manifest:
    """Open a manifest once a process, where an engine runs.

    Args:
        url: The storage.
        key: Its key there.
        fingerprint: Which one it has to be.

    Raises:
        CorruptDataError: If it is another one.
    """
    manifest = open_manifest(open_storage(url), key)
    if manifest.fingerprint != fingerprint:
        raise CorruptDataError(
            f"'{key}' in {url} is not the manifest that the driver has.",
            "Put store where every executor finds it, and split nothing meanwhile.",
        )
    return manifest


def _copy(
    manifest: Manifest, shards: Storage, out: Storage, file: _File, workers: Workers
) -> list[Location]:
    places = _written(out, file.key, len(file.positions))
    if places is None:
        places = _write_shard(manifest, shards, out, file.key, file.positions, workers)
    return places


def _shards_of(manifest: Manifest, split: str, shard_bytes: int) -> Iterator[_File]:
    """Shuffle a split and cut it into files of about equal length."""
    positions = manifest.select(split)
    positions = positions[permutation(len(positions), key_of(_EXPORT))]
    if not len(positions):
        return
    ends = np.cumsum(manifest.length_bytes[positions].astype(np.int64))
    count = max(1, round(int(ends[-1]) / shard_bytes))
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
    for number, part in enumerate(np.split(positions, cuts)):
        yield _File(f"{split or 'samples'}-{number:05d}-of-{count:05d}.tfrecord", part)


def _written(out: Storage, key: str, count: int) -> list[Location] | None:
    """Find the records of a shard that an earlier, killed copy finished."""
    if out.size(key) is None:
        return None
    try:
        places = [locate_record(key, offset, data) for offset, data in records(out, key)]
    except CorruptDataError:
        return None
    return places if len(places) == count else None


def _write_shard(
    manifest: Manifest,
    shards: Storage,
    out: Storage,
    key: str,
    positions: Positions,
    workers: Workers,
) -> list[Location]:
    """Copy records, read a few ahead on threads, in their order."""
    reads: deque[tuple[int, Future[bytes]]] = deque()
    places: list[Location] = []
    with ShardWriter(out, key) as writer:
        for position in [*positions.tolist(), *[None] * _READ_AHEAD]:
            if position is not None:
                place = manifest.location(position)
                bounds = place.shard, place.offset_bytes, place.length_bytes
                reads.append((position, workers.submit(shards.read_range, *bounds)))
            if reads and (position is None or len(reads) > _READ_AHEAD):
                due, read = reads.popleft()
                places.append(writer.add(_labelled(manifest, due, read.result())))
    return places


def _labelled(manifest: Manifest, position: int, frame: bytes) -> dict[str, Feature]:
    """Check a record, parse it and add its class."""
    place = manifest.location(position)
    where = f"'{place.shard}' at byte {place.offset_bytes}"
    data = open_record(memoryview(frame), crc=place.crc32c, where=where)
    example: dict[str, Feature] = {**parse_example(data)}
    if manifest.labels is not None:
        held = np.flatnonzero(manifest.labels[position]).tolist()
    else:
        held = [label for label in [int(manifest.label[position])] if label >= 0]
    example["image/class/label"] = held
    example["image/class/text"] = [manifest.classes[label] for label in held]
    return example


class _Rows:
    """Make manifest rows of copied samples: all as it was, but for the place."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        group = manifest.column("group")
        self._group = group.codes if isinstance(group, Coded) else group

    def of(self, positions: Positions, places: list[Location]) -> list[dict[str, Any]]:
        """Give the rows of one shard."""
        manifest = self._manifest
        rows = []
        identities = manifest.identities(positions)
        for position, place, identity in zip(positions.tolist(), places, identities, strict=True):
            row = {name: getattr(manifest, name)[position].item() for name in _COPIED}
            row |= {name: getattr(place, name) for name in Location.__slots__}
            row["labels"] = None if manifest.labels is None else manifest.labels[position].tolist()
            row["split"] = manifest.splits[manifest.split[position]]
            rows.append(identity | row | {"group": int(self._group[position])})
        return rows
