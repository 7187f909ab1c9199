"""The team: what people disagree about, how far they agree, and how fast they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import sqlalchemy as sa
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from besana import catalog as tables
from besana.catalog.web import skips
from besana.config import Settings
from besana.labels.agreement import Agreement, PairAgreement
from besana.labels.current import last_classes
from besana.labels.proposals import expected_gain
from besana.labels.team import Words, agreement_intervals, confusion, kappa_interval
from besana.web.deck import ORDERS
from besana.web.desk import Desk
from besana.web.gate import Access, RefusedError
from besana.web.model_loop import FIRST_LABELS
from besana.web.names import Sample
from besana.web.routes_account import caller_of
from besana.web.routes_label import describe_samples
from besana.web.server import Route

_MOST = 3000
_FRAMES_A_QUERY = 400
_SHOWN = 40
_PAUSE_S = 120.0
_SHORTEST_S = 20.0
_USUAL_AN_HOUR = 1000
_LATEST = 500


class OrderChoice(Settings):
    """In which order pictures come up."""

    order: Annotated[str, Field(max_length=20)]


class TeamRoutes:
    """Routes of reviewing and of the team."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("GET", "/api/review", "reviewer"), self.review),
            Route(Access("GET", "/api/team", "reviewer"), self.team),
            Route(Access("GET", "/api/learning", "labeller"), self.learning),
            Route(Access("POST", "/api/order", "reviewer"), self.set_order),
        ]

    async def review(self, request: Request, opened: bool = False) -> dict[str, Any]:
        """Give pictures that people disagree about, were unsure of, or probably got wrong.

        Args:
            request: Who asks.
            opened: Whether to tell who said what; else the reviewer judges blind.
        """
        name, deck = caller_of(request).name, self._desk.deck
        several = np.flatnonzero(deck.voters >= 2)[-_MOST:]
        suspects = [deck.sample(number) for number in self._desk.learned.suspects[:_MOST]]
        shared = [deck.sample(number) for number in several.tolist()]
        found = await run_in_threadpool(self._reviews, shared, suspects)
        chosen = found[:_SHOWN]
        items = await run_in_threadpool(describe_samples, self._desk, [s for s, _, _ in chosen])
        for item, (_, why, events) in zip(items, chosen, strict=True):
            own = [event for event in events if event.annotator == name]
            item["why"], item["base"] = why, max(own, key=_age).id if own else ""
            if opened:
                item["votes"] = words_of(events)
        return {"items": items, "waiting": len(found)}

    def _reviews(
        self, shared: Sequence[Sample], suspects: Sequence[Sample]
    ) -> list[tuple[Sample, str, list[Any]]]:
        unsure = [
            (row.frame_id, row.region)
            for row in self._desk.workspace.catalog.rows(
                sa.select(skips)
                .where(skips.c.reason == "unsure", skips.c.undone_at.is_(None))
                .limit(_MOST)
            )
        ]
        events = events_of(self._desk, [*shared, *suspects, *unsure])
        found: dict[Sample, tuple[Sample, str, list[Any]]] = {}
        for why, samples in (("disagree", shared), ("unsure", unsure), ("suspect", suspects)):
            for sample in samples:
                own = events.get(sample, [])
                settled = any(event.source == "review" for event in own)
                if settled or sample in found or (why == "disagree" and not _differ(own)):
                    continue
                found[sample] = (sample, why, own)
        return list(found.values())

    async def team(self) -> dict[str, Any]:
        """Tell how far people agree, what each confuses, and how fast each is."""
        deck = self._desk.deck
        shared = [deck.sample(n) for n in np.flatnonzero(deck.voters >= 2)[-_MOST:].tolist()]
        return await run_in_threadpool(self._team, shared)

    def _team(self, shared: Sequence[Sample]) -> dict[str, Any]:
        agreement, units = Agreement(), []
        for sample, events in events_of(self._desk, shared).items():
            words = words_of(events)
            if len(words) > 1:
                agreement.add(words)
                units.append((block_of(sample), words))
        return {
            "units": len(units),
            "coefficients": agreement_intervals(units),
            "pairs": [
                {
                    "first": pair.first,
                    "second": pair.second,
                    "samples": pair.samples,
                    "observed": pair.observed,
                    "kappa": pair.kappa,
                    **_ends(units, pair),
                }
                for pair in agreement.cohen_kappas()
            ],
            "confusion": confusion(words for _, words in units),
            "paces": [self._pace(name) for name in self._annotators()],
        }

    def _annotators(self) -> list[str]:
        return self._desk.people.names("labeller", "reviewer", "admin")

    def _pace(self, name: str) -> dict[str, Any]:
        labels = tables.labels.c
        latest = (
            sa.select(labels.labelled_at, labels.source)
            .where(labels.annotator == name)
            .order_by(labels.added_at.desc())
            .limit(_LATEST)
        )
        rows = self._desk.workspace.catalog.rows(latest)
        total = self._desk.workspace.catalog.count(
            sa.select(labels.id).where(labels.annotator == name)
        )
        times = sorted(row.labelled_at for row in rows)
        gaps = np.diff([at.timestamp() for at in times])
        busy = gaps[gaps < _PAUSE_S]
        # One key for a whole run says nothing about how long a picture takes.
        known = float(busy.sum()) >= _SHORTEST_S
        an_hour = 3600 * len(busy) / busy.sum() if known else 0.0
        last = times[-1].isoformat(timespec="seconds") if times else ""
        return {"name": name, "labels": total, "an_hour": round(float(an_hour)), "last": last}

    async def learning(self) -> dict[str, Any]:
        """Tell how good the model in the loop is, and what the next half hour would buy."""
        learned, progress = self._desk.learned, self._desk.deck.progress("")
        people = self._annotators()
        paces = await run_in_threadpool(lambda: [self._pace(name)["an_hour"] for name in people])
        an_hour = np.mean([pace for pace in paces if pace] or [_USUAL_AN_HOUR])
        left = progress["samples"] - progress["labelled"]
        more = max(1, min(round(float(an_hour) / 2) * max(1, len(people)), left))
        return {
            "labels": learned.labels,
            "order": self._desk.order,
            "orders": list(ORDERS),
            "has_embeddings": learned.cluster is not None,
            "curve": learned.curve,
            "first": FIRST_LABELS,
            "more": more,
            "expected": expected_gain(learned.curve, more, learned.labels),
        }

    def set_order(self, choice: OrderChoice, request: Request) -> dict[str, str]:
        """Choose in which order pictures come up."""
        if choice.order not in ORDERS:
            raise RefusedError(422, "wrong_input", f"An order is one of {', '.join(ORDERS)}.")
        self._desk.people.choose(caller_of(request).name, "order", choice.order)
        return {"order": choice.order}


