"""The model in the loop over a million vectors: seconds and memory of a round of learning.

Run: python benchmarks/labelling_learn.py FARM [--samples 1000000 --features 1280 --labels 5000]
FARM is made when it is not there, with labels by chance and with vectors of noise, which have as
many bytes as real ones and take as long. The server's part runs in this process: reading the deck,
a first round, which copies the vectors that it will look at, and rounds after it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog.web import create_tables
from besana.learning.embeddings import Embeddings, sample_keys
from besana.web.deck import Deck
from besana.web.memory import PeakMemory
from besana.web.model_loop import learn
from besana.workspace import Workspace
from labelling_farm import CLASSES, make_farm

BLOCK = 4096
T = TypeVar("T")


def main() -> None:
    """Make what is missing, learn three times, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    farm = Path(tempfile.gettempdir()) / "besana-labelling-learn"
    parser.add_argument("farm", type=Path, nargs="?", default=farm)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--labels", type=int, default=5_000)
    asked = parser.parse_args()
    if not asked.farm.exists():
        make_farm(asked.farm, asked.samples)
    workspace = Workspace(asked.farm)
    create_tables(workspace.catalog)
    if not list(workspace.embeddings.list()):
        embed(workspace, asked.features)
    missing = asked.labels - sum(workspace.catalog.counted(tables.labels).values())
    if missing > 0:
        say(workspace, missing)
    memory = PeakMemory()
    with closing(Deck(workspace.temporary)) as deck:
        took("the deck is read", memory, lambda: deck.read(workspace.catalog))
        before = None
        for what in ("the first round", "the second", "the third"):
            again = partial(learn, workspace, deck, [*CLASSES], "mix", 0, before)
            learned = took(what, memory, again)
            before = learned.vectors
        proposed = 0 if learned.proposed is None else int((learned.proposed >= 0).sum())
    print(f"{deck.count:,} samples, {learned.labels:,} labels, {proposed:,} proposed")


def took(what: str, memory: PeakMemory, work: Callable[[], T]) -> T:
    """Do something; print its seconds, its processor time, and the peak of memory until then."""
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    seconds, busy = time.perf_counter() - began, time.process_time() - cpu
    peak_mb = memory.read_bytes() / 1e6
    load = os.getloadavg()[0]
    print(
        f"{what}: {seconds:.1f} s ({busy:.1f} s of a core), peak {peak_mb:.0f} MB, load {load:.1f}"
    )
    return found


def embed(workspace: Workspace, features: int) -> None:
    """Leave a vector of noise for each sample, in blocks as `besana embed` does."""
    began, rng = time.monotonic(), np.random.default_rng(0)
    noise = rng.standard_normal((BLOCK, features), np.float32).astype(np.float16)
    embeddings = Embeddings(workspace.embeddings.below("noise"), features)
    s = tables.samples.c
    select = sa.select(s.frame_id, s.region, s.crc32c)
    for page in workspace.catalog.pages(select, [s.frame_id, s.region], BLOCK):
        identities = [{"frame_id": row.frame_id, "region": row.region} for row in page]
        keys = sample_keys(identities, np.array([row.crc32c for row in page], np.uint32))
        shifted = np.roll(noise, int(rng.integers(features)), axis=1)
        embeddings.add(identities, keys, shifted[rng.permutation(BLOCK)[: len(page)]])
    print(f"{len(embeddings):,} vectors made in {time.monotonic() - began:.0f} s")


def say(workspace: Workspace, count: int) -> None:
    """Say by chance what samples are, evenly over all."""
    rng = np.random.default_rng(1)
    s = tables.samples.c
    total = sum(workspace.catalog.counted(tables.samples).values())
    now = dt.datetime.now(dt.UTC)
    rows = []
    for page in workspace.catalog.pages(sa.select(s.frame_id, s.region), [s.frame_id, s.region]):
        chosen = rng.random(len(page)) < count / total
        for row in (row for row, is_chosen in zip(page, chosen, strict=True) if is_chosen):
            word = {"class_name": str(rng.choice(CLASSES)), "holds": True, "annotator": "Ana"}
            name = {"frame_id": row.frame_id, "region": row.region, "source": "web", "note": ""}
            event = f"Ana/{row.frame_id}/{row.region}"
            rows.append({"id": event, **name, **word, "labelled_at": now, "added_at": now})
    workspace.catalog.insert(tables.labels, rows)


if __name__ == "__main__":
    main()
