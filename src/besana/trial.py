"""The stages on a few of a farm's own frames, in a workspace of their own, timed."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

from besana import catalog as tables
from besana import pipeline
from besana.costs.bills import write_line
from besana.costs.paces import machine_name
from besana.costs.stages import observed_items, speed_key
from besana.engines import Engine
from besana.engines.base import Item, Summary
from besana.errors import BesanaError
from besana.labels.events import Event, event_row
from besana.registry import DATABASE
from besana.storage import Storage, read_original
from besana.traffic import METER, Traffic
from besana.workspace import Workspace

_SIZES, _FEW_SIZES = (24, 64, 168), (8, 32, 96)
_FEWEST_SAMPLES = 16
_PROBE_BYTES = 4_000_000


def measure(workspace: Workspace, engine: Engine, budget_s: float) -> list[str]:
    """Walk a few frames through the stages and note how long each took.

    Nothing in the workspace changes but its ledger of bills, which gets lines marked as a trial.

    Args:
        workspace: The farm whose frames and settings are tried.
        engine: Where the work runs, as it would for the whole.
        budget_s: Seconds after which no further trial is begun.

    Returns:
        What could not be tried and why.
    """
    ends, engine = time.monotonic() + budget_s, _Even(engine)
    notes: list[str] = []
    with tempfile.TemporaryDirectory(dir=workspace.temporary) as folder:
        trial = _copy(workspace, Path(folder))
        with contextlib.closing(trial.catalog):
            sizes = _sizes(workspace)
            frames = _frames(workspace)
            for number, size in enumerate(sizes):
                rows = list(itertools.islice(frames, size))
                if not rows or notes or time.monotonic() > ends:
                    break
                _walk_frames(workspace, trial, rows, engine)
                try:
                    _learn(workspace, trial, engine, number)
                except BesanaError as error:
                    notes.append(error.problem)
    return notes


def _sizes(workspace: Workspace) -> Sequence[int]:
    """Choose how many frames are tried together.

    Very few have no issues, so no pictures of them are made, and the start looks cheaper than
    it is.
    """
    frames = sum(workspace.catalog.counted(tables.frames).values())
    return _SIZES if frames >= sum(_SIZES) else _FEW_SIZES


def measure_store(store: Storage) -> Mapping[str, float]:
    """Time a few small and one larger object to and from the store; they are removed again.

    Returns:
        `request_s` for a small object, `write_bytes_per_s` and `read_bytes_per_s`.
    """
    key = f".besana-trial-{time.time_ns()}"
    started = time.perf_counter()
    for _ in range(4):
        store.write(key, b"besana")
        store.read(key)
    request_s = (time.perf_counter() - started) / 8
    data = bytes(_PROBE_BYTES)
    started = time.perf_counter()
    store.write(key, data)
    written_s, started = time.perf_counter() - started, time.perf_counter()
    store.read(key)
    read_s = time.perf_counter() - started
    store.delete(key)
    return {
        "request_s": request_s,
        "write_bytes_per_s": len(data) / written_s,
        "read_bytes_per_s": len(data) / read_s,
    }


@dataclass(frozen=True)
class _Timed:
    """One run of a stage.

    Attributes:
        stage: The verb.
        key: What its speed depends on.
        items: What it took up.
        seconds: How long it took.
        before: The meter when it began.
    """

    stage: str
    key: str
    items: int
    seconds: float
    before: Traffic


class _Even(Engine):
    """An engine that cuts each partition for all its workers, so that few frames keep all busy.

    Thus the seconds a frame are those of a long run, in which no worker waits for the others.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.workers = engine.workers
        self.peak_memory_bytes = engine.peak_memory_bytes

    @override
    def map(
        self,
        function: Callable[[Sequence[Item]], Summary],
        partitions: Iterable[Sequence[Item]],
        *,
        on_death: Callable[[Item], Summary] | None = None,
    ) -> Iterator[Summary]:
        pieces = (
            partition[start :: self.workers]
            for partition in partitions
            for start in range(min(self.workers, len(partition)))
        )
        yield from self._engine.map(function, pieces, on_death=on_death)
        self.peak_memory_bytes = self._engine.peak_memory_bytes


def _copy(workspace: Workspace, folder: Path) -> Workspace:
    """Make a workspace with the same settings, but with catalog and bytes of its own."""
    trial = Workspace.create(folder / "trial")
    trial.tables = {
        name: values
        for name, values in workspace.tables.items()
        if isinstance(values, dict) and name not in ("cameras", "costs")
    }
    trial.cameras = workspace.cameras  # their lens files lie beside the farm's settings
    return trial


