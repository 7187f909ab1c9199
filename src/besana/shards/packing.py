"""Pack class folders into shards with a manifest: what a loader needs, without a workspace."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import Field

from besana.config import parse
from besana.console import percent
from besana.errors import ConfigError, CorruptDataError
from besana.images.bands import Encoded, encode_bands
from besana.images.cut import resize
from besana.images.decode import decode, probe
from besana.images.encode import encode_tiff
from besana.images.files import escape_name, read_stable
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import refusal
from besana.shards.manifest_writer import ManifestWriter
from besana.shards.pack_files import FileList, Job, list_files
from besana.shards.writer import ShardWriter, sample_example
from besana.storage import Folder, Storage, open_storage

if TYPE_CHECKING:
    from besana.engines import Engine

_MARK = "besana-pack.json"
_NOTES = "packing"
_PROBED = 32
_BYTES_PER_PIXEL = 0.4  # of photographs at quality 90; decides how many pictures a shard gets
_NOT_CLAIMED = ("max_dropped_share",)


class PackSettings(Bounds):
    """How pictures are packed."""

    size_px: int | None = Field(
        default=None,
        ge=16,
        description="Shorter side of packed pictures, smaller ones stay; empty: as they are.",
    )
    quality: int = Field(default=90, ge=40, le=100, description="Quality of packed JPEG.")
    validation_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the training pictures to validate with, chosen by their names.",
    )
    shard_bytes: int = Field(
        default=64 << 20, ge=1 << 20, description="About how large a shard gets."
    )
    max_dropped_share: float = Field(
        default=0.01, ge=0, le=1, description="Share of files that may be unusable."
    )


class Packed(NamedTuple):
    """What became of a folder.

    Attributes:
        samples: Pictures that were packed.
        classes: Names of classes in the order of the labels.
        splits: Samples of each split.
        skipped: Files that could not be packed, by reason; `skipped.csv` names them.
    """

    samples: int
    classes: tuple[str, ...]
    splits: Mapping[str, int]
    skipped: Mapping[str, int]


@dataclass
class _Note:
    """What became of the pictures of a shard; lies beside it until all are done.

    Attributes:
        shard: Shard that the pictures belong to, without ending.
        first: Number of the first of them.
        count: How many they are.
        key: Key of the file that was written; empty for none.
        rows: Rows of the manifest.
        skipped: Path and reason of each file that could not be used.
    """

    shard: str
    first: int
    count: int
    key: str
    rows: list[dict[str, Any]]
    skipped: list[tuple[str, str]]


def pack(
    folder: str | Path,
    out: Storage | str | Path | None = None,
    *,
    engine: Engine | None = None,
    advance: Callable[[int], None] = lambda _count: None,
    **settings: Any,
) -> Packed:
    """Pack class folders into shards of random-access JPEG, with `manifest.parquet` beside them.

    The name of a picture's folder is its class; above it may be folders `train`, `val` and
    `test`. Pictures are shuffled, the same each time, so that readers in order need no large
    buffer. They are decoded within bounds of memory and time, in processes, and encoded anew: 8
    bits as JPEG, 16 bits as PNG, float as TIFF. A killed packing goes on where it was; a finished
    one stays as it is. Memory: one picture a process, and 17 bytes a file.

    Args:
        folder: The folder of class folders.
        out: Where shards go; None for the folder's name with `-shards`.
        engine: Where the work runs; None for the processors of this machine.
        advance: Called with the number of files that are done.
        settings: Fields of `PackSettings`, as `size_px=256`.

    Raises:
        NotFoundError: If there is no such folder, or no picture in it.
        ConfigError: If a setting is unknown or out of range, the folders contradict each other, or
            `out` holds something else.
        CorruptDataError: If more files than `max_dropped_share` cannot be used.
    """
    from besana.engines import open_engine

    wanted = parse(PackSettings, settings, where="pack")
    storage = out if isinstance(out, Storage) else open_storage(default_out(folder, out))
    own = storage.url if isinstance(storage, Folder) else ""
    with contextlib.closing(list_files(Path(folder), own, wanted.validation_share)) as files:
        finished = _claim(storage, files, wanted)
        if finished is not None:
            advance(len(files))
            return finished
        _pack(storage, files, wanted, engine or open_engine(), advance)
        return _finish(storage, files, wanted)


def default_out(folder: str | Path, out: str | Path | None) -> str:
    """Say where shards go."""
    return str(out) if out else f"{os.path.normpath(folder)}-shards"


def _pack(
    out: Storage,
    files: FileList,
    settings: PackSettings,
    engine: Engine,
    advance: Callable[[int], None],
) -> None:
    done = _done(out)
    work = partial(pack_shard, root=files.root, out=out, settings=settings)

    def missing() -> Iterator[list[Job]]:
        for jobs in files.shards(settings.shard_bytes, _picture_bytes(files, settings)):
            if done[jobs[0].shard] == len(jobs):
                advance(len(jobs))
            else:
                _forget(out, jobs[0].shard)
                yield jobs

    for count in engine.map(work, missing(), on_death=partial(_died, out=out)):
        advance(count)


def _picture_bytes(files: FileList, settings: PackSettings) -> float:
    """Estimate how large a packed picture is, from the headers of a few."""
    sizes = []
    for path in files.some(_PROBED):
        try:
            header = probe(_read(files.root, path, settings), settings.limits())
        except CorruptDataError:
            continue
        short = min(header.height_px, header.width_px)
        scale = min(1.0, settings.size_px / short) if settings.size_px else 1.0
        sizes.append(header.height_px * header.width_px * scale**2 * _BYTES_PER_PIXEL)
    return float(np.mean(sizes)) if sizes else 1.0


def pack_shard(jobs: Sequence[Job], *, root: str, out: Storage, settings: PackSettings) -> int:
    """Write one shard and a note of what became of its pictures.

    Args:
        jobs: Pictures of one shard; part of them when another part ended the process.
        root: Folder that their paths are below.
        out: Where the shard goes.
        settings: How to pack.

    Returns:
        How many pictures these were.
    """
    import cv2

    cv2.setNumThreads(1)
    shard, first = jobs[0].shard, jobs[0].number
    key = f"{shard}.tfrecord" if not first else f"{shard}.from-{first}.tfrecord"
    note = _Note(shard, first, len(jobs), key, [], [])
    with ShardWriter(out, key) as writer, guarded(settings.bounds()) as start:
        for job in jobs:
            start()
            made = attempt(partial(_picture, root, job, settings))
            if isinstance(made, CorruptDataError):
                note.skipped.append((escape_name(job.path), made.reason))
                continue
            encoded, size = made
            name = escape_name(job.path)
            note.rows.append(_add(writer, name, job.label, encoded, size))
    _write_note(out, note)
    return len(jobs)


def _died(job: Job, *, out: Storage) -> int:
    """Note a picture that ended the process."""
    skipped = [(escape_name(job.path), "decoder_died")]
    _write_note(out, _Note(job.shard, job.number, 1, "", [], skipped))
    return 1


def _read(root: str, path: str, settings: PackSettings) -> bytes:
    return read_stable(root, path, limit_bytes=settings.max_file_bytes, settle_s=0.0).data


def _picture(root: str, job: Job, settings: PackSettings) -> tuple[Encoded, tuple[int, int, int]]:
    """Read, decode, shrink and encode one picture; also give its height, width and channels."""
    pixels = decode(_read(root, job.path, settings), limits=settings.limits()).pixels
    if settings.size_px is not None:
        pixels = resize(pixels, settings.size_px)
    channels = pixels.shape[2]
    if pixels.dtype != np.float32:
        encoded = encode_bands(pixels, {"band": channels}, quality=settings.quality)
    elif channels == 1:
        encoded = Encoded(encode_tiff(pixels), "tiff", {})
    else:
        raise refusal("unsupported_format", f"float samples of {channels} channels")
    return encoded, (pixels.shape[0], pixels.shape[1], channels)


def _add(
    writer: ShardWriter, name: str, label: int, encoded: Encoded, sides: tuple[int, int, int]
) -> dict[str, Any]:
    size = dict(zip(("height_px", "width_px", "channels"), sides, strict=True))
    form = encoded.format
    example = sample_example(name, encoded.main, image_format=form, bands=encoded.bands, **size)
    if label >= 0:
        example["image/class/label"] = label
    split = writer.name.partition("-")[0]
    return {"frame_id": name, **asdict(writer.add(example)), **size, "label": label, "split": split}


def _write_note(out: Storage, note: _Note) -> None:
    key = f"{_NOTES}/{note.shard}.from-{note.first}.json"
    out.write(key, json.dumps(asdict(note)).encode())


def _notes(out: Storage) -> Iterator[_Note]:
    """Read what was noted, in the order of shards."""
    keys = [key.rpartition(".from-") for key in out.list(f"{_NOTES}/")]
    order = sorted((stem, int(first.removesuffix(".json"))) for stem, _, first in keys)
    for stem, first in order:
        yield _Note(**json.loads(out.read(f"{stem}.from-{first}.json")))


def _done(out: Storage) -> Counter[str]:
    """Count the pictures of each shard that are packed already."""
    done: Counter[str] = Counter()
    for note in _notes(out):
        if not note.key or out.size(note.key) is not None:
            done[note.shard] += note.count
    return done


def _forget(out: Storage, shard: str) -> None:
    """Remove what was packed of a shard that has to be packed again."""
    for key in [*out.list(f"{_NOTES}/{shard}.from-"), *out.list(f"{shard}.")]:
        out.delete(key)


def _claim(out: Storage, files: FileList, settings: PackSettings) -> Packed | None:
    """Mark a place as that of this packing; tell what it became if it is finished.

    Raises:
        ConfigError: If it holds another one, or something else.
    """
    mark = {
        "format": 1,
        "files": files.fingerprint,
        "settings": settings.model_dump(exclude=set(_NOT_CLAIMED)),
    }
    if out.size(_MARK) is None:
        found = next(iter(out.list()), None)
        if found is not None:
            raise ConfigError(f"'{out.url}' holds something else: '{found}'.", "Give an empty OUT.")
        out.write(_MARK, json.dumps(mark).encode())
        return None
    there = json.loads(out.read(_MARK))
    other = [key for key in mark if there.get(key) != mark[key]]
    if other:
        what = "files that changed since" if "files" in other else "other settings"
        raise ConfigError(
            f"'{out.url}' was packed from {what}.", "Give another OUT, or delete that one."
        )
    packed = there.get("packed")
    return None if packed is None else Packed(**packed | {"classes": tuple(packed["classes"])})


def _finish(out: Storage, files: FileList, settings: PackSettings) -> Packed:
    """Write the manifest and the list of skipped files."""
    skipped, splits = Counter(files.passed), Counter[str]()
    for note in _notes(out):
        skipped.update(reason for _, reason in note.skipped)
    dropped = skipped.total()
    if dropped > settings.max_dropped_share * (len(files) + files.passed.total()):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in skipped.most_common())
        examples = list(itertools.islice((s[0] for note in _notes(out) for s in note.skipped), 3))
        named = f", as {', '.join(examples)}" if examples else ""
        raise CorruptDataError(
            f"{dropped:,} of {len(files):,} files cannot be packed ({reasons}){named}; at most "
            f"{percent(settings.max_dropped_share)} may.",
            "Repair or remove them, or raise max_dropped_share and run it again.",
        )
    with ManifestWriter(out, classes=files.classes) as manifest:
        for note in _notes(out):
            manifest.write(note.rows)
            splits.update(row["split"] for row in note.rows)
    packed = Packed(manifest.count, files.classes, dict(splits), dict(skipped))
    if skipped:
        _write_skipped(out)
    mark = json.loads(out.read(_MARK))
    out.write(_MARK, json.dumps(mark | {"packed": packed._asdict()}).encode())
    for key in list(out.list(f"{_NOTES}/")):
        out.delete(key)
    return packed


def _write_skipped(out: Storage) -> None:
    with out.open_writer("skipped.csv") as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(("file", "reason"))
        for note in _notes(out):
            writer.writerows(note.skipped)
        text.detach()
