"""The current label in Python, sample by sample: what the catalog's views say, word for word.

Of each annotator the latest event counts; one who says two things at the same moment votes for
both. The class with the most votes is the label; when another has as many, the sample is tied and
a person has to review it.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog


class LabelRow(Protocol):
    """A row of the `labels` table."""

    id: str
    class_name: str
    holds: bool
    annotator: str
    labelled_at: dt.datetime
    added_at: dt.datetime


@dataclass(frozen=True, slots=True)
class CurrentLabel:
    """What people say about a sample, or about one class of it.

    Attributes:
        class_name: The class.
        holds: Whether it holds; always true where a sample has one class.
        votes: Annotators who say that the class holds.
        voters: Annotators who say anything.
        tied: As many say something else.
    """

    class_name: str
    holds: bool
    votes: int
    voters: int
    tied: bool


def current_label(events: Iterable[LabelRow]) -> CurrentLabel | None:
    """Return the label of a sample that has one class; None when no event says one.

    Args:
        events: All events of one sample.
    """
    words = last_classes(events)
    votes = Counter(name for classes in words.values() for name in classes)
    if not votes:
        return None
    ranked = sorted(votes.items(), key=lambda item: (-item[1], item[0]))
    class_name, most = ranked[0]
    tied = len(ranked) > 1 and ranked[1][1] == most
    return CurrentLabel(class_name, True, most, len(words), tied)


def current_class_labels(events: Iterable[LabelRow]) -> dict[str, CurrentLabel]:
    """Return for each class of a sample whether it holds, where several may hold at once.

    Args:
        events: All events of one sample.
    """
    current = {}
    for class_name, words in last_answers(events).items():
        votes = sum(True in said for said in words.values())
        against = sum(False in said for said in words.values())
        current[class_name] = CurrentLabel(
            class_name, votes > against, votes, len(words), votes == against
        )
    return current


def last_classes(events: Iterable[LabelRow]) -> dict[str, set[str]]:
    """Return annotator -> what they last said a sample is; two who contradict themselves."""
    return {
        annotator: {event.class_name for event in last}
        for annotator, last in _last(event for event in events if event.holds).items()
    }


def last_answers(events: Iterable[LabelRow]) -> dict[str, dict[str, set[bool]]]:
    """Return class -> annotator -> whether they last said that it holds; or both."""
    by_class: dict[str, list[LabelRow]] = {}
    for event in events:
        by_class.setdefault(event.class_name, []).append(event)
    return {
        class_name: {name: {event.holds for event in last} for name, last in _last(said).items()}
        for class_name, said in by_class.items()
    }


def _last(events: Iterable[LabelRow]) -> dict[str, list[LabelRow]]:
    """Return each annotator's latest events: several when they are of the same moment."""
    last: dict[str, list[LabelRow]] = {}
    for event in events:
        known = last.get(event.annotator)
        if known is None or _moment(event) > _moment(known[0]):
            last[event.annotator] = [event]
        elif _moment(event) == _moment(known[0]):
            known.append(event)
    return last


def labelled_samples(catalog: Catalog) -> Iterator[list[sa.Row[Any]]]:
    """Read the events of one sample after another, in one pass; do not write meanwhile."""
    labels = tables.labels.c
    select = sa.select(tables.labels).order_by(labels.frame_id, labels.region)
    rows = itertools.chain.from_iterable(catalog.stream(select))
    for _, events in itertools.groupby(rows, key=lambda row: (row.frame_id, row.region)):
        yield list(events)


def _moment(event: LabelRow) -> tuple[dt.datetime, dt.datetime]:
    return event.labelled_at, event.added_at
