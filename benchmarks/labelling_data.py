"""The page Data over a catalog of a million samples: how long each filter and its counts take.

Run: python benchmarks/labelling_data.py FARM [--samples 1000000]
FARM is made when it is not there: a fifth of the samples is labelled, a tenth of these by two
people; every twentieth frame has an issue, every sample a prediction, half of them are in a frozen
dataset. The server is `besana web` in a process of its own; times are those in its log, beside
what a client waited. `first` is the first time that a filter is asked for after the server's start
(then its answer is not kept yet), `again` the times of the pages that follow.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from besana import catalog as tables
from besana.shards.datasets import freeze
from besana.workspace import Workspace
from labelling_farm import CLASSES, REGIONS, make_farm
from labelling_load import Server, free_port, sign_in
from labelling_people import Connection

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PAGES = 10
FILTERS: dict[str, dict[str, str]] = {
    "nothing": {},
    "camera": {"camera": "barn-3"},
    "region": {"region": "bed-2"},
    "days": {"first": "2016-02-01", "last": "2016-03-31"},
    "class": {"class": "standing"},
    "without a label": {"labelled": "no"},
    "issue": {"issue": "blurry"},
    "issue, frames": {"show": "frames", "issue": "near_duplicate"},
    "part of a dataset": {"dataset": "beds/1", "split": "test"},
    "prediction": {"model": "beds/1", "predicted": "empty"},
    "people disagree": {"disagree": "people"},
    "model and label differ": {"model": "beds/1", "disagree": "model"},
    "five at once": {
        "camera": "barn-1",
        "region": "bed-4",
        "class": "lying",
        "issue": "none",
        "model": "beds/1",
        "predicted": "lying",
    },
}


def main() -> None:
    """Make the farm, start the server, ask for every filter, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    farm = Path(tempfile.gettempdir()) / "besana-labelling-data"
    parser.add_argument("farm", type=Path, nargs="?", default=farm)
    parser.add_argument("--samples", type=int, default=1_000_000)
    asked = parser.parse_args()
    if not asked.farm.exists():
        make_farm(asked.farm, asked.samples)
    workspace = Workspace(asked.farm)
    if not workspace.catalog.counted(tables.predictions):
        fill(workspace)
    (asked.farm / "web.log").unlink(missing_ok=True)
    (_, cookie, token), *_ = sign_in(asked.farm, 1)
    server = Server(asked.farm, free_port())
    server.start()
    try:
        asyncio.run(look(server, {"Cookie": cookie, "X-Besana-Token": token}))
        print(f"memory of the server {server.memory_mb():.0f} MB, load {os.getloadavg()[0]:.1f}")
    finally:
        server.stop()


async def look(server: Server, headers: dict[str, str]) -> None:
    """Ask as the page does: a page of pictures and the counts at the same time, then more pages."""
    one, other = Connection(server.port), Connection(server.port)
    while (await one.request("POST", "/api/next", headers, b'{"tab": "benchmark"}'))[0] != 200:
        await asyncio.sleep(0.5)
    began = time.perf_counter()
    await asked_for(one, "/api/pictures/choices", headers)
    print(f"the first look, which reads the catalog: {time.perf_counter() - began:.1f} s")
    print("ms                        left   first: page  counts   again: page p50   p95   counts")
    for name, wanted in FILTERS.items():
        query = urlencode(wanted)
        (page, page_ms), (counts, counts_ms) = await asyncio.gather(
            asked_for(one, f"/api/pictures?{query}", headers),
            asked_for(other, f"/api/pictures/counts?{query}", headers),
        )
        again, counted = [], []
        for _ in range(PAGES):
            after = quote(page["next"])
            page, ms = await asked_for(one, f"/api/pictures?{query}&after={after}", headers)
            again.append(ms)
            counted.append((await asked_for(one, f"/api/pictures/counts?{query}", headers))[1])
        p = np.percentile(again, [50, 95])
        print(
            f"{name:24} {counts['total']:7,} {page_ms:11.0f} {counts_ms:9.0f}"
            f" {p[0]:16.1f} {p[1]:6.1f} {np.median(counted):7.1f}"
        )


