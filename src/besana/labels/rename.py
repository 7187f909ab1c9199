"""Give a class another name: new events beside the old ones, so that the history stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.events import Event, event_row

_SOURCE = "rename"
_MOMENT = dt.timedelta(microseconds=1)


def rename_classes(
    catalog: Catalog, names: Mapping[str, str], *, multi: bool, now: dt.datetime
) -> int:
    """Repeat every event of some classes under another name, just after it was said.

    So an annotator's later words still count as later. Where several classes may hold, the old
    class is said not to hold any more. Doing it twice adds nothing.

    Args:
        catalog: Where the events are.
        names: Old class -> new class.
        multi: Whether several classes may hold for one sample.
        now: The time of the run.

    Returns:
        How many events were added.
    """
    labels = tables.labels.c
    select = sa.select(tables.labels).where(
        labels.class_name.in_(names), sa.or_(labels.source != _SOURCE, labels.holds)
    )
    added = 0
    for page in catalog.pages(select, [labels.id]):
        rows = []
        for row in page:
            about = (row.frame_id, row.region)
            said = (row.annotator, _SOURCE, row.labelled_at + _MOMENT, row.note)
            new = Event(*about, names[row.class_name], row.holds, *said)
            rows.append(event_row(new, now))
            if multi and row.holds:
                rows.append(event_row(Event(*about, row.class_name, False, *said), now))
        added += catalog.insert(tables.labels, rows)
    return added
