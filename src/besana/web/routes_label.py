"""Labelling: what comes next, what was said, what was before and after."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from besana import catalog as tables
from besana.catalog.web import skips, undone_labels
from besana.config import Settings
from besana.web.desk import Desk
from besana.web.gate import Access, RefusedError
from besana.web.names import Sample, shown
from besana.web.routes_account import caller_of
from besana.web.saving import Saying
from besana.web.server import Route

Id = Annotated[str, Field(min_length=1, max_length=500)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Note = Annotated[str, Field(max_length=2000)]
SOURCES = Literal["web", "grid", "strip", "spot-check", "review"]


class Act(Settings):
    """One thing that somebody did, in the order it was done."""

    act: Literal["label", "skip", "undo"]
    key: Key
    frame: Id = "-"
    region: Id = "-"
    words: dict[Annotated[str, Field(min_length=1, max_length=200)], bool] = Field(default={})
    base: Annotated[str, Field(max_length=64)] = ""
    reason: Literal["", "unusable", "unsure"] = ""
    note: Note = ""
    source: SOURCES = "web"


class Acts(Settings):
    """What a browser sends at once."""

    acts: Annotated[list[Act], Field(min_length=1, max_length=500)]


class Asked(Settings):
    """What a tab wants to see next."""

    count: Annotated[int, Field(ge=1, le=60)] = 20
    tab: Key
    known: Annotated[list[tuple[Id, Id]], Field(max_length=200)] = Field(default=[])


class LabelRoutes:
    """Routes of the labelling pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("POST", "/api/next", "labeller"), self.next),
            Route(Access("POST", "/api/acts", "labeller", body_bytes=1 << 20), self.acts),
            Route(Access("GET", "/api/history", "labeller"), self.history),
            Route(Access("GET", "/api/beside", "labeller"), self.beside),
            Route(Access("GET", "/api/progress", "labeller"), self.progress),
        ]

    async def next(self, asked: Asked, request: Request) -> dict[str, Any]:
        """Give the pictures that come next for the caller."""
        name = caller_of(request).name
        deck = self._desk.deck
        numbers = deck.next(name, asked.count, asked.tab, asked.known)
        found = [deck.sample(number) for number in numbers]
        # All of them are in the deck, so this takes no time worth a thread.
        items = describe_samples(self._desk, found)
        for item, number in zip(items, numbers, strict=True):
            item |= deck.proposal(number)
        return {"items": items, "progress": deck.progress(name)}

    async def acts(self, acts: Acts, request: Request) -> dict[str, Any]:
        """Save what was done, in its order; each is durable when the answer comes."""
        name = caller_of(request).name
        results: list[dict[str, Any]] = []
        waiting: list[Saying] = []
        book = self._desk.classes
        names = book.settled() or await run_in_threadpool(book.names)
        for act in acts.acts:
            error = await self._error_of(act, names)
            if act.act == "label" and not error:
                waiting.append(
                    Saying(
                        act.key, act.frame, act.region, act.words, act.base, act.source, act.note
                    )
                )
                continue
            results += await self._desk.label(name, waiting) if waiting else []
            waiting = []
            results.append(error or await self._other(name, act))
        results += await self._desk.label(name, waiting) if waiting else []
        return {"results": results}

    async def _error_of(self, act: Act, names: Sequence[str]) -> dict[str, Any]:
        """Say what is wrong with an act; the acts beside it are saved all the same."""
        if act.act == "undo":
            return {}
        unknown = [word for word in act.words if word not in names]
        if act.act == "label" and (unknown or not act.words):
            problem = f"{unknown[0] if unknown else ''!r} is no class."
            return {"error": "unknown_class", "problem": problem}
        sample = (act.frame, act.region)
        if not self._desk.deals(sample) and not await run_in_threadpool(self._is_frame, act.frame):
            return {"error": "unknown_sample", "problem": "There is no such sample."}
        return {}

    def _is_frame(self, frame: str) -> bool:
        """Tell whether there is a frame; its samples may have been cut anew meanwhile."""
        frames = tables.frames.c
        return bool(
            self._desk.workspace.catalog.rows(sa.select(frames.id).where(frames.id == frame))
        )

    async def _other(self, name: str, act: Act) -> dict[str, Any]:
        if act.act == "skip":
            if not act.reason:
                raise RefusedError(422, "wrong_input", "A skip needs a reason.")
            sample = (act.frame, act.region)
            await self._desk.skip(name, act.key, sample, act.reason, act.note)
            return {"saved": act.key}
        try:
            return await self._desk.undo(name, act.key)
        except RefusedError as refused:
            return {"error": refused.error}

    def history(self, frame: Id, region: Id, request: Request) -> dict[str, Any]:
        """Tell who said what about a sample.

        Labellers see their own words, so that votes stay blind, reviewers everybody's.
        """
        caller = caller_of(request)
        only = caller.name if caller.role == "labeller" else None
        return {"events": history_of(self._desk, (frame, region), only)}

    async def beside(self, frame: Id, region: Id) -> dict[str, Any]:
        """Give the same region in the frames just before and after."""
        before, after = self._desk.deck.names.beside((frame, region), 8)
        asked = [(name, region) for name in [*before[::-1], *after]]
        items = await run_in_threadpool(describe_samples, self._desk, asked)
        return {"before": items[: len(before)], "after": items[len(before) :]}

    async def progress(self, request: Request) -> dict[str, Any]:
        """Count what is done."""
        return dict(self._desk.deck.progress(caller_of(request).name))


