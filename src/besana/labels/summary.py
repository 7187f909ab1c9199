"""Sum up all labels of a workspace in one pass: classes, annotators, ties, agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from besana.catalog import Catalog
from besana.labels.agreement import Agreement
from besana.labels.current import (
    current_class_labels,
    current_label,
    labelled_samples,
    last_answers,
    last_classes,
)
from besana.workspace import Report, Table

_LISTED = 200


@dataclass
class Summary:
    """What all labels say; memory grows with classes and annotators, not with samples.

    Attributes:
        events: Label events.
        samples: Samples with a current label.
        by_class: Class -> samples of which it is the current label.
        by_annotator: Annotator -> events.
        ties: Samples on which as many say otherwise.
        listed_ties: The first of them: sample and what is said.
        contradictions: Samples of which one annotator says two things at the same moment.
        listed_contradictions: The first of them: sample, annotator and what is said.
        agreement: How far annotators agree.
    """

    events: int = 0
    samples: int = 0
    by_class: Counter[str] = field(default_factory=Counter)
    by_annotator: Counter[str] = field(default_factory=Counter)
    ties: int = 0
    listed_ties: list[tuple[str, str]] = field(default_factory=list)
    contradictions: int = 0
    listed_contradictions: list[tuple[str, str, str]] = field(default_factory=list)
    agreement: Agreement = field(default_factory=Agreement)

    def add(self, events: Sequence[sa.Row[Any]], *, multi: bool) -> None:
        """Add the events of one sample."""
        self.events += len(events)
        self.by_annotator.update(event.annotator for event in events)
        self._add_multi(events) if multi else self._add_single(events)
        self._add_contradictions(events, multi=multi)

    def _add_single(self, events: Sequence[sa.Row[Any]]) -> None:
        label = current_label(events)
        if label is None:
            return
        said = last_classes(events)
        words = {name: next(iter(classes)) for name, classes in said.items() if len(classes) == 1}
        self.samples += 1
        self.by_class[label.class_name] += 1
        if label.tied:
            self._add_tie(events[0], ", ".join(sorted(set().union(*said.values()))))
        if len(words) > 1:
            self.agreement.add(words)

    def _add_multi(self, events: Sequence[sa.Row[Any]]) -> None:
        labels = current_class_labels(events)
        self.samples += 1
        self.by_class.update(label.class_name for label in labels.values() if label.holds)
        tied = sorted(label.class_name for label in labels.values() if label.tied)
        if tied:
            self._add_tie(events[0], ", ".join(tied))
        for class_name, words in last_answers(events).items():
            clear = {name: next(iter(said)) for name, said in words.items() if len(said) == 1}
            self.agreement.add({name: (class_name, holds) for name, holds in clear.items()})

    def _add_tie(self, event: sa.Row[Any], said: str) -> None:
        self.ties += 1
        if len(self.listed_ties) < _LISTED:
            self.listed_ties.append((f"{event.frame_id}/{event.region}", said))

    def _add_contradictions(self, events: Sequence[sa.Row[Any]], *, multi: bool) -> None:
        if len(events) < 2:
            return
        said: dict[Any, set[str]] = {}
        for event in events:
            about = event.class_name if multi else None
            word = f"{event.class_name} {'holds' if event.holds else 'not'}"
            key = (event.annotator, event.labelled_at, about)
            said.setdefault(key, set()).add(word if multi else event.class_name)
        for (annotator, _, _), words in said.items():
            if len(words) < 2:
                continue
            self.contradictions += 1
            if len(self.listed_contradictions) < _LISTED:
                sample = f"{events[0].frame_id}/{events[0].region}"
                self.listed_contradictions.append((sample, annotator, ", ".join(sorted(words))))


def sum_up(catalog: Catalog, *, multi: bool) -> Summary:
    """Sum up all labels, in one pass over them."""
    summary = Summary()
    for events in labelled_samples(catalog):
        summary.add(events, multi=multi)
    return summary


def describe(report: Report, summary: Summary) -> None:
    """Put a summary into a report."""
    report.fact("label_events", summary.events)
    report.fact("samples_labelled", summary.samples)
    report.fact("samples_tied", summary.ties)
    report.fact("contradictions", summary.contradictions)
    report.add(Table("Samples by class", ("class", "samples"), summary.by_class.most_common()))
    report.add(Table("Labels by annotator", ("annotator", "labels"), _most(summary.by_annotator)))
    if summary.listed_ties:
        note = "As many annotators say otherwise: these samples wait for a review."
        report.add(Table("Tied samples", ("sample", "classes"), summary.listed_ties, note))
    if summary.listed_contradictions:
        note = "One annotator said two things at the same moment: both are kept."
        columns = ("sample", "annotator", "classes")
        report.add(Table("Contradictions", columns, summary.listed_contradictions, note))
    _describe_agreement(report, summary.agreement)


def _describe_agreement(report: Report, agreement: Agreement) -> None:
    if not agreement.units:
        return
    report.fact("samples_with_several_annotators", agreement.units)
    report.fact("krippendorff_alpha", _rounded(agreement.krippendorff_alpha()))
    report.fact("fleiss_kappa", _rounded(agreement.fleiss_kappa()))
    rows = [
        (pair.first, pair.second, pair.samples, round(pair.observed, 4), _rounded(pair.kappa))
        for pair in agreement.cohen_kappas()
    ]
    columns = ("annotator", "other_annotator", "samples", "agreement", "cohen_kappa")
    note = "1 is full agreement, 0 is what chance alone would give."
    report.add(Table("Agreement of annotators", columns, rows[:_LISTED], note))


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_LISTED]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
