"""Which looks at which cameras can be taken now, and when the others can."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa

from besana import catalog as tables
from besana.watching.learnt import is_of
from besana.watching.rhythm import overdue
from besana.watching.rows import last_frame_at
from besana.watching.served import served_cameras
from besana.watching.state import last_look_at

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest
    from besana.workspace import Workspace


@dataclass(frozen=True)
class Look:
    """One look at one camera that can be taken now."""

    camera: str
    start_at: dt.datetime
    end_at: dt.datetime
    start_hour: int
    end_hour: int


@dataclass(frozen=True)
class Camera:
    """One camera and its looks.

    Attributes:
        name: Its name.
        looks: Those that can be taken now, in order.
        last_at: Its last frame; None when its frames have no times.
        next_at: When the look after those ends; None likewise.
        due_at: When its next frame should have come; None while it is not overdue.
    """

    name: str
    looks: list[Look]
    last_at: dt.datetime | None
    next_at: dt.datetime | None
    due_at: dt.datetime | None = None

    def misses(self, look: Look) -> bool:
        """Tell whether the camera had fallen silent when a look ended."""
        return self.due_at is not None and look.end_at >= self.due_at


@dataclass(frozen=True)
class Pace:
    """How often and how long is looked.

    Attributes:
        window_hours: Hours that a look takes in.
        every_hours: Hours from one look to the next.
        silent_days: Days for which a camera that sends nothing is still looked at.
    """

    window_hours: int
    every_hours: int
    silent_days: int


def plan_looks(
    workspace: Workspace,
    model: str,
    version: int,
    manifest: Manifest,
    pace: Pace,
    clock: dt.datetime,
) -> Iterator[Camera]:
    """Plan the looks at each camera.

    Looks end at full hours of the camera's clock, a window after the last sample of the
    dataset at the earliest. A camera that others have left behind by `every_hours` is looked at
    too, or one that died would never be missed; unless it was silent before the dataset's end.
    When all are silent the wall clock misses those whose next frame is overdue.

    Args:
        workspace: Whose cameras.
        model: Name of the model.
        version: Its version.
        manifest: The dataset that it was trained on.
        pace: How often.
        clock: What time it is.
    """
    late = overdue(workspace.catalog, clock)
    served = served_cameras(workspace.catalog)
    names = sorted({*workspace.catalog.counted(tables.frames), *served})
    last = {name: _last_at(workspace, name, served) for name in names}
    newest = max((at for at in last.values() if at is not None), default=None)
    for name in names:
        own, trained_until = last[name], _trained_until(workspace, manifest, name, served)
        if own is None or newest is None or trained_until is None:
            yield Camera(name, [], own, None)
            continue
        now = own + dt.timedelta(seconds=workspace.camera(name).frame_interval_s)
        if own > _dataset_until(manifest) - dt.timedelta(hours=pace.window_hours):
            others = newest - dt.timedelta(hours=pace.every_hours)
            if name in late:
                others = max(others, clock - late[name].lag)
            now = max(now, min(others, own + dt.timedelta(days=pace.silent_days)))
        known = last_look_at(workspace.catalog, model, version, name)
        planned = _planned(workspace, name, pace, now, trained_until, known, own)
        yield replace(planned, due_at=late[name].due_at) if name in late else planned


def _planned(
    workspace: Workspace,
    name: str,
    pace: Pace,
    now: dt.datetime,
    trained_until: dt.datetime,
    known: dt.datetime | None,
    last_at: dt.datetime,
) -> Camera:
    zone = ZoneInfo(workspace.camera(name).time_zone)
    newest = _hour(now, zone) // pace.every_hours * pace.every_hours
    first = _hour(trained_until, zone) + pace.window_hours + 1
    if known is not None:
        first = max(first, _hour(known, zone) + 1)
    first = -(-first // pace.every_hours) * pace.every_hours
    looks = []
    for end in range(first, newest + 1, pace.every_hours):
        start = end - pace.window_hours
        looks.append(Look(name, _time(start, zone), _time(end, zone), start, end))
    next_hour = looks[-1].end_hour + pace.every_hours if looks else first
    return Camera(name, looks, last_at, _time(next_hour, zone))


def _hour(at: dt.datetime, zone: ZoneInfo) -> int:
    """Count the full hours of the local clock since 1970."""
    local = at.astimezone(zone).replace(tzinfo=dt.UTC)
    return int(local.timestamp()) // 3600


def _time(hour: int, zone: ZoneInfo) -> dt.datetime:
    """Give the moment at which the local clock shows an hour since 1970."""
    local = dt.datetime.fromtimestamp(hour * 3600, dt.UTC).replace(tzinfo=zone)
    return local.astimezone(dt.UTC)


def _last_at(
    workspace: Workspace, name: str, served: dict[str, tuple[dt.datetime, dt.datetime]]
) -> dt.datetime | None:
    collected = last_frame_at(workspace.catalog, name)
    there = [at for at in (collected, served[name][1] if name in served else None) if at]
    return max(there, default=None)


def _trained_until(
    workspace: Workspace,
    manifest: Manifest,
    name: str,
    served: dict[str, tuple[dt.datetime, dt.datetime]],
) -> dt.datetime | None:
    """Tell when a camera's last sample of the model's dataset was taken.

    A camera that the dataset does not know is watched from its first frame on.
    """
    at: Any = manifest.column("captured_at")
    mine = at[is_of(manifest, "camera", name) & ~np.isnat(at)]
    if len(mine):
        return _moment(mine.max())
    f = tables.frames.c
    first = workspace.catalog.scalar(sa.select(sa.func.min(f.captured_at)).where(f.camera == name))
    there = [at for at in (first, served[name][0] if name in served else None) if at]
    return min(there, default=None)


def _dataset_until(manifest: Manifest) -> dt.datetime:
    """Tell when the last sample of a dataset was taken, whatever its camera."""
    at: Any = manifest.column("captured_at")
    known = at[~np.isnat(at)]
    return _moment(known.max()) if len(known) else dt.datetime.min.replace(tzinfo=dt.UTC)


def _moment(at: Any) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(at.astype("datetime64[s]").astype(np.int64)), dt.UTC)