async def asked_for(
    connection: Connection, path: str, headers: dict[str, str]
) -> tuple[Any, float]:
    """Ask for something; the answer and the milliseconds until it was whole."""
    began = time.perf_counter()
    status, answer = await connection.request("GET", path, headers)
    while status == 503:  # the catalog is still being read
        await asyncio.sleep(0.2)
        status, answer = await connection.request("GET", path, headers)
    if status != 200:
        raise RuntimeError(f"{path}: {status} {answer[:200]!r}")
    return json.loads(answer), 1e3 * (time.perf_counter() - began)


def fill(workspace: Workspace) -> None:
    """Add labels, issues, predictions and a dataset to what `make_farm` made."""
    began, rng = time.monotonic(), np.random.default_rng(0)
    s = tables.samples.c
    parts: list[pa.Table] = []
    columns = [column for column in s if column.name not in ("recipe", "prepared_at")]
    for page in workspace.catalog.pages(sa.select(*columns), [s.frame_id, s.region], 20_000):
        rows = [row._asdict() for row in page]
        truth = rng.integers(len(CLASSES), size=len(rows))
        workspace.catalog.insert(tables.labels, list(labels_of(rows, truth, rng)))
        workspace.catalog.insert(tables.predictions, list(predictions_of(rows, truth, rng)))
        frames = sorted({row["frame_id"] for row in rows if row["region"] == REGIONS[0]})[::20]
        workspace.catalog.insert(tables.issues, [issue_of(frame, rng) for frame in frames])
        parts.append(frozen(rows[::2], truth[::2], rng))
    settings = {"samples": sum(map(len, parts)), "groups": 1, "folds": 0, "counts": {}}
    settings |= {"leaked_by_random_split": {}, "recipe": "0" * 64, "channels": 3, "settings": {}}
    facts = {**settings, "size_px": (320, 320)}
    freeze(workspace, "beds", parts, kind="single", classes=CLASSES, facts=facts)
    print(f"labels, issues, predictions, a dataset made in {time.monotonic() - began:.0f} s")


def labels_of(rows: list[dict[str, Any]], truth: Any, rng: Any) -> Iterator[dict[str, Any]]:
    """Say what every fifth sample is; a tenth of these is said by a second person too."""
    for place in range(0, len(rows), 5):
        people = ["Ana", "Eva"] if rng.random() < 0.1 else ["Ana"]
        for who in people:
            word = truth[place] if who == "Ana" or rng.random() < 0.9 else (truth[place] + 1) % 3
            name = {key: rows[place][key] for key in ("frame_id", "region")}
            event = f"{who}/{name['frame_id']}/{name['region']}"
            said = {"class_name": CLASSES[word], "holds": True, "annotator": who, "note": ""}
            yield {
                "id": event,
                **name,
                **said,
                "source": "web",
                "labelled_at": NOW,
                "added_at": NOW,
            }


def predictions_of(rows: list[dict[str, Any]], truth: Any, rng: Any) -> Iterator[dict[str, Any]]:
    """Predict every sample, nine of ten rightly."""
    said = np.where(rng.random(len(rows)) < 0.9, truth, (truth + 1) % len(CLASSES))
    for row, word in zip(rows, said, strict=True):
        found = {"class_name": CLASSES[word], "probability": 0.9, "probabilities": {}}
        name = {"frame_id": row["frame_id"], "region": row["region"]}
        yield {**name, "model": "beds", "version": 1, **found, "predicted_at": NOW}


def issue_of(frame: str, rng: Any) -> dict[str, Any]:
    """Find something wrong with a frame."""
    kind = str(rng.choice(["blurry", "near_duplicate", "dark"]))
    row = {"frame_id": frame, "kind": kind, "stage": "clean", "score": 1.0, "detail": None}
    return {**row, "blocks": False, "found_at": NOW}


def frozen(rows: list[dict[str, Any]], truth: Any, rng: Any) -> pa.Table:
    """Make a part of a manifest."""
    split = rng.choice(["train", "validation", "test"], len(rows), p=[0.7, 0.1, 0.2])
    more = {"labels": None, "fold": -1, "captured_at": NOW, "light": "day"}
    return pa.Table.from_pylist(
        [
            {
                **row,
                **more,
                "label": int(word),
                "split": str(part),
                "group": number,
                "camera": row["frame_id"].partition("/")[0],
            }
            for number, (row, word, part) in enumerate(zip(rows, truth, split, strict=True))
        ]
    )


if __name__ == "__main__":
    main()
