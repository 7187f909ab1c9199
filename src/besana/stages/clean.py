"""Judge every frame: quality, duplicates, a moved camera.

Reads: frames
Writes: issues, quality
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import Field

from besana import catalog as tables
from besana.catalog import insert
from besana.engines import Engine
from besana.images.guard import Bounds
from besana.images.judge import JUDGED, Rules
from besana.images.look import FrameJob, Looks, died, look_partition
from besana.images.population import Population, windows_s
from besana.images.shift import (
    FEWEST_FOR_REFERENCE,
    read_reference,
    reference_of,
    reference_text,
    thumbnail_shift_px,
)
from besana.progress import track
from besana.storage import read_original
from besana.web.clean_sections import describe_issues, describe_moves
from besana.web.report_page import open_report
from besana.workspace import Report, Table, Workspace

EXAMPLE = "besana clean farm --blur-below 40"

_PARTITION, _REFERENCE_POOL, _FEWEST_TO_FAIL = 64, 600, 100
_PARTITIONS_A_WORKER, _FEWEST = 4, 8
_REFERENCE, _JUDGED_STATE = "clean.reference/", "clean.judged"
_THRESHOLDS = ("dark_below", "overexposed_above", "blur_below", "low_information_below")


class Config(Rules, Bounds):
    """Settings of `clean`."""

    pictures: int = Field(
        default=12, ge=0, le=100, description="Worst pictures of each kind on the report's page."
    )
    max_dropped_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of dropped frames above which a run of 100 frames or more fails.",
    )


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Look once at every new frame, then judge all frames by what was measured.

    Memory: 8 bytes a frame in the driver, some 40 more for one that is compared with all others
    (it has no time, or its camera no fixed view), and one picture in each worker.

    Args:
        workspace: Where the frames are.
        config: Settings; None means those of the workspace.
        engine: Where the looking runs; None means the workspace's engine.
    """
    config = config or workspace.settings("clean", Config)
    engine = engine or workspace.open_engine()
    _forget_refusals(workspace, config)
    total = workspace.catalog.count(_work())
    allowed_share = config.max_dropped_share if total >= _FEWEST_TO_FAIL else 1.0
    with open_report(workspace, "clean", config, max_dropped_share=allowed_share) as report:
        if not workspace.catalog.counted(tables.frames):
            report.warn("There are no frames yet: collect some first.")
        new = _look(workspace, config, engine, report, total)
        if _property(workspace, _JUDGED_STATE) != _state(workspace, config):
            _judge(workspace, config, report, new)
            describe_issues(
                *(workspace, report, engine),
                blocking=config.blocking,
                pictures=config.pictures,
                limits=config.limits(),
            )
        report.peak_memory_bytes = engine.peak_memory_bytes
    return report


def _issue(
    frame_id: str, kind: str, blocks: bool, detail: str | None, score: float | None = None
) -> dict[str, Any]:
    return {
        "frame_id": frame_id,
        "kind": kind,
        "stage": "clean",
        "blocks": blocks,
        "score": score,
        "detail": detail,
        "found_at": dt.datetime.now(dt.UTC),
    }


def _forget_refusals(workspace: Workspace, config: Config) -> None:
    """Look again at frames that were missing, and at all refused ones if settings changed."""
    issues = tables.issues.c
    decoding = {
        "bounds": config.bounds().model_dump(),
        "cameras": {
            name: [camera.scale, camera.depth_bits] for name, camera in workspace.cameras.items()
        },
    }
    value = json.dumps(decoding, sort_keys=True)
    refused = (issues.stage == "clean") & issues.blocks & issues.kind.not_in(JUDGED)
    if _property(workspace, "clean.decoding") == value:
        refused &= issues.kind == "missing"
    with workspace.catalog.transaction() as connection:
        connection.execute(sa.delete(tables.issues).where(refused))
        _set_property(connection, "clean.decoding", value)


