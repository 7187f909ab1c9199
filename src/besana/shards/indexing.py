"""Make a manifest for TFRecord files that came from elsewhere."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from besana.errors import CorruptDataError, NotFoundError
from besana.images.header import probe
from besana.shards.example import Values, parse_example
from besana.shards.manifest_writer import ManifestWriter
from besana.shards.ranges import RangeFile
from besana.shards.tfrecord import HEADER_BYTES, read_records
from besana.shards.writer import PAYLOAD, Location, locate_record
from besana.storage import Storage, open_storage

SHARD_PATTERNS = (".tfrecord", ".tfrecords", ".tfrec")
_SPLITS = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    "test": "test",
}
_ROWS = 4096
_MOST_PROBLEMS = 100


@dataclass(frozen=True)
class Indexed:
    """What an index holds.

    Attributes:
        samples: Samples in the manifest.
        classes: Names of classes in the order of the labels.
        skipped: How many records hold no picture that besana can load.
        problems: One sentence about each of the first of them.
    """

    samples: int
    classes: tuple[str, ...]
    skipped: int
    problems: tuple[str, ...]


def index(
    place: Storage | str | Path,
    keys: Sequence[str] = (),
    *,
    manifest_key: str = "manifest.parquet",
    classes: Sequence[str] = (),
    split: str | None = None,
    advance: Callable[[int], None] = lambda _count: None,
) -> Indexed:
    """Read shards once and write a manifest that names every record, beside them.

    Records are `tf.train.Example` with `image/encoded`; `image/filename`, `image/class/label`
    and `image/class/text` are used where they are. Sizes are read from the pictures themselves.
    Memory: one record, and some thousand rows.

    Args:
        place: Folder or bucket where the shards lie and the manifest goes.
        keys: The shards; all files with a usual ending when none is named.
        manifest_key: Key of the manifest.
        classes: Class names in the order of the labels; empty to take them from the records.
        split: Split of all samples; None to take it from the names of the shards.
        advance: Called with the number of shards that are done.

    Raises:
        NotFoundError: If there are no shards.
        CorruptDataError: If a shard is cut or damaged; names shard and offset. Also if no record
            holds a picture.
    """
    storage = place if isinstance(place, Storage) else open_storage(place)
    keys = keys or shard_keys(storage)
    names: dict[int, str] = dict(enumerate(classes))
    skipped, problems = 0, list[str]()
    with ManifestWriter(storage, manifest_key) as writer:
        for key in keys:
            rows: list[dict[str, Any]] = []
            more = {"split": split_of(key) if split is None else split}
            for offset, data in records(storage, key):
                try:
                    rows.append(_row(key, offset, data, names) | more)
                except CorruptDataError as error:
                    skipped += 1
                    if skipped <= _MOST_PROBLEMS:
                        problems.append(f"'{key}' at byte {offset}: {error.problem}")
                if len(rows) == _ROWS:
                    writer.write(rows)
                    rows.clear()
            writer.write(rows)
            advance(1)
        if not writer.count:
            raise _nothing(storage, skipped, problems)
        named = tuple(names.get(i, str(i)) for i in range(max(names, default=-1) + 1))
        writer.classes = named
    return Indexed(writer.count, named, skipped, tuple(problems))


def shard_keys(storage: Storage) -> list[str]:
    """List the files that are named as shards are.

    Raises:
        NotFoundError: If there are none.
    """
    keys = sorted(key for key in storage.list() if _is_shard(key))
    if not keys:
        raise NotFoundError(f"No TFRecord files in {storage.url}.", "Name them with their keys.")
    return keys


def _nothing(storage: Storage, skipped: int, problems: list[str]) -> CorruptDataError:
    first = f" The first: {problems[0]}" if problems else ""
    return CorruptDataError(
        f"None of the {skipped:,} records in {storage.url} holds a picture.{first}",
        f"Records must be tf.train.Example with a JPEG or PNG in '{PAYLOAD}'.",
    )


def records(storage: Storage, key: str) -> Iterator[tuple[int, bytes]]:
    """Read all records of a shard with their offsets, each checked.

    Raises:
        CorruptDataError: If the shard is cut or damaged.
    """
    with _opened(storage, key) as stream:
        yield from read_records(stream, name=key)


def split_of(key: str) -> str:
    """Guess a split from a shard's name.

    >>> split_of("data/train-00003-of-00010.tfrecord"), split_of("cows.tfrecord")
    ('train', '')
    """
    parts = key.lower().replace("-", "/").replace("_", "/").replace(".", "/").split("/")
    return next((_SPLITS[part] for part in parts if part in _SPLITS), "")


def _is_shard(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name.endswith(SHARD_PATTERNS) or ".tfrecord-" in name


@contextlib.contextmanager
def _opened(storage: Storage, key: str) -> Iterator[BinaryIO]:
    path = storage.local_path(key)
    if storage.size(key) is None:
        raise NotFoundError(f"No shard '{key}' in {storage.url}.", "Check its name.")
    with path.open("rb") if path else io.BufferedReader(RangeFile(storage, key), 8 << 20) as file:
        yield cast("BinaryIO", file)


def _row(key: str, offset: int, data: bytes, names: dict[int, str]) -> dict[str, Any]:
    place = locate_record(key, offset, data)
    start = place.payload_offset_bytes - offset - HEADER_BYTES
    header = probe(data[start : start + place.payload_length_bytes])
    if header.format not in ("jpeg", "png"):
        raise CorruptDataError(f"its picture is {header.format}, not JPEG or PNG.")
    if header.channels not in (1, 3):
        raise CorruptDataError(f"its picture has {header.channels} channels, not 1 or 3.")
    features = parse_example(data)
    name = _text(features, "image/filename") or f"{key}:{offset}"
    channels = _number(features, "image/channels")
    return {
        "frame_id": name,
        **{field: getattr(place, field) for field in Location.__slots__},
        "height_px": header.height_px,
        "width_px": header.width_px,
        "channels": header.channels if channels is None else channels,
        "label": _label(features, names),
    }


def _label(features: dict[str, Values], names: dict[int, str]) -> int:
    """Read the class; a name without a number gets the next one."""
    number, text = _number(features, "image/class/label"), _text(features, "image/class/text")
    if number is None and text:
        known = {name: place for place, name in names.items()}
        number = known.get(text, len(names))
    if number is None or number < 0:
        return -1
    names.setdefault(number, text or str(number))
    return number


def _number(features: dict[str, Values], name: str) -> int | None:
    values = features.get(name, [])
    return int(values[0]) if values and isinstance(values[0], int) else None


def _text(features: dict[str, Values], name: str) -> str:
    values = features.get(name, [])
    return values[0].decode(errors="replace") if values and isinstance(values[0], bytes) else ""