def describe_samples(desk: Desk, wanted: Sequence[Sample]) -> list[dict[str, Any]]:
    """Tell what a page shows of samples: camera, time, where its picture is.

    Args:
        desk: Whose samples.
        wanted: Some dozens of them.
    """
    known = [desk.deck.names.described(sample) for sample in wanted] if desk.is_ready else []
    if known and None not in known:
        return [item for item in known if item is not None]
    s, f = tables.samples.c, tables.frames.c
    frames = sorted({frame for frame, _ in wanted})
    select = (
        sa.select(s.frame_id, s.region, s.crc32c, f.camera, f.captured_at)
        .join_from(tables.samples, tables.frames, s.frame_id == f.id, isouter=True)
        .where(s.frame_id.in_(frames))
    )
    rows = {(row.frame_id, row.region): row for row in desk.workspace.catalog.rows(select)}
    items = []
    for frame, region in wanted:
        row = rows.get((frame, region))
        at = row.captured_at.isoformat() if row is not None and row.captured_at is not None else ""
        camera = (row.camera if row is not None else None) or frame.rpartition("/")[0]
        items.append(shown(frame, region, camera, at, row.crc32c if row is not None else None))
    return items


def history_of(desk: Desk, sample: Sample, only: str | None) -> list[dict[str, Any]]:
    """Read everything that was said about a sample, also what was taken back, oldest first.

    Args:
        desk: Whose catalog.
        sample: Which.
        only: Whose words; None for everybody's.
    """
    events = []
    for table, taken_back in ((tables.labels, False), (undone_labels, True)):
        for row in _of_sample(desk, table, sample, only):
            said = row.class_name if row.holds else f"not {row.class_name}"
            events.append(_event(row.annotator, said, row.labelled_at, row, taken_back))
    for row in _of_sample(desk, skips, sample, only):
        taken_back = row.undone_at is not None
        events.append(_event(row.annotator, f"({row.reason})", row.skipped_at, row, taken_back))
    return sorted(events, key=lambda event: str(event["at"]))


def _of_sample(desk: Desk, table: sa.Table, sample: Sample, only: str | None) -> list[Any]:
    select = sa.select(table).where(table.c.frame_id == sample[0], table.c.region == sample[1])
    if only is not None:
        select = select.where(table.c.annotator == only)
    return desk.workspace.catalog.rows(select)


def _event(who: str, said: str, at: dt.datetime, row: Any, taken_back: bool) -> dict[str, Any]:
    return {
        "who": who,
        "said": said,
        "at": at.isoformat(timespec="seconds"),
        "note": row.note,
        "id": row.id,
        "source": getattr(row, "source", "skip"),
        "taken_back": taken_back,
    }
