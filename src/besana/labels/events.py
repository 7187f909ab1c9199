"""Add label events: who said what about which sample, when. Nothing is ever overwritten."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog

_FRAMES_A_QUERY = 400


@dataclass(frozen=True, slots=True)
class Event:
    """One label event.

    Attributes:
        frame_id: Id of the frame.
        region: Name of the region.
        class_name: The class.
        holds: Whether the class holds; False only where several classes may hold at once.
        annotator: Who said it.
        source: How it came here: `csv`, `points`, `folders`, `masks`, `web`, ...
        labelled_at: When it was said, aware; None when nobody knows.
        note: What else was said.
    """

    frame_id: str
    region: str
    class_name: str
    holds: bool
    annotator: str
    source: str
    labelled_at: dt.datetime | None = None
    note: str = ""


def event_id(event: Event, labelled_at: dt.datetime) -> str:
    """Return the id of an event: a hash of everything that makes it this event.

    Args:
        event: The event.
        labelled_at: When it was said, or when it was first heard of.
    """
    moment = labelled_at.astimezone(dt.UTC).isoformat(timespec="microseconds")
    key = [
        event.frame_id,
        event.region,
        event.class_name,
        event.holds,
        event.annotator,
        event.source,
        moment,
    ]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def event_row(event: Event, now: dt.datetime) -> dict[str, Any]:
    """Return the catalog row of an event; one of unknown time counts as said now."""
    labelled_at = event.labelled_at or now
    return {
        "id": event_id(event, labelled_at),
        "frame_id": event.frame_id,
        "region": event.region,
        "class_name": event.class_name,
        "holds": event.holds,
        "annotator": event.annotator,
        "source": event.source,
        "labelled_at": labelled_at,
        "note": event.note,
        "added_at": now,
    }


def add_events(
    catalog: Catalog, events: Sequence[Event], *, now: dt.datetime, multi: bool = False
) -> int:
    """Add events in one transaction; adding the same ones again adds nothing.

    An event of unknown time is new only when its annotator's latest word on the sample is
    another one. So a file without times can be imported again after an edit, and only the edit
    is added. Two such words in one import that contradict each other are both kept.

    Args:
        catalog: Where the events go.
        events: A batch, some thousands at most.
        now: The time of the import, the same for all batches of one import.
        multi: Several classes may hold for one sample, so each class has its own latest word.

    Returns:
        How many events were added.
    """
    said = _said_before(catalog, [event for event in events if not event.labelled_at], multi)
    rows = []
    for event in events:
        if event.labelled_at is None:
            moments = said.setdefault(_speaker(event, multi), {})
            word = (event.class_name, event.holds)
            if moments and word in moments[max(moments)]:
                continue
            moments.setdefault(now, set()).add(word)
        rows.append(event_row(event, now))
    return catalog.insert(tables.labels, rows)


_Speaker = tuple[str, ...]
_Moments = dict[dt.datetime, set[tuple[str, bool]]]


def _speaker(event: Event | sa.Row[Any], multi: bool) -> _Speaker:
    about = (event.frame_id, event.region, event.annotator)
    return (*about, event.class_name) if multi else about


def _said_before(
    catalog: Catalog, events: Sequence[Event], multi: bool
) -> dict[_Speaker, _Moments]:
    """Read what the annotators of events said about the same frames before, and when."""
    frame_ids = sorted({event.frame_id for event in events})
    said: dict[_Speaker, _Moments] = {}
    for start in range(0, len(frame_ids), _FRAMES_A_QUERY):
        ids = frame_ids[start : start + _FRAMES_A_QUERY]
        select = sa.select(tables.labels).where(tables.labels.c.frame_id.in_(ids))
        for row in catalog.rows(select):
            moments = said.setdefault(_speaker(row, multi), {})
            moments.setdefault(row.labelled_at, set()).add((row.class_name, row.holds))
    return said
