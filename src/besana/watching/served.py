"""What `besana serve` kept of one camera, read as the watch reads collected frames."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog
from besana.catalog.watch import has_served, served
from besana.watching.rows import Asked, Frames, Judged, between, figures_of, frames_of

_PAGE_ROWS = 2000
_DAY = dt.timedelta(days=1)


def served_cameras(catalog: Catalog) -> dict[str, tuple[dt.datetime, dt.datetime]]:
    """Give the cameras that callers named, with the times of their first and last frame."""
    if not has_served(catalog):
        return {}
    s = served.c
    first, last = sa.func.min(s.served_at), sa.func.max(s.served_at)
    select = sa.select(s.camera, first.label("first"), last.label("last"))
    rows = catalog.rows(select.where(s.camera != "").group_by(s.camera))
    return {row.camera: (row.first, row.last) for row in rows}


def nameless(catalog: Catalog, start: dt.datetime, end: dt.datetime) -> int:
    """Count the predictions of pictures without a camera, with which nothing can be compared."""
    s = served.c
    select = sa.select(s.id).where(s.camera == "", s.served_at >= start, s.served_at < end)
    return catalog.count(select) if has_served(catalog) else 0


def served_frames(catalog: Catalog, camera: str, start: dt.datetime, end: dt.datetime) -> Frames:
    """Read what was measured on served frames, whichever version judged them.

    A frame that was collected too is left to `read_frames`. A server does not know where a
    camera looked at first, and keeps no row of a picture that it refused; so nothing is said of
    moved cameras and of unusable frames.

    Memory: 150 bytes a frame.
    """
    at_s, rows, hashes, seen = [], [], [], set()
    for page in _pages(catalog, camera, start, end, []):
        for row in page:
            if row.id in seen or not row.quality:
                continue
            seen.add(row.id)
            at_s.append(int(row.served_at.timestamp()))
            rows.append(figures_of(row.quality, None, stands_for=1 / (row.kept_share or 1.0)))
            hashes.append(row.quality.get("perceptual_hash"))
    return frames_of(at_s, rows, hashes)


def served_pages(catalog: Catalog, asked: Asked) -> Iterator[Judged]:
    """Read what a model version said of served frames, answered or in the shadow, by pages.

    The time of a sample is when it was served. Frames that were collected too are left out.
    """
    own = [served.c.model == asked.model, served.c.version == asked.version]
    for page in _pages(catalog, asked.camera, asked.start, asked.end, own):
        yield Judged(
            places=[],
            at_s=np.array([int(row.served_at.timestamp()) for row in page], np.int64),
            region=np.array([row.region for row in page]),
            probability=asked.probability(page),
            classes_said=[None] * len(page),
            vectors=_vectors([row.embedding for row in page]),
        )


def _pages(
    catalog: Catalog, camera: str, start: dt.datetime, end: dt.datetime, own: list[Any]
) -> Iterator[list[sa.Row[Any]]]:
    if not has_served(catalog):
        return
    s, f = served.c, tables.frames.c
    collected = {
        row.sha256
        for page in catalog.pages(
            sa.select(f.id, f.sha256).where(*between(camera, start - _DAY, end + _DAY)), [f.id]
        )
        for row in page
    }
    select = sa.select(served).where(
        s.camera == camera, s.served_at >= start, s.served_at < end, *own
    )
    key = [s.served_at, s.id, s.region, s.version]
    for page in catalog.pages(select, key, _PAGE_ROWS):
        if chosen := [row for row in page if row.sha256 not in collected]:
            yield chosen


def _vectors(kept: list[bytes | None]) -> NDArray[np.float16]:
    """Give the embeddings, (n, features); rows of NaN where none was kept."""
    length = max((len(one) // 2 for one in kept if one), default=0)
    nothing = np.full(length, np.nan, np.float16)
    found = [np.frombuffer(one, np.float16) if one else nothing for one in kept]
    return np.stack(found)
