"""What the watch has found, as rows: written look by look, read for alerts, pages and status."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import sqlalchemy as sa

from besana.catalog import Catalog
from besana.catalog.watch import create_tables, drift, has_tables
from besana.console import percent
from besana.watching.look import ACCURACY, CAMERA, Finding
from besana.watching.rhythm import overdue


def last_look_at(catalog: Catalog, model: str, version: int, camera: str) -> dt.datetime | None:
    """Tell until when a camera has been looked at for a model version; None when never."""
    d = drift.c
    select = sa.select(sa.func.max(d.window_end)).where(
        d.model == model, d.version == version, d.camera == camera
    )
    found = catalog.scalar(select)
    return found if isinstance(found, dt.datetime) else None


def untold(catalog: Catalog, model: str, version: int, remind_days: int) -> list[sa.Row[Any]]:
    """List changes that people have to be told of: new ones, and those told long ago.

    A change that goes on is one change, however many looks find it.
    """
    d, remind = drift.c, dt.timedelta(days=remind_days)
    own = (d.model == model, d.version == version)
    newest = catalog.scalar(sa.select(sa.func.max(d.window_end)).where(*own))
    if newest is None:
        return []
    select = (
        sa.select(drift)
        .where(*own, d.state == "drift", d.window_end >= newest - 2 * remind)
        .order_by(d.window_end, d.camera, d.region, d.signal)
    )
    told_at: dict[tuple[str, ...], dt.datetime] = {}
    found = []
    for row in catalog.rows(select):
        key = (row.camera, row.region, row.signal)
        is_new = key not in told_at or row.window_end - told_at[key] >= remind
        if row.alerted or is_new:
            told_at[key] = row.window_end
        if is_new and not row.alerted:
            found.append(row)
    return found


def store_look(
    catalog: Catalog,
    model: str,
    version: int,
    camera: str,
    window: tuple[dt.datetime, dt.datetime],
    findings: Iterable[Finding],
) -> None:
    """Write one look, all or nothing; a look that is there stays as it was."""
    now = dt.datetime.now(dt.UTC)
    rows = [
        {
            "model": model,
            "version": version,
            "camera": camera,
            "region": one.region,
            "signal": one.signal,
            "window_start": window[0],
            "window_end": window[1],
            "samples": one.samples,
            "value": _told(one.value),
            "expected": _told(one.expected),
            "low": _told(one.low),
            "high": _told(one.high),
            "score": _told(one.score),
            "score_limit": _told(one.limit),
            "state": one.state,
            "alerted": False,
            "looked_at": now,
        }
        for one in findings
    ]
    catalog.insert(drift, rows)


def latest_rows(catalog: Catalog, model: str, version: int) -> list[sa.Row[Any]]:
    """Read the last look at each camera."""
    d = drift.c
    last = (
        sa.select(d.camera, sa.func.max(d.window_end).label("at"))
        .where(d.model == model, d.version == version)
        .group_by(d.camera)
        .subquery()
    )
    select = (
        sa.select(drift)
        .join(last, sa.and_(d.camera == last.c.camera, d.window_end == last.c.at))
        .where(d.model == model, d.version == version)
        .order_by(d.camera, d.region, d.signal)
    )
    return catalog.rows(select)


def rows_since(
    catalog: Catalog, model: str, version: int, camera: str, since: dt.datetime
) -> list[sa.Row[Any]]:
    """Read the looks at a camera since some time, the oldest first."""
    d = drift.c
    select = (
        sa.select(drift)
        .where(d.model == model, d.version == version, d.camera == camera, d.window_end >= since)
        .order_by(d.window_end, d.region, d.signal)
    )
    return catalog.rows(select)


def mark_alerted(catalog: Catalog, rows: Sequence[sa.Row[Any]]) -> None:
    """Note that people were told of some rows."""
    keys = [column.name for column in drift.primary_key]
    told = sa.update(drift).values(alerted=True)
    for name in keys:
        told = told.where(drift.c[name] == sa.bindparam(f"key_{name}"))
    with catalog.transaction() as connection:
        if rows:
            values = [{f"key_{name}": row._mapping[name] for name in keys} for row in rows]
            connection.execute(told, values)


@dataclass(frozen=True)
class Watched:
    """How one camera was at its last look.

    Attributes:
        name: Its name.
        model: Name and number of the model version that watched it.
        until: End of the look.
        changes: Signals that had changed.
        accuracy: Estimated accuracy; None where nothing could be estimated.
    """

    name: str
    model: str
    until: dt.datetime
    changes: int
    accuracy: float | None


def watched_cameras(catalog: Catalog) -> list[Watched]:
    """Tell how the cameras of the model watched last are; nothing before the first look."""
    if not has_tables(catalog):
        return []
    d = drift.c
    newest = catalog.rows(
        sa.select(d.model, d.version).order_by(d.looked_at.desc(), d.window_end.desc()).limit(1)
    )
    if not newest:
        return []
    model, version = newest[0].model, newest[0].version
    rows = latest_rows(catalog, model, version)
    found = []
    for name in sorted({row.camera for row in rows}):
        own = [row for row in rows if row.camera == name]
        estimates = (r.value for r in own if r.signal == ACCURACY and r.region == CAMERA)
        accuracy = next((value for value in estimates if value is not None), None)
        changes = sum(row.state == "drift" for row in own)
        found.append(Watched(name, f"{model}/{version}", own[0].window_end, changes, accuracy))
    return found


def watch_status(catalog: Catalog, clock: dt.datetime | None = None) -> str:
    """Say in a line how the cameras of the last watched model are, and which ones are silent.

    Empty before the first look while every frame that is due has come.

    Args:
        catalog: Whose cameras.
        clock: What time it is; None means now.
    """
    cameras = watched_cameras(catalog)
    silent = overdue(catalog, clock or dt.datetime.now(dt.UTC))
    said = [f"{name} silent since {one.last_at:%Y-%m-%d %H:%M} UTC" for name, one in silent.items()]
    said += [_camera_status(one) for one in cameras if one.name not in silent]
    model = f"{cameras[0].model}: " if cameras else ""
    return f"{model}{'; '.join(said)}" if said else ""


def _camera_status(one: Watched) -> str:
    words = f"{one.name} {one.changes} changes" if one.changes else f"{one.name} as usual"
    return words if one.accuracy is None else f"{words}, accuracy about {percent(one.accuracy, 0)}"


def _told(value: float) -> float | None:
    return None if isnan(value) or value in (float("inf"), float("-inf")) else float(value)


__all__ = [
    "create_tables",
    "last_look_at",
    "latest_rows",
    "mark_alerted",
    "rows_since",
    "store_look",
    "untold",
    "watch_status",
]
