"""A farm of any number of samples to label; few pictures, each shown many times."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import numpy as np

from besana import catalog as tables
from besana.images.encode import encode_jpeg
from besana.shards.writer import ShardWriter, sample_example
from besana.workspace import Workspace

CLASSES = ("lying", "standing", "empty")
REGIONS = ("bed-1", "bed-2", "bed-3", "bed-4")
CAMERAS = 8
START = dt.datetime(2016, 1, 1, tzinfo=dt.UTC)
PICTURES, SIDE_PX = 200, 320
BATCH = 10_000
SETTINGS = """name = "Load"
[label]
classes = ["lying", "standing", "empty"]
"""


def make_farm(folder: Path, samples: int) -> None:
    """Make a workspace with four samples a frame, as collect and prepare leave it."""
    began = time.monotonic()
    workspace = Workspace.create(folder, SETTINGS)
    places = write_pictures(workspace)
    frames = samples // len(REGIONS)
    for first in range(0, frames, BATCH):
        numbers = range(first, min(first + BATCH, frames))
        rows = [frame(number) for number in numbers]
        workspace.catalog.insert(tables.frames, rows)
        workspace.catalog.insert(
            tables.samples,
            [
                {"frame_id": row["id"], "region": region, **places[(number + at) % PICTURES]}
                for number, row in zip(numbers, rows, strict=True)
                for at, region in enumerate(REGIONS)
            ],
        )
    print(f"{samples:,} samples made in {time.monotonic() - began:.0f} s")


def write_pictures(workspace: Workspace) -> list[dict[str, Any]]:
    """Write some pictures of smooth noise into one shard; where each lies."""
    rng = np.random.default_rng(0)
    found = []
    with ShardWriter(workspace.shards, "a.tfrecord") as writer:
        for number in range(PICTURES):
            coarse = rng.integers(0, 256, (SIDE_PX // 16, SIDE_PX // 16, 3))
            pixels = coarse.repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
            size = {"height_px": SIDE_PX, "width_px": SIDE_PX, "channels": 3}
            example = sample_example(
                f"picture-{number}/all", encode_jpeg(pixels), image_format="jpeg", **size
            )
            place = writer.add(example)
            found.append({name: getattr(place, name) for name in type(place).__slots__})
            found[-1] |= {**size, "recipe": "0" * 64, "prepared_at": START}
    return found


def frame(number: int) -> dict[str, Any]:
    """Make the row of one frame; consecutive numbers are cameras, then five minutes later."""
    camera = f"barn-{number % CAMERAS}"
    at = START + dt.timedelta(minutes=5 * (number // CAMERAS))
    return {
        "id": f"{camera}/{at:%Y%m%dT%H%M%S}.000Z-{number:08x}",
        "camera": camera,
        "captured_at": at,
        "time_source": "name",
        "name": f"{camera}/{at:%Y-%m-%d}/{at:%H-%M-%S}.jpg",
        "source": "",
        "source_size_bytes": 1,
        "source_modified_ns": 1,
        "bands": [],
        "sha256": "",
        "size_bytes": 1,
        "width_px": 1280,
        "height_px": 720,
        "metadata": {},
        "collected_at": START,
    }
