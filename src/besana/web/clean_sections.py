"""What the page of `clean` shows: issues counted, cameras that were moved, the worst frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.engines import Engine
from besana.images.header import Limits
from besana.images.judge import JUDGED
from besana.images.views import Views
from besana.web.contact_sheet import FrameToShow, frame_pictures
from besana.workspace import Picture, Pictures, Report, Scalar, Table, Workspace

_HIGHEST_IS_WORST = frozenset({"overexposed", "camera_moved"})
_LISTED = 1000


def describe_issues(
    workspace: Workspace,
    report: Report,
    engine: Engine,
    *,
    blocking: Collection[str],
    pictures: int,
    limits: Limits,
) -> None:
    """Show how many frames have each issue, and the worst of each kind.

    Args:
        workspace: Where the frames and issues are.
        report: What to add to.
        engine: Where pictures are decoded.
        blocking: Judged issues that keep a frame out of later stages.
        pictures: How many of each kind.
        limits: What is decoded at all.
    """
    counted = workspace.catalog.counted(tables.issues)
    issues = tables.issues.c
    select = sa.select(issues.kind).where(issues.blocks).distinct()
    blocks = {row.kind for row in workspace.catalog.rows(select)}.difference(JUDGED)
    blocks.update(blocking)
    rows = [(kind, count, kind in blocks) for kind, count in counted.items()]
    report.add(Table("Issues", ("issue", "frames", "blocks"), rows))
    worst = {kind: _worst(workspace, kind, pictures) for kind in JUDGED if kind in counted}
    frames = {row.id: row for found in worst.values() for row in found}
    jobs = [FrameToShow(f.id, f.bands, workspace.camera(f.camera)) for f in frames.values()]
    shown = frame_pictures(workspace, jobs, engine, limits)
    for kind, found in worst.items():
        items = [Picture(shown[row.id], _caption(row)) for row in found if row.id in shown]
        report.add(Pictures(f"Worst frames: {kind}", items))


def describe_moves(report: Report, views: Mapping[str, Views]) -> None:
    """Show which camera looks elsewhere since which frame, one line a move."""
    moves: list[tuple[Scalar, ...]] = [
        (camera, move.first, round(move.offset[0], 1), round(move.offset[1], 1))
        for camera, seen in sorted(views.items())
        for move in seen.moves
    ]
    if moves:
        columns = ("camera", "first_frame", "shift_x_px", "shift_y_px")
        note = "Against the view that the camera had at first; near 0 it is back there."
        report.add(Table("Moved cameras", columns, moves[:_LISTED], note))


def _worst(workspace: Workspace, kind: str, count: int) -> list[Any]:
    frames, issues = tables.frames, tables.issues.c
    order = issues.score.desc() if kind in _HIGHEST_IS_WORST else issues.score
    select = sa.select(frames, issues.score, issues.detail).where(
        issues.kind == kind, issues.stage == "clean", issues.frame_id == frames.c.id
    )
    return workspace.catalog.rows(select.order_by(order, frames.c.id).limit(count))


def _caption(row: Any) -> str:
    score = None if row.score is None else f"{row.score:.3g}"
    return " · ".join(part for part in (row.id, score, row.detail) if part)
