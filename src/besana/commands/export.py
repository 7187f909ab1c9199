"""Copy labels, samples or models out, for people, other tools and devices.

Reads: labels, frames, datasets/<name>/<version>, shards, models/<name>/<version>
Writes: OUT: labels, class folders, TFRecord files or a model; models/<name>/<version>/onnx
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar

import sqlalchemy as sa
import typer
from pydantic import Field

from besana import catalog as tables
from besana.config import Settings
from besana.engines import Engine
from besana.engines.local import LocalEngine
from besana.errors import ConfigError, CorruptDataError, NotReadyError
from besana.labels.coco import write_coco
from besana.labels.csv import EXPORTED
from besana.labels.current import CurrentLabel, current_class_labels, current_label
from besana.labels.current import labelled_samples as labelled
from besana.labels.cvat import write_cvat
from besana.labels.exports import labelled_frames
from besana.labels.folders import NO_CLASS, class_folder, sample_file
from besana.labels.label_studio import write_label_studio
from besana.labels.labelled import is_multi
from besana.labels.tables import write_rows
from besana.progress import track
from besana.storage import Folder, Storage, open_storage
from besana.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from besana.shards.manifest import Manifest

Item = TypeVar("Item")

EXAMPLE = "besana export farm labels labels.csv"
ARGUMENTS = ("farm", "what", "out")

_BATCH = 400
_WRITERS = 8
_MARK = "besana-export.json"
_ENDINGS = {"jpeg": "jpg", "png": "png"}
_CURRENT = (
    *("frame", "name", "camera", "captured_at", "region", "class", "holds"),
    *("votes", "voters", "tied"),
)


class Config(Settings):
    """What to copy and where to."""

    what: Literal["labels", "folders", "tfrecord", "onnx", "edge"] = Field(
        description="A file of labels, class folders of a dataset's samples, TFRecord files, a"
        " model as ONNX, or all that a device needs to run it."
    )
    out: str = Field(
        default="",
        description="File, folder or bucket to write; onnx: empty for the model's own folder only.",
    )
    format: Literal["csv", "label-studio", "cvat", "coco"] = Field(
        default="csv",
        description="Labels: CSV, tasks of Label Studio (JSON), CVAT for images 1.1 (XML) or COCO"
        " with image tags (JSON).",
    )
    current: bool = Field(
        default=False,
        description="Labels: the current label of each sample instead of every label event.",
    )
    dataset: str = Field(default="default", description="Samples: name of the dataset.")
    version: int | None = Field(
        default=None, ge=1, description="Samples: version of the dataset; empty: the last one."
    )
    split: str = Field(default="", description="Samples: only this split; empty: all.")
    model: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Model: its name.",
    )
    model_version: str = Field(
        default="champion", description="Model: champion, challenger or a number."
    )
    precision: list[Literal["fp32", "fp16", "int8"]] = Field(
        default=["fp32", "fp16", "int8"], description="Model: which files; fp32 is always made."
    )
    tracking_uri: str = Field(
        default="",
        description="Model: MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )


def run(workspace: Workspace, config: Config, engine: Engine | None = None) -> int:
    """Copy labels, samples or a model; a killed copy continues, a finished one stays as it is.

    Args:
        workspace: What is copied from.
        config: What and where to.
        engine: Where samples are copied; on one machine this process does that with threads.

    Returns:
        How many rows, samples or files of a model were written or were there already.

    Raises:
        NotReadyError: If there is no label or no dataset yet.
        ConfigError: If the place holds something else.
    """
    if config.what in ("onnx", "edge"):
        from besana.commands.model_export import export_registered

        return export_registered(
            workspace,
            config.model,
            config.model_version,
            config.out,
            precision=config.precision,
            tracking_uri=config.tracking_uri,
            for_device=config.what == "edge",
        )
    if not config.out:
        raise ConfigError(f"Where to write the {config.what} is missing.", "Give OUT.")
    if config.what == "labels":
        path = Path(config.out)
        count = export_labels(workspace, path, format=config.format, current=config.current)
    else:
        count = _export_samples(workspace, config, engine)
    typer.echo(f"{count:,} {'labels' if config.what == 'labels' else 'samples'} in {config.out}")
    return count


def _export_samples(workspace: Workspace, config: Config, engine: Engine | None) -> int:
    from besana.shards.datasets import open_dataset

    dataset = open_dataset(workspace, config.dataset, config.version)
    out = open_storage(config.out)
    mark = {"what": config.what, "dataset": dataset.place, "hash": dataset.hash}
    _claim(out, {**mark, "split": config.split})
    copy = export_folders if config.what == "folders" else _export_tfrecord
    elsewhere = None if isinstance(engine, LocalEngine) else engine
    return copy(dataset.manifest(), workspace.shards, out, split=config.split, engine=elsewhere)


def export_labels(
    workspace: Workspace, path: Path, *, format: str = "csv", current: bool = False
) -> int:
    """Write labels to a file; what is written can be imported again and then adds nothing.

    Args:
        workspace: Where the labels are.
        path: The file; it appears when it is whole.
        format: `csv`, `label-studio`, `cvat` or `coco`.
        current: Write the current label of each sample instead of the events.

    Raises:
        NotReadyError: If there are no labels.
    """
    if not workspace.catalog.counted(tables.labels):
        raise NotReadyError(
            f"No labels in '{workspace.name}'.", f"Run: besana label {workspace.word} FILE"
        )
    path = path.absolute()
    with Folder(path.parent).open_writer(path.name) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        with track("export", None) as advance:
            write = _write_table if format == "csv" else partial(_write_frames, format)
            count = write(workspace, text, current, advance)
        text.detach()
    return count


def _write_table(workspace: Workspace, file: TextIO, current: bool, advance: Any) -> int:
    rows = _current_rows(workspace) if current else _event_rows(workspace)
    return write_rows(file, _CURRENT if current else EXPORTED, _counted(rows, advance))


def _write_frames(
    format: str, workspace: Workspace, file: TextIO, current: bool, advance: Any
) -> int:
    classes = sorted(workspace.catalog.counted(tables.labels))
    frames = _counted(labelled_frames(workspace.catalog, current=current), advance)
    if format == "label-studio":
        return write_label_studio(file, frames)
    if format == "cvat":
        return write_cvat(file, frames, classes)
    return write_coco(file, frames, classes, workspace.temporary)


def _counted(items: Iterable[Item], advance: Any) -> Iterator[Item]:
    for item in items:
        advance(1)
        yield item


def _event_rows(workspace: Workspace) -> Iterator[Sequence[str]]:
    for events in labelled(workspace.catalog):
        for event in events:
            yield (
                event.frame_id,
                event.region,
                event.class_name,
                str(event.holds).lower(),
                event.annotator,
                event.labelled_at.isoformat(timespec="microseconds"),
                event.source,
                event.note,
            )


def _current_rows(workspace: Workspace) -> Iterator[Sequence[str]]:
    multi = is_multi(workspace.catalog)
    samples = labelled(workspace.catalog)
    while batch := list(itertools.islice(samples, _BATCH)):
        ids = {events[0].frame_id for events in batch}
        select = sa.select(tables.frames).where(tables.frames.c.id.in_(ids))
        frames = {row.id: row for row in workspace.catalog.rows(select)}
        for events in batch:
            one = current_label(events)
            labels = current_class_labels(events).values() if multi else ([one] if one else [])
            for label in sorted(labels, key=lambda label: label.class_name):
                yield _current_row(events[0], frames.get(events[0].frame_id), label)


def _current_row(
    event: sa.Row[Any], frame: sa.Row[Any] | None, label: CurrentLabel
) -> Sequence[str]:
    captured_at = frame.captured_at.isoformat() if frame and frame.captured_at else ""
    return (
        event.frame_id,
        frame.name if frame else "",
        frame.camera if frame else "",
        captured_at,
        event.region,
        label.class_name,
        str(label.holds).lower(),
        str(label.votes),
        str(label.voters),
        str(label.tied).lower(),
    )


def export_folders(
    manifest: Manifest,
    shards: Storage,
    out: Storage,
    *,
    split: str = "",
    engine: Engine | None = None,
) -> int:
    """Write the samples of a dataset as `<split>/<class>/<sample>.jpg`.

    Somebody may move files to other classes and import the folder with `besana label`. A sample
    of several classes is in the folder of each, one of none in `_none`. Of a sample with
    several bands the first picture is written.

    Args:
        manifest: The dataset.
        shards: Where its shards lie.
        out: Where to; files that are there already stay.
        split: Only this split; empty for all.
        engine: Writes the files, where it runs; None for this process.

    Raises:
        CorruptDataError: If a record does not match its checksum.
    """
    positions = manifest.select(split or None)
    batches = (positions[start : start + _BATCH] for start in range(0, len(positions), _BATCH))
    written: Iterator[int]
    if engine is None:
        written = (_write_samples(manifest, batch, shards, out) for batch in batches)
    else:
        place = manifest.storage.url, manifest.key, manifest.fingerprint
        write = partial(_write_elsewhere, place=place, shards=shards, out=out)
        written = engine.map(write, (batch.tolist() for batch in batches))
    with track("export", len(positions)) as advance:
        for count in written:
            advance(count)
    return len(positions)


def _write_elsewhere(
    positions: Sequence[int], *, place: tuple[str, str, str], shards: Storage, out: Storage
) -> int:
    """Write some samples where an engine runs."""
    import numpy as np

    from besana.shards.export import opened_manifest

    return _write_samples(opened_manifest(*place), np.array(positions), shards, out)


def _write_samples(
    manifest: Manifest, positions: NDArray[np.int64], shards: Storage, out: Storage
) -> int:
    places = zip(positions.tolist(), manifest.identities(positions), strict=True)
    jobs = [(p, _folders(manifest, p), row["frame_id"], row["region"]) for p, row in places]
    with ThreadPoolExecutor(_WRITERS) as writers:
        return sum(1 for _ in writers.map(partial(_write_sample, manifest, shards, out), jobs))


def _export_tfrecord(
    manifest: Manifest, shards: Storage, out: Storage, *, split: str, engine: Engine | None
) -> int:
    from besana.shards.export import export_tfrecord

    count = len(manifest.select(split or None))
    with track("export", count) as advance:
        return export_tfrecord(manifest, shards, out, split=split, advance=advance, engine=engine)


def _claim(out: Storage, record: dict[str, str]) -> None:
    """Mark a place as the copy of one dataset, or find that it is one already."""
    mark = json.dumps(record, indent=1).encode()
    if out.size(_MARK) is not None:
        if out.read(_MARK) == mark:
            return
    elif next(out.list(), None) is None:
        out.write(_MARK, mark)
        return
    raise ConfigError(f"'{out.url}' holds something else.", "Choose an empty folder.")


def _folders(manifest: Manifest, position: int) -> list[str]:
    split = manifest.splits[manifest.split[position]]
    above = f"{split}/" if split else ""
    if manifest.labels is not None:
        held = [manifest.classes[i] for i in manifest.labels[position].nonzero()[0]]
    else:
        label = int(manifest.label[position])
        held = [manifest.classes[label]] if label >= 0 else []
    return [f"{above}{class_folder(name)}" for name in held] or [f"{above}{NO_CLASS}"]


def _write_sample(
    manifest: Manifest, shards: Storage, out: Storage, job: tuple[int, list[str], str, str]
) -> None:
    from besana.shards.example import parse_example
    from besana.shards.tfrecord import open_record

    position, folders, frame_id, region = job
    place = manifest.location(position)
    framed = shards.read_range(place.shard, place.offset_bytes, place.length_bytes)
    where = f"{place.shard} at byte {place.offset_bytes}"
    example = parse_example(open_record(memoryview(framed), crc=place.crc32c, where=where))
    (image_format,), (encoded,) = example["image/format"], example["image/encoded"]
    if not (isinstance(image_format, bytes) and isinstance(encoded, bytes)):
        raise CorruptDataError(f"{where} holds no picture.", "Run: besana prepare")
    file = sample_file(frame_id, region, _ENDINGS[image_format.decode()])
    for folder in folders:
        out.write(f"{folder}/{file}", encoded, replace=False)