def _ends(units: Sequence[tuple[str, Words]], pair: PairAgreement) -> dict[str, float | None]:
    """Give the interval of a pair's kappa."""
    found = kappa_interval(units, pair.first, pair.second)
    return {end: found[end] for end in ("low", "high")}


def events_of(desk: Desk, samples: Iterable[Sample]) -> dict[Sample, list[Any]]:
    """Read all label events of some samples."""
    wanted = set(samples)
    frames = sorted({frame for frame, _ in wanted})
    found: dict[Sample, list[Any]] = {}
    for start in range(0, len(frames), _FRAMES_A_QUERY):
        ids = frames[start : start + _FRAMES_A_QUERY]
        select = sa.select(tables.labels).where(tables.labels.c.frame_id.in_(ids))
        for row in desk.workspace.catalog.rows(select):
            if (row.frame_id, row.region) in wanted:
                found.setdefault((row.frame_id, row.region), []).append(row)
    return found


def block_of(sample: Sample) -> str:
    """Name the camera and hour of a sample, whose pictures are alike."""
    camera, _, rest = sample[0].rpartition("/")
    return f"{camera}/{rest[:11]}"


def _differ(events: Sequence[Any]) -> bool:
    return len(set(words_of(events).values())) > 1


def words_of(events: Iterable[Any]) -> dict[str, str]:
    """Tell what each annotator last said a sample is; several classes at once are one word."""
    words = last_classes(events)
    return {who: ", ".join(sorted(said)) for who, said in sorted(words.items())}


def _age(event: Any) -> tuple[dt.datetime, dt.datetime, str]:
    return event.labelled_at, event.added_at, event.id
