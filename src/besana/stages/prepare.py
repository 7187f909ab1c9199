"""Undistort, cut regions, fuse bands and pack samples into shards.

Reads: frames, issues, quality
Writes: samples, issues, shards/
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from pydantic import Field

from besana import catalog as tables
from besana.catalog import insert
from besana.config import Settings
from besana.engines import Engine
from besana.errors import CorruptDataError, NotReadyError
from besana.images.camera import Camera
from besana.images.cut import recipe
from besana.images.guard import attempt
from besana.images.look import check_bytes
from besana.images.samples import EncodedSample, frame_samples
from besana.progress import track
from besana.shards.example import Feature
from besana.shards.repair import forget_damaged, retry_missing
from besana.shards.writer import Location, ShardWriter, sample_example
from besana.storage import Storage, read_original
from besana.web.report_page import open_report
from besana.workspace import Picture, Pictures, Report, Table, Workspace

EXAMPLE = "besana prepare farm --size-px 320"

_BYTES_PER_PIXEL = 0.4
_PARTITIONS_A_WORKER = 8
_FEWEST_FRAMES, _MOST_SAMPLES = 16, 2048
_NOTHING_INSIDE = "no_region_inside"
_PREVIEWS = 12
_FEWEST_TO_FAIL = 100
_COLUMNS = tuple(tables.samples.columns.keys())
_REGION, _SHARD, _LENGTH = map(_COLUMNS.index, ("region", "shard", "length_bytes"))
_ROWS_AT_ONCE = 500

_T = TypeVar("_T")


class Config(Settings):
    """Settings of `prepare`."""

    size_px: int = Field(
        default=256, ge=16, le=4096, description="Shorter side of a sample; never enlarged to it."
    )
    quality: int = Field(default=90, ge=50, le=100, description="JPEG quality of the samples.")
    shard_bytes: int = Field(
        default=64_000_000, ge=1_000_000, description="A shard is closed above this size."
    )
    max_dropped_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of dropped frames above which a run of 100 frames or more fails.",
    )
    check: bool = Field(
        default=False,
        description="First read all samples; those lost or damaged are prepared again.",
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A frame to prepare; the camera is shared by all jobs of a partition."""

    frame_id: str
    bands: str  # as JSON, a third of what it takes when read
    camera: Camera
    recipe: str


