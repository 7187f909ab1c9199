"""The current label in Python, sample by sample: what the catalog's views say, word for word.

Of each annotator the latest event counts. The class with the most votes is the label; when
another has as many, the sample is tied and a person has to review it.
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
    votes = Counter(event.class_name for event in latest_words(events).values())
    if not votes:
        return None
    ranked = sorted(votes.items(), key=lambda item: (-item[1], item[0]))
    class_name, most = ranked[0]
    tied = len(ranked) > 1 and ranked[1][1] == most
    return CurrentLabel(class_name, True, most, votes.total(), tied)


def current_class_labels(events: Iterable[LabelRow]) -> dict[str, CurrentLabel]:
    """Return for each class of a sample whether it holds, where several may hold at once.

    Args:
        events: All events of one sample.
    """
    current = {}
    for class_name, words in class_words(events).items():
        votes, voters = sum(words.values()), len(words)
        current[class_name] = CurrentLabel(
            class_name, 2 * votes > voters, votes, voters, 2 * votes == voters
        )
    return current


def latest_words(events: Iterable[LabelRow]) -> dict[str, LabelRow]:
    """Return each annotator's latest event that says what a sample is."""
    latest: dict[str, LabelRow] = {}
    for event in sorted((event for event in events if event.holds), key=_age):
        latest[event.annotator] = event
    return latest


def class_words(events: Iterable[LabelRow]) -> dict[str, dict[str, bool]]:
    """Return class -> annotator -> whether the class holds, by each annotator's latest event."""
    words: dict[str, dict[str, bool]] = {}
    for event in sorted(events, key=_age):
        words.setdefault(event.class_name, {})[event.annotator] = event.holds
    return words


def labelled_samples(catalog: Catalog) -> Iterator[list[sa.Row[Any]]]:
    """Read the events of one sample after another, in one pass; do not write meanwhile."""
    labels = tables.labels.c
    select = sa.select(tables.labels).order_by(labels.frame_id, labels.region)
    rows = itertools.chain.from_iterable(catalog.stream(select))
    for _, events in itertools.groupby(rows, key=lambda row: (row.frame_id, row.region)):
        yield list(events)


def _age(event: LabelRow) -> tuple[dt.datetime, dt.datetime, str]:
    return event.labelled_at, event.added_at, event.id
