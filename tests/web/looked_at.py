"""A served farm with issues, predictions, two dataset versions and vectors, to look at."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from served_farm import CLASSES, FIRST, REGIONS, frame_id, make_farm, picture, truth

from besana import catalog as tables
from besana.learning.embeddings import Embeddings, sample_keys
from besana.workspace import Workspace
from small_dataset import freeze_dataset

FRAMES = 40
NOW = dt.datetime(2025, 3, 9, tzinfo=dt.UTC)


def look_at_farm(folder: Path, **more: Any) -> Workspace:
    """Make a farm of 40 frames: labels by two people on the first 30, one of them not agreed on."""
    workspace = make_farm(folder, FRAMES, **more)
    catalog = workspace.catalog
    said = [("ana", n, region, truth(n, region)) for n in range(30) for region in REGIONS]
    said.append(("eva", 3, "bed-1", next(name for name in CLASSES if name != truth(3, "bed-1"))))
    said.append(("eva", 4, "bed-1", truth(4, "bed-1")))
    catalog.insert(tables.labels, [label(*each) for each in said])
    catalog.insert(
        tables.issues,
        [
            issue(5, "blurry", 3.5),
            issue(6, "near_duplicate", 2.0, frame_id(5)),
            issue(39, "dark", 4.0, blocks=True),
        ],
    )
    wrong = {(8, "bed-2"), (9, "bed-2")}
    catalog.insert(
        tables.predictions,
        [
            prediction(
                n, region, CLASSES[(CLASSES.index(truth(n, region)) + ((n, region) in wrong)) % 3]
            )
            for n in range(FRAMES)
            for region in REGIONS
        ],
    )
    embed(workspace)
    return workspace


def label(who: str, number: int, region: str, name: str) -> dict[str, Any]:
    at = FIRST + dt.timedelta(days=1)
    row = {"id": f"{who}-{number}-{region}", "frame_id": frame_id(number), "region": region}
    row |= {"class_name": name, "annotator": who, "source": "web", "note": ""}
    return {**row, "holds": True, "labelled_at": at, "added_at": at}


def issue(
    number: int, kind: str, score: float, detail: str | None = None, *, blocks: bool = False
) -> dict[str, Any]:
    row = {"frame_id": frame_id(number), "kind": kind, "score": score, "detail": detail}
    return {**row, "stage": "clean", "blocks": blocks, "found_at": NOW}


def prediction(number: int, region: str, name: str) -> dict[str, Any]:
    row = {"frame_id": frame_id(number), "region": region, "model": "beds", "version": 2}
    row |= {"class_name": name, "probability": 0.9, "probabilities": {name: 0.9}}
    return {**row, "predicted_at": NOW}


def embed(workspace: Workspace, frames: int = FRAMES) -> None:
    """Leave vectors as `besana embed` does: here the mean colour of each picture, and noise."""
    s = tables.samples.c
    rows = workspace.catalog.rows(sa.select(s.frame_id, s.region, s.crc32c))
    numbers = {frame_id(number): number for number in range(frames)}
    identities = [{"frame_id": row.frame_id, "region": row.region} for row in rows]
    looks = [picture(numbers[row.frame_id], row.region).mean(axis=(0, 1)) for row in rows]
    noise = np.random.default_rng(0).normal(0, 0.05, (len(rows), 5))
    vectors = np.concatenate([np.array(looks) / 100 - 1, noise], axis=1).astype(np.float16)
    keys = sample_keys(identities, np.array([row.crc32c for row in rows], np.uint32))
    Embeddings(workspace.embeddings.below("looks-1"), vectors.shape[1]).add(
        identities, keys, vectors
    )


def freeze_versions(workspace: Workspace) -> None:
    """Freeze bed-1 of frames 0 to 19, then of 2 to 21 with one relabelled and two moved."""
    s = tables.samples.c
    select = sa.select(tables.samples).where(s.region == "bed-1").order_by(s.frame_id)
    rows = [dict(row._mapping) for row in workspace.catalog.rows(select)][:22]
    for row in rows:
        del row["recipe"], row["prepared_at"]
    said = [CLASSES.index(truth(number, "bed-1")) for number in range(22)]
    split = ["train"] * 15 + ["test"] * 7
    more: dict[str, Any] = {"classes": CLASSES, "name": "beds"}
    freeze_dataset(workspace, rows[:20], said[:20], split[:20], **more)
    said[10] = (said[10] + 1) % 3
    split[13] = split[14] = "validation"
    freeze_dataset(workspace, rows[2:], said[2:], split[2:], **more)
