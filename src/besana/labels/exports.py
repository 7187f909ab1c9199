"""Labels frame by frame, as the files of other programs want them."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.current import current_class_labels, current_label, labelled_samples
from besana.labels.labelled import is_multi

_SAMPLES_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class Word:
    """One thing that was said about one region of a frame.

    Attributes:
        region: The region.
        class_name: The class.
        holds: Whether it holds.
        annotator: Who said it; empty for the current label, which is nobody's.
        labelled_at: When; None for the current label.
        source: How it came to be; empty for the current label.
        note: What else was said.
    """

    region: str
    class_name: str
    holds: bool
    annotator: str = ""
    labelled_at: dt.datetime | None = None
    source: str = ""
    note: str = ""

    def told(self) -> dict[str, str]:
        """Give what files have no place of their own for; only what is there."""
        at = self.labelled_at.isoformat(timespec="microseconds") if self.labelled_at else ""
        told = {"annotator": self.annotator, "time": at, "source": self.source}
        return {what: text for what, text in told.items() if text}


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """A frame of which something was said.

    Attributes:
        id: Its id.
        name: Its path below the folder it was collected from, escaped; the id when it is gone.
        camera: Its camera.
        size_px: Width and height, None when they are not known.
        words: What was said, region by region.
    """

    id: str
    name: str
    camera: str
    size_px: tuple[int, int] | None
    words: Sequence[Word]


def labelled_frames(catalog: Catalog, *, current: bool) -> Iterator[LabelledFrame]:
    """Read labels frame by frame, in the order of their ids; do not write meanwhile.

    Args:
        catalog: Where they are.
        current: The current label of each sample instead of every event; samples on which
            people are tied are left out.
    """
    multi = current and is_multi(catalog)
    samples = labelled_samples(catalog)
    said = ((events[0].frame_id, _words(events, current, multi)) for events in samples)
    pieces = itertools.groupby(said, key=lambda one: one[0])
    by_frame = ((frame_id, [w for _, words in group for w in words]) for frame_id, group in pieces)
    while batch := list(itertools.islice(by_frame, _SAMPLES_AT_ONCE)):
        select = sa.select(tables.frames).where(tables.frames.c.id.in_([one[0] for one in batch]))
        rows = {row.id: row for row in catalog.rows(select)}
        for frame_id, words in batch:
            if words:
                yield _frame(frame_id, rows.get(frame_id), words)


def _frame(frame_id: str, row: sa.Row[Any] | None, words: Sequence[Word]) -> LabelledFrame:
    if row is None:
        return LabelledFrame(frame_id, frame_id, frame_id.rpartition("/")[0], None, words)
    size = (row.width_px, row.height_px) if row.width_px and row.height_px else None
    return LabelledFrame(frame_id, row.name, row.camera, size, words)


def _words(events: Sequence[Any], current: bool, multi: bool) -> list[Word]:
    region = events[0].region
    if not current:
        return [
            Word(region, e.class_name, e.holds, e.annotator, e.labelled_at, e.source, e.note)
            for e in events
        ]
    one = None if multi else current_label(events)
    labels = list(current_class_labels(events).values()) if multi else [one] if one else []
    return [Word(region, label.class_name, label.holds) for label in labels if not label.tied]
