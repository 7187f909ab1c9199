"""Identical files that people say different things about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.labelled import EXACT_DUPLICATE, Sample, duplicate_pairs, said_about
from besana.workspace import Picture, Pictures, Section, Table, Workspace

_SHOWN = 24
_TITLE = "Identical files with different labels"


@dataclass(frozen=True)
class Conflict:
    """Two frames with the same bytes that people say different things about.

    Attributes:
        first: A sample.
        second: The same region of the other frame.
        first_classes: What they say about the one.
        second_classes: What they say about the other.
    """

    first: Sample
    second: Sample
    first_classes: tuple[str, ...]
    second_classes: tuple[str, ...]


def conflicts(catalog: Catalog, *, multi: bool) -> Iterator[Conflict]:
    """Find exact duplicates whose labels differ."""
    for pairs in duplicate_pairs(catalog, [EXACT_DUPLICATE]):
        ids = sorted({frame_id for pair in pairs for frame_id in pair})
        said = said_about(catalog, ids, multi=multi)
        regions: dict[str, list[str]] = {}
        for frame_id, region in said:
            regions.setdefault(frame_id, []).append(region)
        for one, other in pairs:
            for region in sorted(set(regions.get(one, ())) & set(regions.get(other, ()))):
                first, second = said[other, region].classes, said[one, region].classes
                if first != second:
                    yield Conflict((other, region), (one, region), first, second)


def conflict_sections(workspace: Workspace, found: Sequence[Conflict]) -> list[Section]:
    """Show conflicts on a report's page: a table, and the pictures where there are thumbnails."""
    if not found:
        return []
    shown = found[:_SHOWN]
    rows = [
        [
            *("/".join(s) for s in (c.first, c.second)),
            _named(c.first_classes),
            _named(c.second_classes),
        ]
        for c in shown
    ]
    note = "The same bytes cannot be two classes, so neither is used. Settle their labels."
    columns = ["sample", "identical_sample", "classes", "other_classes"]
    q = tables.quality.c
    frames = [c.first[0] for c in shown]
    select = sa.select(q.frame_id, q.thumbnail).where(q.frame_id.in_(frames))
    thumbnails = {row.frame_id: row.thumbnail for row in workspace.catalog.rows(select)}
    items = [
        Picture(jpeg, f"{_named(c.first_classes)} / {_named(c.second_classes)}")
        for c in shown
        if (jpeg := thumbnails.get(c.first[0]))
    ]
    return [Table(_TITLE, columns, rows, note), *([Pictures(_TITLE, items)] if items else [])]


def _named(classes: Sequence[str]) -> str:
    return ", ".join(classes) or "none"