def _property(workspace: Workspace, key: str) -> Any:
    properties = tables.properties.c
    return workspace.catalog.scalar(sa.select(properties.value).where(properties.key == key))


def _set_property(connection: sa.Connection, key: str, value: str) -> None:
    properties = tables.properties
    connection.execute(sa.delete(properties).where(properties.c.key == key))
    insert(connection, properties, [{"key": key, "value": value}])


def _look(
    workspace: Workspace, config: Config, engine: Engine, report: Report, total: int
) -> array[int]:
    """Look at all new frames, first at some of each new camera for its reference."""
    read = partial(read_original, workspace.frames)
    look = partial(look_partition, read=read, bounds=config.bounds())
    new, busy_s, started = array("Q"), 0.0, time.perf_counter()
    without_reference = set(workspace.catalog.counted(tables.frames)) - set(_references(workspace))
    with track("clean", total) as advance:
        # The first frames of each camera make its reference, against which the rest is measured.
        for pool in (True, False):
            cameras = sorted(without_reference) if pool else None
            partitions = _partitions(workspace, cameras, engine.workers)
            for summary in engine.map(look, partitions, on_death=died):
                _store(workspace, summary)
                seen = len(summary.quality) + summary.dropped.total()
                report.count_in(seen)
                report.dropped += summary.dropped
                new.extend(_number(row["frame_id"]) for row in summary.quality)
                busy_s += summary.busy_s
                without_reference |= summary.with_thumbnails
                advance(seen)
            for camera in sorted(without_reference):
                _make_references(workspace, camera, _pool(workspace, camera) if pool else None)
    if report.counts_in:
        seconds = time.perf_counter() - started
        report.fact("frames_per_s", round(report.counts_in / seconds, 1))
        report.fact("frames_per_s_and_worker", round(report.counts_in / max(busy_s, 1e-9), 1))
    return new


