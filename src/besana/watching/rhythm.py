"""When a camera's next frame is due, where frames come as they are taken."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog.watch import has_served, served
from besana.images.files import id_part

if TYPE_CHECKING:
    from besana.catalog import Catalog

PATIENCE = dt.timedelta(hours=6)
"""A camera is never missed earlier than this after its last frame should have come."""

# Frames that come later than this after they were taken come in heaps; no clock tells when.
_LIVE = dt.timedelta(days=3)
_LOOKED_BACK = dt.timedelta(days=30)
_MOST_FRAMES = 2000
_MORE = 1.5


@dataclass(frozen=True)
class Rhythm:
    """How a camera's frames came lately.

    Attributes:
        last_at: When the last one was taken.
        gap: Longest time between two of them.
        lag: Longest time from taking one to having it.
    """

    last_at: dt.datetime
    gap: dt.timedelta
    lag: dt.timedelta

    @property
    def due_at(self) -> dt.datetime:
        """Until when the next frame has come, unless the camera or the way from it is dead."""
        return self.last_at + self.lag + max(PATIENCE, _MORE * self.gap)


def rhythm_of(catalog: Catalog, camera: str) -> Rhythm | None:
    """Tell how a camera's frames came lately, collected or served.

    Memory: some thousand times.

    Returns:
        None when its frames have no times, or came in heaps long after they were taken, as
        recordings do: then nobody knows when the next ones come.
    """
    found = [one for one in (_collected(catalog, camera), _served(catalog, camera)) if one]
    newest = max(found, key=lambda one: one.last_at, default=None)
    return newest if newest is not None and newest.lag <= _LIVE else None


def live_cameras(catalog: Catalog) -> Mapping[str, Rhythm]:
    """Give the cameras whose frames come as they are taken, by name."""
    names = {*catalog.counted(tables.frames), *_served_names(catalog)}
    rhythms = {name: rhythm_of(catalog, name) for name in sorted(names)}
    return {name: one for name, one in rhythms.items() if one is not None}


def overdue(catalog: Catalog, now: dt.datetime) -> Mapping[str, Rhythm]:
    """Give the cameras whose next frame should have come, by name.

    Who has sent nothing for a month is no longer missed: that farm, or camera, is over.
    """
    return {
        name: one
        for name, one in live_cameras(catalog).items()
        if one.due_at < now <= one.last_at + _LOOKED_BACK
    }


def _collected(catalog: Catalog, camera: str) -> Rhythm | None:
    f, part = tables.frames.c, id_part(camera)
    mine = (f.camera == camera, f.id >= f"{part}/", f.id < f"{part}/~", f.captured_at.is_not(None))
    rows = catalog.rows(
        sa.select(f.captured_at, f.collected_at)
        .where(*mine)
        .order_by(f.id.desc())
        .limit(_MOST_FRAMES)
    )
    return _rhythm([(row.captured_at, row.collected_at) for row in rows])


def _served(catalog: Catalog, camera: str) -> Rhythm | None:
    if not has_served(catalog):
        return None
    s = served.c
    select = sa.select(s.served_at).where(s.camera == camera).order_by(s.served_at.desc())
    rows = catalog.rows(select.limit(_MOST_FRAMES))
    return _rhythm([(row.served_at, row.served_at) for row in rows])


def _served_names(catalog: Catalog) -> list[str]:
    if not has_served(catalog):
        return []
    select = sa.select(served.c.camera).where(served.c.camera != "").distinct()
    return [row.camera for row in catalog.rows(select)]


def _rhythm(times: list[tuple[dt.datetime, dt.datetime]]) -> Rhythm | None:
    """Learn it from when frames were taken and had, the newest first."""
    if not times:
        return None
    last = times[0][0]
    recent = [pair for pair in times if last - pair[0] <= _LOOKED_BACK]
    taken = [pair[0] for pair in recent]
    nothing = dt.timedelta()
    gap = max((later - before for later, before in itertools.pairwise(taken)), default=nothing)
    lag = max(nothing, *(had - at for at, had in recent))
    return Rhythm(last, gap, lag)