@dataclass
class _Summary:
    """Rows of one partition, and what they cost."""

    done: list[str] = field(default_factory=list)
    samples: list[tuple[Any, ...]] = field(default_factory=list)  # values of _COLUMNS
    issues: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    previews: list[tuple[str, bytes]] = field(default_factory=list)
    decode_s: float = 0.0
    busy_s: float = 0.0


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Prepare every frame that nothing keeps out and that has no samples of today's recipe.

    Memory: one frame in each worker and one partition's rows in the driver.

    Args:
        workspace: Where the frames are and the shards go.
        config: Settings; None means those of the workspace.
        engine: Where the cutting runs; None means the workspace's engine.

    Raises:
        NotReadyError: If there are frames, but nobody looked at any.
    """
    config = config or workspace.settings("prepare", Config)
    engine = engine or workspace.open_engine()
    counted = workspace.catalog.counted
    if counted(tables.frames) and not (counted(tables.quality) or counted(tables.issues)):
        raise NotReadyError("Nobody looked at the frames.", f"Run: besana clean {workspace.word}")
    retry_missing(workspace.catalog)
    damaged = _damaged(workspace) if config.check else 0
    recipes = {
        name: recipe(workspace.camera(name), config.size_px, config.quality)
        for name in counted(tables.frames)
    }
    total = sum(workspace.catalog.count(_work(*item)) for item in recipes.items())
    allowed_share = config.max_dropped_share if total >= _FEWEST_TO_FAIL else 1.0
    with open_report(workspace, "prepare", config, max_dropped_share=allowed_share) as report:
        if config.check:
            report.fact("damaged_samples", damaged)
            report.result(f"{damaged:,} samples were lost or damaged")
        with track("prepare", total) as advance:
            _prepare(workspace, config, engine, recipes, report, advance)
        report.peak_memory_bytes = engine.peak_memory_bytes
    return report


def _damaged(workspace: Workspace) -> int:
    with track("check", sum(workspace.catalog.counted(tables.samples).values())) as advance:
        return forget_damaged(workspace, advance)


def _prepare(
    workspace: Workspace,
    config: Config,
    engine: Engine,
    recipes: Mapping[str, str],
    report: Report,
    advance: Callable[[int], None],
) -> None:
    work = partial(
        prepare_partition, frames=workspace.frames, shards=workspace.shards, config=config
    )
    partitions = _partitions(workspace, config, engine.workers, recipes)
    totals, started, decode_s, busy_s = Counter[str](), time.perf_counter(), 0.0, 0.0
    previews: list[tuple[str, bytes]] = []
    for summary in engine.map(work, partitions, on_death=_died):
        _store(workspace, summary)
        finished = len(summary.done)
        report.count_in(finished + summary.dropped.total())
        report.count_out(finished)
        for reason, count in summary.dropped.items():
            report.drop(reason, count)
        totals.update(
            samples=len(summary.samples),
            shards=len({row[_SHARD] for row in summary.samples}),
            bytes=sum(row[_LENGTH] for row in summary.samples),
        )
        totals.update(f"region {row[_REGION]}" for row in summary.samples)
        decode_s += summary.decode_s
        busy_s += summary.busy_s
        previews += summary.previews[: _PREVIEWS - len(previews)]
        advance(finished + summary.dropped.total())
    if report.counts_in:
        _describe(report, totals, time.perf_counter() - started, previews)
        # How fast the same workers would have been in the same run, had they only decoded.
        report.fact(
            "decode_limit_frames_per_s", _rate(engine.workers * report.counts_out, decode_s)
        )
        report.fact("decode_limit_share", round(decode_s / max(busy_s, 1e-9), 3))


def _describe(
    report: Report, totals: Counter[str], seconds: float, previews: Sequence[tuple[str, bytes]]
) -> None:
    report.fact("samples", totals["samples"])
    report.fact("shards", totals["shards"])
    report.fact("shard_bytes", totals["bytes"])
    report.fact("frames_per_s", _rate(report.counts_out, seconds))
    report.fact("samples_per_s", _rate(totals["samples"], seconds))
    rows = sorted(
        (key.removeprefix("region "), count)
        for key, count in totals.items()
        if key.startswith("region ")
    )
    report.add(Table("Samples by region", ("region", "samples"), rows[:1000]))
    items = [Picture(data, caption) for caption, data in previews]
    report.add(Pictures("First samples", items))


def _rate(count: int, seconds: float) -> float:
    return round(count / max(seconds, 1e-9), 1)


def _work(camera: str, recipe_name: str) -> sa.Select[Any]:
    """Select the frames of a camera that were looked at, may go on, and lack samples."""
    frames, samples, issues = tables.frames.c, tables.samples.c, tables.issues.c
    measured = sa.exists().where(tables.quality.c.frame_id == frames.id)
    kept_out = sa.exists().where(
        issues.frame_id == frames.id,
        issues.blocks | ((issues.kind == _NOTHING_INSIDE) & (issues.detail == recipe_name)),
    )
    prepared = sa.exists().where(samples.frame_id == frames.id, samples.recipe == recipe_name)
    return sa.select(frames.id, sa.cast(frames.bands, sa.Text).label("bands")).where(
        frames.id >= f"{camera}/",
        frames.id < f"{camera}0",  # "0" follows "/": the primary key's index finds the camera
        measured,
        ~kept_out,
        ~prepared,
    )


def _partitions(
    workspace: Workspace, config: Config, workers: int, recipes: Mapping[str, str]
) -> Iterator[list[_Job]]:
    """Yield partitions of one camera and of a length that does not depend on what is done.

    So a run that was killed goes on with the same partitions, and writes the same shards.
    """
    even = sum(workspace.catalog.counted(tables.frames).values()) // (
        workers * _PARTITIONS_A_WORKER
    )
    for name, recipe_name in recipes.items():
        camera = workspace.camera(name)
        length = max(min(even, _most_frames(workspace, config, name)), _FEWEST_FRAMES)
        pages = workspace.catalog.pages(_work(name, recipe_name), [tables.frames.c.id])
        jobs = (_Job(row.id, row.bands, camera, recipe_name) for page in pages for row in page)
        while partition := list(itertools.islice(jobs, length)):
            yield partition


def _most_frames(workspace: Workspace, config: Config, name: str) -> int:
    """Estimate how many frames of a camera fill a shard."""
    quality = tables.quality.c
    select = sa.select(quality.width_px, quality.height_px, quality.channels).where(
        quality.frame_id >= f"{name}/", quality.frame_id < f"{name}0"
    )
    rows = workspace.catalog.rows(select.order_by(quality.frame_id).limit(1))
    if not rows:
        return _FEWEST_FRAMES
    width, height, channels = tuple(rows[0])
    camera = workspace.camera(name)
    regions = camera.region_list((width, height))
    pixels = 0.0
    for box in (region.box for region in regions):
        scale = min(1.0, config.size_px / min(box.width, box.height))
        pixels += box.width * box.height * scale**2
    frame_bytes = pixels * _BYTES_PER_PIXEL * (channels / 3) * (camera.depth_bits / 8)
    return min(int(config.shard_bytes / max(frame_bytes, 1)), _MOST_SAMPLES // len(regions))


def prepare_partition(
    jobs: Sequence[_Job], *, frames: Storage, shards: Storage, config: Config
) -> _Summary:
    """Write the samples of some frames of one camera to shards named after them."""
    import cv2

    cv2.setNumThreads(1)
    summary, started, now = _Summary(), time.perf_counter(), dt.datetime.now(dt.UTC)
    digest = hashlib.sha256("\n".join(job.frame_id for job in jobs).encode()).hexdigest()[:16]
    with _ShardSeries(shards, f"{jobs[0].recipe}/{digest}", config.shard_bytes) as series:
        for job in jobs:
            outcome = attempt(partial(_samples, job, frames, config))
            if isinstance(outcome, CorruptDataError):
                _refuse(summary, job, outcome.reason, str(outcome))
                continue
            samples, decode_s = outcome
            summary.decode_s += decode_s
            summary.samples.extend(_add(series, job, sample, now) for sample in samples)
            if samples:
                summary.done.append(job.frame_id)
                room = _PREVIEWS - len(summary.previews)
                summary.previews += [
                    (f"{job.frame_id}/{sample.region}", sample.encoded.main)
                    for sample in samples[:room]
                ]
            else:
                _refuse(summary, job, _NOTHING_INSIDE, job.recipe, blocks=False)
    summary.busy_s = time.perf_counter() - started
    return summary


class _ShardSeries:
    """Write samples to shards one after the other, each closed above a size."""

    def __init__(self, storage: Storage, prefix: str, shard_bytes: int) -> None:
        self._storage = storage
        self._prefix = prefix
        self._shard_bytes = shard_bytes
        self._count = 0
        self._stack = contextlib.ExitStack()
        self._writer: ShardWriter | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, example: Mapping[str, Feature]) -> Location:
        if self._writer is None:
            name = f"{self._prefix}-{self._count:03d}.tfrecord"
            self._writer = self._stack.enter_context(ShardWriter(self._storage, name))
            self._count += 1
        location = self._writer.add(example)
        if self._writer.size_bytes >= self._shard_bytes:
            self._stack.close()
            self._writer = None
        return location

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _samples(job: _Job, frames: Storage, config: Config) -> tuple[list[EncodedSample], float]:
    files = {
        band["band"]: check_bytes(read_original(frames, band["key"]), band["sha256"])
        for band in json.loads(job.bands)
    }
    return frame_samples(files, job.camera, size_px=config.size_px, quality=config.quality)


def _add(
    series: _ShardSeries, job: _Job, sample: EncodedSample, now: dt.datetime
) -> tuple[Any, ...]:
    """Write one sample and return its row, as the values of `_COLUMNS`."""
    size = {
        "height_px": sample.height_px,
        "width_px": sample.width_px,
        "channels": sample.channels,
    }
    example = sample_example(
        f"{job.frame_id}/{sample.region}",
        sample.encoded.main,
        image_format=sample.encoded.format,
        bands=sample.encoded.bands,
        **size,
    )
    row = {
        "frame_id": job.frame_id,
        "region": sample.region,
        "recipe": job.recipe,
        **asdict(series.add(example)),
        **size,
        "prepared_at": now,
    }
    return tuple(row[name] for name in _COLUMNS)


def _died(job: _Job) -> _Summary:
    summary = _Summary()
    _refuse(summary, job, "decoder_died", "preparing it ended the process")
    return summary


def _refuse(summary: _Summary, job: _Job, kind: str, detail: str, *, blocks: bool = True) -> None:
    summary.dropped[kind] += 1
    summary.issues.append(
        {
            "frame_id": job.frame_id,
            "kind": kind,
            "stage": "prepare",
            "blocks": blocks,
            "score": None,
            "detail": detail,
            "found_at": dt.datetime.now(dt.UTC),
        }
    )


def _store(workspace: Workspace, summary: _Summary) -> None:
    """Put one partition's rows in place of those of earlier recipes, all or nothing."""
    samples, issues = tables.samples, tables.issues
    retire = sa.delete(samples).where(samples.c.frame_id == sa.bindparam("id"))
    forget = sa.delete(issues).where(
        issues.c.frame_id == sa.bindparam("id"), issues.c.kind == _NOTHING_INSIDE
    )
    empty = [row["frame_id"] for row in summary.issues if row["kind"] == _NOTHING_INSIDE]
    with workspace.catalog.transaction() as connection:
        for part in _parts([*summary.done, *empty]):
            replaced = [{"id": frame_id} for frame_id in part]
            connection.execute(retire, replaced)
            connection.execute(forget, replaced)
        for part in _parts(summary.samples):
            insert(connection, samples, [dict(zip(_COLUMNS, row, strict=True)) for row in part])
        insert(connection, issues, summary.issues)


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _ROWS_AT_ONCE):
        yield items[start : start + _ROWS_AT_ONCE]
