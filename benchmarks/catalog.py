"""The catalog at any size: inserts, status, a stage's work list, memory.

Run: python benchmarks/catalog.py --frames 10000000
Fills a workspace with synthetic rows (8 cameras that take a frame at the same time), 90 % of the
frames judged by `clean`, 1 % with an issue. Rates are per second of wall clock, in brackets per
second of this process's own time, which other work on the machine cannot change.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.commands.status import read_status
from besana.workspace import Workspace

CAMERAS = 8
BATCH = 10_000
START = dt.datetime(2016, 1, 1, tzinfo=dt.UTC)

Row = dict[str, Any]


class Watch:
    """Add up wall and own time of the calls that are measured."""

    def __init__(self) -> None:
        self.wall_s = self.own_s = 0.0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function and add its time."""
        wall, own = time.perf_counter(), time.process_time()
        result = function(*arguments)
        self.wall_s += time.perf_counter() - wall
        self.own_s += time.process_time() - own
        return result

    def rate(self, items: int) -> str:
        """Say how many items a second that was, of wall clock and of own time."""
        return f"{items / self.wall_s:,.0f}/s ({items / self.own_s:,.0f}/s)"


def frame(number: int) -> Row:
    """Make the row of one frame; consecutive numbers are cameras, then five minutes later."""
    camera = f"barn-{number % CAMERAS}"
    at = START + dt.timedelta(minutes=5 * (number // CAMERAS))
    sha256 = hashlib.sha256(number.to_bytes(8)).hexdigest()
    name = f"{camera}/{at:%Y-%m-%d}/{at:%H-%M-%S}.jpg"
    key = f"{sha256[:2]}/{sha256}.jpg"
    return {
        "id": f"{camera}/{at:%Y%m%dT%H%M%S}.000Z-{sha256[:8]}",
        "camera": camera,
        "captured_at": at,
        "time_source": "name",
        "name": name,
        "source": f"file:///media/card/{name}",
        "source_size_bytes": 123_456,
        "source_modified_ns": number * 1_000_000_000,
        "bands": [{"band": "rgb", "key": key, "sha256": sha256, "size_bytes": 123_456}],
        "sha256": sha256,
        "size_bytes": 123_456,
        "width_px": 1280,
        "height_px": 720,
        "metadata": {},
        "collected_at": START,
    }


def quality(row: Row) -> Row:
    """Make what clean measured of a frame."""
    return {
        "frame_id": row["id"],
        "width_px": 1280,
        "height_px": 720,
        "channels": 3,
        "brightness": 101.5,
        "dark_share": 0.01,
        "bright_share": 0.02,
        "contrast": 40.25,
        "sharpness": 812.5,
        "entropy_bits": 7.1,
        "perceptual_hash": int(row["sha256"][:15], 16),
        "light": "day",
        "shift_x_px": 0.0,
        "shift_y_px": 0.0,
        "thumbnail": None,
    }


def issue(row: Row) -> Row:
    """Make an issue of a frame."""
    return {
        "frame_id": row["id"],
        "kind": "blurry",
        "stage": "clean",
        "blocks": False,
        "found_at": START,
    }


def batches(frames: int) -> Iterator[list[Row]]:
    """Yield the rows of all frames, a transaction's worth at a time."""
    for first in range(0, frames, BATCH):
        yield [frame(number) for number in range(first, min(first + BATCH, frames))]


def fill(workspace: Workspace, frames: int) -> dict[str, str]:
    """Insert all rows as collect and clean do: a partition of work a transaction."""
    frame_watch, quality_watch = Watch(), Watch()
    judged = 0
    for batch in batches(frames):
        added = frame_watch(workspace.catalog.insert, tables.frames, batch)
        assert added == len(batch)
        measured = [quality(row) for number, row in enumerate(batch) if number % 10]
        judged += quality_watch(workspace.catalog.insert, tables.quality, measured)
        workspace.catalog.insert(tables.issues, [issue(row) for row in batch[1::100]])
    return {
        "insert frames": frame_watch.rate(frames),
        "insert quality": quality_watch.rate(judged),
    }


def ask(workspace: Workspace) -> dict[str, str]:
    """Time what people and stages ask."""
    watch = Watch()
    watch(read_status, Workspace(workspace.path))
    f, q = tables.frames.c, tables.quality.c
    waiting = sa.select(f.id, f.camera, f.bands).where(~sa.exists().where(q.frame_id == f.id))
    list_watch, found = Watch(), 0
    pages = workspace.catalog.pages(waiting, [f.id])
    while page := list_watch(next, pages, None):
        found += len(page)
    return {
        "open and status": f"{watch.wall_s:.2f} s",
        "work list of clean": f"{list_watch.rate(found)}, {list_watch.wall_s:.1f} s for all",
    }


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the workspace lies; default: temporary")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="besana-bench-", dir=arguments.folder))
    workspace = Workspace.create(folder)
    try:
        figures = fill(workspace, arguments.frames) | ask(workspace)
        size_bytes = (folder / "catalog.db").stat().st_size
    finally:
        workspace.catalog.close()
        shutil.rmtree(folder)
    figures["catalog.db"] = f"{size_bytes / 1e9:.2f} GB"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures["peak memory"] = f"{peak / 1e6:,.0f} MB"
    print(f"| {arguments.frames:,} frames | |\n| --- | --- |")
    for name, figure in figures.items():
        print(f"| {name} | {figure} |")


if __name__ == "__main__":
    main()