def _work(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select the frames that nobody looked at and that nothing keeps out."""
    frames, quality, issues = tables.frames.c, tables.quality.c, tables.issues.c
    looked_at = sa.exists().where(quality.frame_id == frames.id)
    kept_out = sa.exists().where(issues.frame_id == frames.id, issues.blocks)
    return sa.select(frames.id, frames.camera, frames.bands).where(
        ~looked_at, ~kept_out, *conditions
    )


def _partitions(
    workspace: Workspace, pools_of: Iterable[str] | None, workers: int
) -> Iterator[list[FrameJob]]:
    """Yield all work, or only that in the pools of some cameras."""
    frame_id = tables.frames.c.id
    if pools_of is None:
        references = _references(workspace)
        for page in workspace.catalog.pages(_work(), [frame_id]):
            yield from _jobs(workspace, page, references, workers)
        return
    for camera in pools_of:
        select = _work(_of_camera(frame_id, camera), frame_id <= _pool(workspace, camera))
        rows = workspace.catalog.rows(select.order_by(frame_id))
        yield from _jobs(workspace, rows, {}, workers)


def _pool(workspace: Workspace, camera: str) -> str:
    """Return the id of the last of a camera's first frames, from which its reference is made.

    It depends on nothing that was done yet, so a run that was killed makes the same reference.
    """
    frame_id = tables.frames.c.id
    first = sa.select(frame_id).where(_of_camera(frame_id, camera)).order_by(frame_id)
    last: str | None = workspace.catalog.scalar(
        sa.select(sa.func.max(sa.literal_column("id"))).select_from(
            first.limit(_REFERENCE_POOL).subquery()
        )
    )
    return last or ""


def _jobs(
    workspace: Workspace,
    rows: Sequence[Any],
    references: Mapping[str, Mapping[str, Any]],
    workers: int,
) -> Iterator[list[FrameJob]]:
    """Yield partitions of one camera each, shorter where there are too few to go round."""
    even = len(rows) // (workers * _PARTITIONS_A_WORKER)
    length = min(max(even, _FEWEST), _PARTITION)
    for name, group in itertools.groupby(rows, key=lambda row: row.camera):
        camera, own = workspace.camera(name), references.get(name, {})
        jobs = (FrameJob(row.id, row.bands, camera, own) for row in group)
        while partition := list(itertools.islice(jobs, length)):
            yield partition


def _of_camera(column: sa.ColumnElement[str], camera: str) -> sa.ColumnElement[bool]:
    """Select ids of one camera by their beginning, which the primary key's index knows."""
    return (column >= f"{camera}/") & (column < f"{camera}0")  # "0" follows "/"


def _number(frame_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(frame_id.encode(), digest_size=8).digest(), "little")


def _store(workspace: Workspace, summary: Looks) -> None:
    with workspace.catalog.transaction() as connection:
        insert(connection, tables.quality, summary.quality)
        insert(connection, tables.issues, [_issue(*flag) for flag in summary.flags])


def _references(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Read the references: camera, then light; None where the view is not fixed."""
    properties = tables.properties.c
    select = sa.select(properties.key, properties.value)
    references: dict[str, dict[str, Any]] = {}
    for row in workspace.catalog.rows(select.where(properties.key.startswith(_REFERENCE))):
        light, _, camera = row.key.removeprefix(_REFERENCE).partition("/")
        references.setdefault(camera, {})[light] = read_reference(row.value)
    return references


def _make_references(workspace: Workspace, camera: str, until: str | None) -> None:
    """Make a camera's references where enough thumbnails lie, up to an id or all."""
    quality = tables.quality.c
    where = _of_camera(quality.frame_id, camera) & quality.thumbnail.is_not(None)
    if until is not None:
        where &= quality.frame_id <= until
    counts = sa.select(quality.light, sa.func.count()).where(where).group_by(quality.light)
    for light, count in map(tuple, workspace.catalog.rows(counts)):
        if count >= FEWEST_FOR_REFERENCE:
            _make_reference(workspace, camera, light, where & (quality.light == light))


def _make_reference(
    workspace: Workspace, camera: str, light: str, where: sa.ColumnElement[bool]
) -> None:
    """Store a camera's reference and the shifts, and drop the thumbnails, all or nothing."""
    quality = tables.quality
    select = sa.select(quality.c.frame_id, quality.c.width_px, quality.c.thumbnail).where(where)
    pages = workspace.catalog.pages(select, [quality.c.frame_id], _REFERENCE_POOL)
    reference, values = None, []
    for number, page in enumerate(pages):
        if number == 0:
            reference = reference_of([row.thumbnail for row in page])
        for row in page:
            shift = thumbnail_shift_px(reference, row.thumbnail, row.width_px) or (None, None)
            values.append({"id": row.frame_id, "x": shift[0], "y": shift[1]})
    update = (
        sa.update(quality)
        .where(quality.c.frame_id == sa.bindparam("id"))
        .values(shift_x_px=sa.bindparam("x"), shift_y_px=sa.bindparam("y"), thumbnail=None)
    )
    with workspace.catalog.transaction() as connection:
        connection.execute(update, values)
        _set_property(connection, f"{_REFERENCE}{light}/{camera}", reference_text(reference))


def _judge(workspace: Workspace, config: Config, report: Report, new: array[int]) -> None:
    """Bring the issues in line with the measured figures; count new frames out or dropped."""
    intervals_s = {name: camera.frame_interval_s for name, camera in workspace.cameras.items()}
    references = _references(workspace).items()
    fixed = [name for name, lights in references if any(e is not None for e in lights.values())]
    windows = windows_s(config, fixed, intervals_s)
    population = Population(windows, _first_of(workspace), config.moved_above_share)
    for page in _measured(workspace):
        for row in page:
            population.add(row)
    judgement = population.judgement(config)
    rows = [(*key, *astuple(limits)) for key, limits in sorted(judgement.limits.items())]
    report.add(Table("Thresholds", ("camera", "light", *_THRESHOLDS), rows[:1000]))
    describe_moves(report, population.views)
    numbers = np.frombuffer(new, dtype=np.uint64)
    numbers.sort()  # in place
    for page in _measured(workspace):
        found = [
            _issue(row.frame_id, kind, kind in config.blocking, detail, score)
            for row in page
            for kind, score, detail in judgement.issues(row)
        ]
        _write_differences(workspace, page[0].frame_id, page[-1].frame_id, found)
        _count_new(report, page, found, numbers)
    state = _state(workspace, config)
    with workspace.catalog.transaction() as connection:
        _set_property(connection, _JUDGED_STATE, state)


def _state(workspace: Workspace, config: Config) -> str:
    """Describe everything that the issues follow from, and how many of them there are."""
    rules = config.model_dump(include=set(Rules.model_fields))
    intervals_s = {name: camera.frame_interval_s for name, camera in workspace.cameras.items()}
    counted = workspace.catalog.counted
    issues = {kind: count for kind, count in counted(tables.issues).items() if kind in JUDGED}
    return json.dumps([rules, intervals_s, counted(tables.quality), issues], sort_keys=True)


def _first_of(workspace: Workspace) -> dict[str, str]:
    """Return the id of the first frame of those with the same bytes, by their hash."""
    frames = tables.frames.c
    select = sa.select(frames.sha256, sa.func.min(frames.id).label("first"))
    looked_at = select.where(frames.id == tables.quality.c.frame_id)
    repeated = looked_at.group_by(frames.sha256).having(sa.func.count() > 1)
    return {row.sha256: row.first for row in workspace.catalog.rows(repeated)}


def _measured(workspace: Workspace) -> Iterator[list[sa.Row[Any]]]:
    frames, quality = tables.frames.c, tables.quality.c
    figures = [column for column in quality if column.name != "thumbnail"]
    select = sa.select(*figures, frames.camera, frames.captured_at, frames.sha256)
    return workspace.catalog.pages(select.where(frames.id == quality.frame_id), [quality.frame_id])


def _write_differences(
    workspace: Workspace, first_id: str, last_id: str, wanted: Sequence[dict[str, Any]]
) -> None:
    """Make the judged issues of a range of frames be the wanted ones."""
    issues = tables.issues
    here = issues.c.frame_id.between(first_id, last_id) & (issues.c.stage == "clean")
    select = sa.select(issues).where(here, issues.c.kind.in_(JUDGED))
    there = {tuple(row)[:-1] for row in workspace.catalog.rows(select)}
    new = [row for row in wanted if tuple(row.values())[:-1] not in there]
    kept = {tuple(row.values())[:-1] for row in wanted}
    gone = [{"f": row[0], "k": row[1]} for row in there - kept]
    if not new and not gone:
        return
    delete = sa.delete(issues).where(
        issues.c.frame_id == sa.bindparam("f"), issues.c.kind == sa.bindparam("k")
    )
    with workspace.catalog.transaction() as connection:
        if gone:
            connection.execute(delete, gone)
        insert(connection, issues, new)


def _count_new(
    report: Report,
    page: Sequence[sa.Row[Any]],
    found: Sequence[Mapping[str, Any]],
    numbers: NDArray[np.uint64],
) -> None:
    """Count frames that were looked at in this run: out, or dropped by what blocks them."""
    blocked = {row["frame_id"]: row["kind"] for row in reversed(found) if row["blocks"]}
    here = np.array([_number(row.frame_id) for row in page], dtype=np.uint64)
    place = np.searchsorted(numbers, here).clip(max=max(len(numbers) - 1, 0))
    is_new_here = numbers[place] == here if len(numbers) else np.zeros(len(here), np.bool_)
    for row, is_new in zip(page, is_new_here, strict=True):
        if not is_new:
            continue
        if row.frame_id in blocked:
            report.drop(blocked[row.frame_id])
        else:
            report.count_out()
