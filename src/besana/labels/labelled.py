"""Samples with their current label, page by page: what a dataset is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.catalog.views import CURRENT_CLASS_LABELS, CURRENT_LABELS

PAGE_ROWS = 2000
_FRAMES_A_QUERY = 400
EXACT_DUPLICATE, NEAR_DUPLICATE = "exact_duplicate", "near_duplicate"

Sample = tuple[str, str]
"""Frame id and region."""


@dataclass(frozen=True)
class Said:
    """What people currently say about one sample.

    Attributes:
        classes: The classes that hold: the majority's, in alphabetical order.
        tied: Whether as many say otherwise.
    """

    classes: tuple[str, ...]
    tied: bool


@dataclass(frozen=True)
class Page:
    """Consecutive samples, ordered by frame and region.

    Attributes:
        count: How many samples there are.
        columns: Columns of `samples`, with `camera`, `captured_at`, `collected_at`, `sha256`,
            `name` and `light` of their frame (light None before clean has run), and the wanted
            metadata as `metadata_0`, ...
        said: What people say about those that are labelled.
        blocked: Frames of these samples that are in quarantine.
    """

    count: int
    columns: Mapping[str, Sequence[Any]]
    said: dict[Sample, Said]
    blocked: frozenset[str]


def labelled_pages(
    catalog: Catalog, *, multi: bool, metadata: Sequence[str] = (), rows: int = PAGE_ROWS
) -> Iterator[Page]:
    """Read all samples in the order of frame and region, with what people say about them.

    Args:
        catalog: Where they are.
        multi: Whether several classes may hold for one sample.
        metadata: Keys of the frames' metadata to read along, as text.
        rows: Samples a page.
    """
    s, f, q = tables.samples.c, tables.frames.c, tables.quality.c
    wanted = [f.metadata[key].as_string().label(f"metadata_{i}") for i, key in enumerate(metadata)]
    joined = tables.samples.join(tables.frames, s.frame_id == f.id).outerjoin(
        tables.quality, s.frame_id == q.frame_id
    )
    columns = [column for column in s if column.name != "prepared_at"]
    read = (f.camera, f.captured_at, f.collected_at, f.sha256, f.name)
    select = sa.select(*columns, *read, q.light, *wanted)
    for page in catalog.pages(select.select_from(joined), [s.frame_id, s.region], rows):
        first, last = page[0].frame_id, page[-1].frame_id
        said = said_between(catalog, first, last, multi=multi)
        # Whole columns are an order of magnitude faster to go through than rows with names.
        names = select.selected_columns.keys()
        values = dict(zip(names, zip(*page, strict=True), strict=True))
        yield Page(len(page), values, said, _blocked(catalog, first, last))


def said_between(catalog: Catalog, first: str, last: str, *, multi: bool) -> dict[Sample, Said]:
    """Read what people say about the samples of frames from one id to another, both included."""
    select = current_labels_where("frame_id BETWEEN :first AND :last", multi=multi)
    return _said(catalog.rows(select.bindparams(first=first, last=last)), multi)


def said_about(catalog: Catalog, frame_ids: Sequence[str], *, multi: bool) -> dict[Sample, Said]:
    """Read what people say about the samples of some frames."""
    select = current_labels_where("frame_id IN :ids", multi=multi)
    expanding = select.bindparams(sa.bindparam("ids", expanding=True))
    said: dict[Sample, Said] = {}
    for start in range(0, len(frame_ids), _FRAMES_A_QUERY):
        ids = list(frame_ids[start : start + _FRAMES_A_QUERY])
        said |= _said(catalog.rows(expanding.bindparams(ids=ids)), multi)
    return said


def current_labels_where(condition: str, *, multi: bool) -> Any:
    """Write the current-label view narrowed to some label events.

    SQLite does not carry a condition on a view into the window functions inside it, and would
    rank all events of the catalog for every page: here the condition stands inside.

    Args:
        condition: SQL on columns of `labels` that tell samples apart, never values.
        multi: Whether to read the view of several classes a sample.
    """
    view = CURRENT_CLASS_LABELS if multi else CURRENT_LABELS
    body = view.partition(" AS\n")[2]
    narrowed = f"FROM (SELECT * FROM labels WHERE {condition}) AS labels"
    return sa.text(body.replace("FROM labels", narrowed))


def is_multi(catalog: Catalog) -> bool:
    """Tell whether labels say that classes do not hold, which only several classes need."""
    select = sa.select(tables.labels.c.id).where(sa.not_(tables.labels.c.holds)).limit(1)
    return catalog.scalar(select) is not None


def duplicate_pairs(
    catalog: Catalog, kinds: Sequence[str] = (EXACT_DUPLICATE, NEAR_DUPLICATE)
) -> Iterator[list[tuple[str, str]]]:
    """Read which frame duplicates which, page by page."""
    i = tables.issues.c
    select = sa.select(i.frame_id, i.kind, i.detail).where(i.kind.in_(kinds), i.detail.is_not(None))
    for page in catalog.pages(select, [i.frame_id, i.kind], PAGE_ROWS):
        yield [(row.frame_id, row.detail) for row in page]


def _said(rows: Sequence[Any], multi: bool) -> dict[Sample, Said]:
    if not multi:
        return {(frame, region): _one(name, bool(tied)) for frame, region, name, _, _, tied in rows}
    said: dict[Sample, Said] = {}
    for row in sorted(rows, key=lambda row: str(row.class_name)):
        before = said.get((row.frame_id, row.region), Said((), False))
        classes = (*before.classes, row.class_name) if row.holds else before.classes
        said[row.frame_id, row.region] = Said(classes, before.tied or bool(row.tied))
    return said


@cache
def _one(class_name: str, tied: bool) -> Said:
    return Said((class_name,), tied)


def _blocked(catalog: Catalog, first: str, last: str) -> frozenset[str]:
    i = tables.issues.c
    select = sa.select(i.frame_id).where(i.blocks, i.frame_id.between(first, last)).distinct()
    return frozenset(row.frame_id for row in catalog.rows(select))