def _frames(workspace: Workspace) -> Iterator[Mapping[str, Any]]:
    """Take frames of all cameras in turn, spread over time, without refused ones."""
    frames, issues = tables.frames.c, tables.issues.c
    refused = sa.exists().where(issues.frame_id == frames.id, issues.blocks)
    most = sum(_sizes(workspace))
    each: list[Sequence[Any]] = []
    for camera, count in workspace.catalog.counted(tables.frames).items():
        select = sa.select(tables.frames).where(frames.camera == camera, ~refused)
        step = max(count // most, 1)
        found = workspace.catalog.rows(select.order_by(frames.id).limit(min(count, 20 * most)))
        each.append(found[:: min(step, 20)][:most])
    for turn in itertools.zip_longest(*each):
        yield from (dict(row._mapping) for row in turn if row is not None)


def _walk_frames(
    workspace: Workspace, trial: Workspace, rows: Sequence[Mapping[str, Any]], engine: Engine
) -> None:
    started, before = time.monotonic(), METER.total
    for row in rows:
        for band in row["bands"]:
            key = band["key"]
            if not key.startswith("file://"):
                trial.frames.write(key, read_original(workspace.frames, key))
    trial.catalog.insert(tables.frames, rows)
    seconds = time.monotonic() - started
    _note(workspace, _Timed("collect", "", len(rows), seconds, before))
    for stage in ("clean", "prepare"):
        _note(workspace, _time(trial, stage, {}, engine))


def _time(trial: Workspace, stage: str, overrides: Mapping[str, Any], engine: Engine) -> _Timed:
    config = pipeline.stage_settings(trial, stage, {**overrides, **_lenient(stage)})
    started, before = time.monotonic(), METER.total
    report = pipeline.stage(stage).run(trial, config, engine)
    seconds, items = time.monotonic() - started, observed_items(stage, report.counts_in, config)
    return _Timed(stage, speed_key(stage, config), items, seconds, before)


def _lenient(stage: str) -> dict[str, Any]:
    return {"max_dropped_share": 1.0} if stage in ("clean", "prepare") else {}


def _learn(workspace: Workspace, trial: Workspace, engine: Engine, number: int) -> None:
    """Train on the samples so far with made-up labels.

    Each time there are more of them, so that start and item can be told apart. Each training is a
    process of its own, as one at a terminal is: loading its libraries is part of the time.
    """
    sample = tables.samples.c
    rows = trial.catalog.rows(sa.select(sample.frame_id, sample.region).order_by(sample.frame_id))
    if len(rows) < _FEWEST_SAMPLES:
        raise BesanaError(f"{len(rows)} samples are too few to try training.")
    now = dt.datetime.now(dt.UTC)
    events = [
        Event(row.frame_id, row.region, f"class-{n % 2}", True, "trial", "trial")
        for n, row in enumerate(rows)
    ]
    trial.catalog.insert(tables.labels, [event_row(event, now) for event in events])
    _time(trial, "split", {"method": "fractions"}, engine)
    # Random weights cost as much as trained ones, and nothing is fetched.
    settings: dict[str, Any] = {"weights": "random", "seed": number}
    if pipeline.stage_settings(trial, "train", {}).strategy != "probe":  # type: ignore[attr-defined]
        settings["epochs"] = 2**number
    _note(workspace, _train(trial, settings))


def _train(trial: Workspace, settings: Mapping[str, Any]) -> _Timed:
    shutil.rmtree(trial.path / "embeddings", ignore_errors=True)
    (trial.runs / DATABASE).unlink(missing_ok=True)  # a farm's first training makes it, too
    given = {"tables": trial.tables, "settings": settings}
    words = ["-m", "besana.trial_training", str(trial.path), json.dumps(given, default=str)]
    before = METER.total
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise BesanaError(said[-1] if said else "A trial of training ended without a word.")
    found = json.loads(done.stdout.splitlines()[-1])
    config = pipeline.stage_settings(trial, "train", settings)
    items = observed_items("train", found["items"], config)
    return _Timed("train", speed_key("train", config), items, found["seconds"], before)


def _note(workspace: Workspace, timed: _Timed) -> None:
    write_line(
        workspace,
        {
            "stage": timed.stage,
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "machine": machine_name(),
            "key": timed.key,
            "items": timed.items,
            "seconds": round(timed.seconds, 3),
            "traffic": (METER.total - timed.before).record(),
            "money": {"low": 0.0, "likely": 0.0, "high": 0.0},
            "currency": "",
            "failed": False,
            "trial": True,
            "planned": None,
        },
    )
