"""Labelling many pictures at once: the grid of look-alikes and the strip in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from besana import catalog as tables
from besana.config import Settings
from besana.labels.change_points import change_points, runs_of
from besana.labels.rates import wilson
from besana.statistics.hashing import mix
from besana.storage import Storage
from besana.web.deck import Deck
from besana.web.desk import Desk
from besana.web.gate import Access
from besana.web.names import Sample
from besana.web.routes_account import caller_of
from besana.web.routes_label import Id, Key, describe_samples
from besana.web.server import Route

_LOOKS_AT_ONCE = 100
_CHECK_EVERY = 25
_FEWEST_CHECKS = 40


class GridAsked(Settings):
    """A screen of look-alikes."""

    count: Annotated[int, Field(ge=1, le=60)] = 40
    tab: Key
    known: Annotated[list[tuple[Id, Id]], Field(max_length=200)] = Field(default=[])


class StripAsked(Settings):
    """A stretch of one region."""

    camera: Annotated[str, Field(max_length=200)] = ""
    region: Annotated[str, Field(max_length=200)] = ""
    after: Annotated[str, Field(max_length=500)] = ""
    count: Annotated[int, Field(ge=1, le=1000)] = 300
    sensitivity: Annotated[float, Field(ge=0.05, le=20)] = 1.0


class ManyRoutes:
    """Routes of the grid and the strip."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("POST", "/api/grid", "labeller"), self.grid),
            Route(Access("GET", "/api/places", "labeller"), self.places),
            Route(Access("POST", "/api/strip", "labeller"), self.strip),
            Route(Access("GET", "/api/spot-checks", "labeller"), self.spot_checks),
        ]

    async def grid(self, asked: GridAsked, request: Request) -> dict[str, Any]:
        """Give pictures that look alike, the most certain first."""
        name, deck = caller_of(request).name, self._desk.deck
        numbers = deck.look_alikes(name, asked.count, asked.tab, asked.known)
        found = [deck.sample(number) for number in numbers]
        items = await run_in_threadpool(describe_samples, self._desk, found)
        for item, number in zip(items, numbers, strict=True):
            item |= deck.proposal(number)
        return {"items": items, "progress": deck.progress(name)}

    async def places(self) -> dict[str, Any]:
        """List cameras with the regions that a person may choose from."""
        cameras = self._desk.workspace.catalog.counted(tables.frames)
        return {
            "places": [
                place for camera in cameras for place in self._desk.deck.names.places(camera)
            ]
        }

    async def strip(self, asked: StripAsked) -> dict[str, Any]:
        """Give the next frames of one region that nobody has labelled, cut into runs."""
        deck = self._desk.deck
        rows = deck.strip(asked.camera, asked.region, asked.after, asked.count)
        samples = [(frame, asked.region) for _, frame in rows]
        items = await run_in_threadpool(describe_samples, self._desk, samples)
        looks = await run_in_threadpool(self._looks, samples)
        starts = await run_in_threadpool(change_points, looks, sensitivity=asked.sensitivity)
        return {"items": items, "runs": _runs(deck, [number for number, _ in rows], starts)}

    def _looks(self, samples: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Look at samples as pictures of 16 x 16 grey pixels, (n, 256)."""
        s = tables.samples.c
        looks = []
        for start in range(0, len(samples), _LOOKS_AT_ONCE):
            part = samples[start : start + _LOOKS_AT_ONCE]
            select = sa.select(tables.samples).where(
                s.frame_id.in_([frame for frame, _ in part]), s.region == part[0][1]
            )
            rows = {row.frame_id: row for row in self._desk.workspace.catalog.rows(select)}
            places = [
                (rows[f].shard, rows[f].payload_offset_bytes, rows[f].payload_length_bytes)
                for f, _ in part
            ]
            request = {"kind": "looks", "files": len(part), "places": places}
            read = partial(_read, self._desk.workspace.shards, places)
            data = self._desk.pictures.make(request, read, keep=False)
            looks.append(np.frombuffer(data, np.uint8).reshape(len(part), -1))
        return np.concatenate(looks).astype(np.float32) if looks else np.empty((0, 256), np.float32)

    async def spot_checks(self, request: Request) -> dict[str, Any]:
        """Give frames whose label was spread over a run, to be judged one by one, and the rate.

        They are drawn by a hash of their names from everything this person spread, so nobody can
        choose them; what was judged so far estimates the share of wrong labels.
        """
        name = caller_of(request).name
        checked, wrong, due, last = await run_in_threadpool(self._checks, name)
        items = await run_in_threadpool(describe_samples, self._desk, due)
        for item, sample in zip(items, due, strict=True):
            item["base"] = last[sample]
        share, low, high = wilson(wrong, checked)
        rate = {"checked": checked, "wrong": wrong, "spread": len(last)}
        return {"items": items, **rate, "share": share, "low": low, "high": high}

    def _checks(self, name: str) -> tuple[int, int, list[Sample], dict[Sample, str]]:
        """Count checks and wrong ones; list what is due, and the last word on all of it."""
        labels = tables.labels.c
        select = (
            sa.select(tables.labels)
            .where(labels.annotator == name, labels.source.in_(("strip", "spot-check")))
            .order_by(labels.labelled_at)
        )
        first: dict[Sample, str] = {}
        judged: dict[Sample, str] = {}
        last: dict[Sample, str] = {}
        for row in self._desk.workspace.catalog.rows(select):
            said = first if row.source == "strip" else judged
            said[row.frame_id, row.region] = row.class_name
            last[row.frame_id, row.region] = row.id
        drawn = _drawn(list(first))
        due = [sample for sample in drawn if sample not in judged]
        known = [sample for sample in judged if sample in first]
        wrong = sum(judged[sample] != first[sample] for sample in known)
        return len(known), wrong, due[:20], {sample: last[sample] for sample in first}


def _read(shards: Storage, places: Sequence[tuple[str, int, int]]) -> list[bytes]:
    return [shards.read_range(*place) for place in places]


def _drawn(samples: list[Sample]) -> list[Sample]:
    """Draw one in twenty-five, forty at least, by a hash of the names."""
    if not samples:
        return []
    names = np.array([hash_of(sample) for sample in samples], np.uint64)
    order = np.argsort(mix(names, 1), kind="stable")
    count = max(_FEWEST_CHECKS, len(samples) // _CHECK_EVERY)
    return [samples[place] for place in order[:count].tolist()]


def hash_of(sample: Sample) -> int:
    """Give 64 bits that name a sample, the same in every process."""
    import hashlib

    text = "/".join(sample).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _runs(deck: Deck, numbers: list[int], starts: list[int]) -> list[dict[str, Any]]:
    """Describe runs by where they begin and end, and the class a model proposes."""
    if not numbers:
        return []
    proposed, certainty = deck.proposals(numbers)
    return [
        {
            "start": run.start,
            "end": run.end,
            "proposed": deck.proposed_classes[run.proposed] if run.proposed >= 0 else None,
        }
        for run in runs_of(starts, proposed, certainty)
    ]
