"""Frames of a camera on which regions should be looked at: by day, by night, before it moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog
from besana.web.survey import Survey

_SPREAD = 8
_MOVES = 3


def frames_to_look_at(catalog: Catalog, survey: Survey, camera: str) -> list[dict[str, Any]]:
    """List frames of one camera with why each is worth a look, in the order of time.

    Args:
        catalog: Tells the light of frames.
        survey: Tells which frames there are, and which the camera was moved for.
        camera: Name of the camera.

    Returns:
        `frame`, `at`, width and height, `why` (keys: `newest_day`, `newest_night`,
        `before_move`, `after_move`, `first_of_camera`, `in_between`), each frame once.
    """
    numbers = np.flatnonzero(survey.camera == survey.cameras.of(camera))
    if not len(numbers):
        return []
    moved = _moves(survey, numbers)
    wanted = {
        survey.frame_id(number): why
        for why, found in (
            ("in_between", _spread(numbers)),
            ("first_of_camera", [numbers[0]]),
            *moved,
        )
        for number in found
    }
    for light, why in (("day", "newest_day"), ("ir", "newest_night")):
        newest = _newest(catalog, camera, light)
        if newest:
            wanted[newest] = why
    f = tables.frames.c
    select = sa.select(f.id, f.captured_at, f.width_px, f.height_px).where(f.id.in_(list(wanted)))
    return [
        {
            "frame": row.id,
            "at": row.captured_at.isoformat() if row.captured_at else "",
            "width_px": row.width_px or 0,
            "height_px": row.height_px or 0,
            "why": wanted[row.id],
        }
        for row in catalog.rows(select.order_by(f.id))
    ]


def _spread(numbers: NDArray[np.int64]) -> list[int]:
    places = np.linspace(0, len(numbers) - 1, min(_SPREAD, len(numbers)))
    return [int(numbers[place]) for place in np.round(places).astype(np.int64)]


def _moves(survey: Survey, numbers: NDArray[np.int64]) -> list[tuple[str, list[int]]]:
    """Find the first frames after the camera was moved, and those just before."""
    kind = survey.kinds.of("camera_moved")
    if kind < 0:
        return []
    is_moved = (survey.issues[numbers] & np.uint64(1 << kind)) != 0
    starts = np.flatnonzero(is_moved & ~np.append(False, is_moved[:-1]))[-_MOVES:]
    before = [int(numbers[start - 1]) for start in starts if start > 0]
    return [("before_move", before), ("after_move", numbers[starts].tolist())]


def _newest(catalog: Catalog, camera: str, light: str) -> str | None:
    q = tables.quality.c
    # "0" is the character behind "/", so this is where the camera's frames end.
    inside = (q.frame_id > f"{camera}/") & (q.frame_id < f"{camera}0")
    select = sa.select(q.frame_id).where(inside, q.light == light)
    found: str | None = catalog.scalar(select.order_by(q.frame_id.desc()).limit(1))
    return found
