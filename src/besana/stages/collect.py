"""Take images from folders into the workspace.

Reads: folders or buckets of pictures, remotes of rclone, a CSV of metadata
Writes: frames, issues, labels
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field

from besana import catalog as tables
from besana.buckets.listing import (
    Entry,
    find_in_bucket,
    is_bucket,
    list_bucket,
    read_found,
    read_listing,
)
from besana.buckets.rclone import copied, is_remote, list_remote
from besana.catalog import Catalog, insert
from besana.config import Settings
from besana.engines import Engine
from besana.errors import CorruptDataError
from besana.images.files import escape_name, id_part
from besana.images.header import Limits
from besana.images.intake import (
    FrameToRead,
    ReadFrame,
    Reading,
    file_uri,
    read_frame,
    unread_frame,
)
from besana.images.layouts import (
    FoundFrame,
    Passed,
    Source,
    camera_of,
    detect_layout,
    find_frames,
)
from besana.images.regions import WHOLE
from besana.labels.events import Event, event_row
from besana.labels.metadata import MetadataTable, open_metadata
from besana.progress import track
from besana.sources import read_sources
from besana.storage import Storage
from besana.web.report_page import open_report
from besana.workspace import Report, Table, Workspace

ARGUMENTS = ("farm", "source")
EXAMPLE = "besana collect farm /media/card/DCIM"

# A worker holds at most this many frames at a time; while one waits for the disk, others go on.
_READERS = 4
_PARTITION = 100
_LOOK_UP = 400


class Config(Settings):
    """Settings of `collect`."""

    source: list[str] = Field(
        default=[],
        description="Folders, buckets (s3://bucket/prefix) or rclone:REMOTE:path to collect from,"
        " relative ones from here or the workspace.",
    )
    listing: str = Field(
        default="",
        description="With a bucket: an S3 inventory's manifest.json or a CSV with a column key,"
        " instead of listing it.",
    )
    layout: Literal["auto", "folder", "classes", "bands", "agriculture_vision"] = Field(
        default="auto",
        description="How the folders are laid out: plain folders (one a camera), one folder a"
        " class, one folder a band, Agriculture-Vision; auto looks.",
    )
    in_place: bool = Field(
        default=False, description="Leave the pictures where they are instead of copying them."
    )
    metadata: Path | None = Field(
        default=None,
        description="CSV with columns about the files; 'camera' and 'captured_at' are understood.",
    )
    metadata_name: str = Field(
        default="", description="Its column of file names; empty: file, frame, image, name, ..."
    )
    annotator: str = Field(
        default="import", min_length=1, description="Whose word the class folders and masks are."
    )
    mask_share: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Share of the valid pixels that a class's mask must cover for it to hold.",
    )
    max_file_bytes: int = Field(
        default=50_000_000, ge=1, description="Files above this size are not read."
    )
    max_pixels: int = Field(
        default=40_000_000, ge=1, description="Pictures above this many pixels are kept out."
    )
    settle_s: float = Field(
        default=1.0, ge=0, le=60, description="Seconds without a change until a file is complete."
    )
    max_dropped_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of dropped frames above which the run fails."
    )


@dataclass
class Summary:
    """The rows of one partition, and what could not become a row."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, read: ReadFrame, annotator: str, now: dt.datetime) -> None:
        """Add the rows of one frame."""
        self.frames.append(read.row)
        frame_id = read.row["id"]
        self.issues.extend(
            {
                "frame_id": frame_id,
                "kind": issue.kind,
                "stage": "collect",
                "blocks": issue.blocks,
                "score": None,
                "detail": issue.detail,
                "found_at": now,
            }
            for issue in read.issues
        )
        self.labels.extend(
            event_row(Event(frame_id, WHOLE, name, holds, annotator, "collect"), now)
            for name, holds in read.classes.items()
        )


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Collect what is new in the source folders; memory does not grow with their size.

    Args:
        workspace: Where the frames go.
        config: Settings; None means those of the workspace.
        engine: Where files are read and copied; None means the workspace's engine.

    Raises:
        ConfigError: If there is no source, or one lies inside another.
        NotFoundError: If a source is not there.
    """
    config = config or workspace.settings("collect", Config)
    engine = engine or workspace.open_engine()
    sources = read_sources(workspace, config.source, in_place=config.in_place)
    reading = Reading(
        limits=Limits(file_bytes=config.max_file_bytes, pixels=config.max_pixels),
        settle_s=config.settle_s,
        in_place=config.in_place,
        mask_share=config.mask_share,
        now=dt.datetime.now(dt.UTC),
        remote=read_found,
    )
    allowed = config.max_dropped_share
    with (
        open_report(workspace, "collect", config, max_dropped_share=allowed) as report,
        track("collect", None) as advance,
        _opened_metadata(workspace, config) as metadata,
    ):
        walk = _Walk(workspace, config, metadata, report)
        collect = functools.partial(
            collect_partition, frames=workspace.frames, reading=reading, annotator=config.annotator
        )
        lost = functools.partial(_lost, reading=reading)
        new: Counter[str] = Counter()
        for summary in engine.map(collect, walk.partitions(sources), on_death=lost):
            new += _store(workspace.catalog, summary, report)
            advance(len(summary.frames) + summary.dropped.total())
        report.peak_memory_bytes = engine.peak_memory_bytes
        _describe(report, walk, new)
    return report


def collect_partition(
    frames_to_read: Sequence[FrameToRead], *, frames: Storage, reading: Reading, annotator: str
) -> Summary:
    """Read and keep some frames; what is in the storage already is not written again.

    Args:
        frames_to_read: Frames that are not in the catalog.
        frames: Where the bytes are kept, by their hash.
        reading: How files are read.
        annotator: Whose word the classes of the frames are.
    """
    summary = Summary()
    with copied(frames_to_read, reading) as here, ThreadPoolExecutor(_READERS) as readers:
        for read in readers.map(functools.partial(_read_and_keep, frames, here), frames_to_read):
            if isinstance(read, str):
                summary.dropped[read] += 1
            else:
                summary.add(read, annotator, reading.now)
    return summary


def _read_and_keep(frames: Storage, reading: Reading, frame: FrameToRead) -> ReadFrame | str:
    try:
        read = read_frame(frame, reading)
    except CorruptDataError as error:
        return error.reason
    while read.files:
        key, data = read.files.pop()  # so that the bytes do not outlive their writing
        if frames.size(key) != len(data):
            frames.write(key, data)
    return read


def _lost(frame: FrameToRead, *, reading: Reading) -> Summary:
    summary = Summary()
    summary.add(unread_frame(frame, "decoder_died", reading), "", reading.now)
    return summary


def _store(catalog: Catalog, summary: Summary, report: Report) -> Counter[str]:
    """Write the rows of one partition in one transaction and count them.

    A file that was only touched gives a frame that is there already: its time of change is
    noted, so that the next run need not read it again.
    """
    ids = [row["id"] for row in summary.frames]
    with catalog.transaction() as connection:
        there = set(
            connection.scalars(sa.select(tables.frames.c.id).where(tables.frames.c.id.in_(ids)))
        )
        for row in summary.frames:
            if row["id"] in there:
                connection.execute(
                    sa.update(tables.frames)
                    .where(tables.frames.c.id == row["id"])
                    .values({name: row[name] for name in ("source", "source_modified_ns")})
                )
        frames = list({row["id"]: row for row in summary.frames if row["id"] not in there}.values())
        issues = [row for row in summary.issues if row["frame_id"] not in there]
        labels = [row for row in summary.labels if row["frame_id"] not in there]
        insert(connection, tables.frames, frames)
        insert(connection, tables.issues, issues)
        insert(connection, tables.labels, labels)
    blocked = {row["frame_id"]: row["kind"] for row in reversed(issues) if row["blocks"]}
    for reason, count in (summary.dropped + Counter(blocked.values())).items():
        report.drop(reason, count)
    report.count_in(len(frames) + summary.dropped.total())
    report.count_out(len(frames) - len(blocked))
    totals = Counter(f"issue {row['kind']}" for row in issues)
    totals.update(f"camera {row['camera']}" for row in frames)
    totals.update(f"time {row['time_source']}" for row in frames)
    totals.update(labels=len(labels), bytes=sum(row["size_bytes"] for row in frames))
    totals.update(unchanged=len(summary.frames) - len(frames))
    return totals


class _Walk:
    """Walks the sources in the driver: what is new becomes partitions, the rest is counted."""

    def __init__(
        self, workspace: Workspace, config: Config, metadata: MetadataTable | None, report: Report
    ) -> None:
        self.ignored: Counter[str] = Counter()
        self.layouts: dict[str, str] = {}
        self.already_collected = 0
        self.without_metadata = 0
        self._workspace = workspace
        self._camera = functools.cache(workspace.camera)
        self._config = config
        self._metadata = metadata
        self._report = report

    def partitions(self, sources: Iterable[Source]) -> Iterator[list[FrameToRead]]:
        """Yield what is new, in lists of bounded length."""
        waiting: list[FrameToRead] = []
        found = itertools.chain.from_iterable(map(self._found, sources))
        while batch := list(itertools.islice(found, _LOOK_UP)):
            waiting.extend(self._new(batch))
            while len(waiting) >= _PARTITION:
                yield waiting[:_PARTITION]
                del waiting[:_PARTITION]
        if waiting:
            yield waiting

    def _items(self, source: Source) -> Iterator[FoundFrame | Passed]:
        root, layout = source.root, self._config.layout
        if is_bucket(root) or is_remote(root):
            entries = self._entries(root)
            self.layouts[root] = "classes" if layout == "classes" else "folder"
            return find_in_bucket(root, next(iter(source.bands)), layout, entries)
        layout = detect_layout(source, self._workspace.cameras) if layout == "auto" else layout
        self.layouts[root] = layout
        return find_frames(source, layout)

    def _entries(self, root: str) -> Iterator[Entry]:
        listing, kept = self._config.listing, self._workspace.temporary
        if is_remote(root):
            return list_remote(root, kept)
        return read_listing(root, listing) if listing else list_bucket(root, kept)

    def _found(self, source: Source) -> Iterator[FoundFrame]:
        for item in self._items(source):
            if isinstance(item, FoundFrame):
                yield item
            elif item.reason == "ignored":
                self.ignored[_ending(item.name)] += 1
            else:
                self._report.count_in()
                self._report.drop(item.reason)

    def _new(self, batch: Sequence[FoundFrame]) -> list[FrameToRead]:
        """Leave out what the catalog has from the same place with the same size and time."""
        frames = tables.frames.c
        names = [escape_name(found.name) for found in batch]
        select = sa.select(frames.source, frames.source_size_bytes, frames.source_modified_ns)
        rows = self._workspace.catalog.rows(select.where(frames.name.in_(names)))
        there = {tuple(row) for row in rows}
        new = [
            self._frame_to_read(found)
            for found in batch
            if (file_uri(found, found.name), found.size_bytes, found.modified_ns) not in there
        ]
        self.already_collected += len(batch) - len(new)
        return new

    def _frame_to_read(self, found: FoundFrame) -> FrameToRead:
        camera = camera_of(found, self._workspace.cameras)
        camera = camera or _camera_of_folder(found.folder, self._workspace)
        metadata = None
        if self._metadata is not None:
            metadata = self._metadata.find(escape_name(found.name), camera)
            self.without_metadata += metadata is None
        if metadata and metadata.get("camera"):
            camera = _camera_of_folder(metadata["camera"], self._workspace)
        return FrameToRead(found, self._camera(camera), metadata or {})


def _camera_of_folder(name: str, workspace: Workspace) -> str:
    return name if name in workspace.cameras else id_part(name or "default")


def _ending(path: str) -> str:
    name = escape_name(path.rpartition("/")[2])
    return name.rpartition(".")[2].lower()[:20] if "." in name else "none"


def _opened_metadata(
    workspace: Workspace, config: Config
) -> contextlib.AbstractContextManager[MetadataTable | None]:
    if config.metadata is None:
        return contextlib.nullcontext()
    path, below = config.metadata.expanduser(), workspace.path / config.metadata
    path = below if below.exists() and not path.exists() else path
    return open_metadata(path, config.metadata_name, workspace.temporary)


def _describe(report: Report, walk: _Walk, new: Counter[str]) -> None:
    report.fact("already_collected", walk.already_collected + new["unchanged"])
    report.fact("ignored", walk.ignored.total())
    report.fact("collected_bytes", new["bytes"])
    report.fact("labels_added", new["labels"])
    report.fact("frames_without_time", new["time none"])
    report.fact("frames_without_metadata", walk.without_metadata)
    layouts = [(escape_name(root), layout) for root, layout in walk.layouts.items()]
    report.add(Table("Sources", ("folder", "layout"), layouts))
    report.add(_table("New frames by camera", "camera", new))
    report.add(_table("Issues", "issue", new))
    report.add(_table("Where the time comes from", "time", new))
    ignored = Counter({f"ending {ending}": count for ending, count in walk.ignored.items()})
    report.add(_table("Files that are no pictures", "ending", ignored))


def _table(title: str, what: str, counts: Counter[str]) -> Table:
    prefix = f"{what} "
    rows = [(key.removeprefix(prefix), n) for key, n in counts.items() if key.startswith(prefix)]
    return Table(title, (what, "files"), sorted(rows, key=lambda row: (-row[1], row[0]))[:1000])
