"""Show how far each stage is and what is due.

Reads: counts of the catalog, reports
Writes: nothing
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.backup import last_backup_at
from besana.config import Settings
from besana.console import plain_console
from besana.stages import STAGES
from besana.storage import free_bytes
from besana.watching.retraining import retraining_status
from besana.watching.state import watch_status
from besana.workspace import Workspace

EXAMPLE = "besana status farm"


class Config(Settings):
    """`besana status` has no settings but the workspace."""


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is.

    Attributes:
        stage: The verb.
        done: What it has made so far, in words.
        due: How many items wait for it; None where that is not a number of items.
        last_run_at: When it last ran, as ISO 8601 text; empty when never.
    """

    stage: str
    done: str
    due: int | None
    last_run_at: str


def run(workspace: Workspace, config: Config) -> list[StageStatus]:
    """Print one line a stage, from counts that are kept and never computed."""
    from rich.table import Table

    stages = read_status(workspace)
    table = Table("stage", "so far", "due", "last run", title=workspace.name, header_style="bold")
    for item in stages:
        due = "" if item.due is None else f"{item.due:,}"
        table.add_row(item.stage, item.done, due, item.last_run_at)
    console = plain_console(soft_wrap=False)
    console.print(table)
    console.print(f"Free on disk: {free_bytes(workspace.path) / 1e9:,.1f} GB")
    last = last_backup_at(workspace.catalog)
    told = f"{last:%Y-%m-%d %H:%M} UTC" if last else "none yet; make one with besana backup"
    console.print(f"Last backup: {told}")
    return stages


def read_status(workspace: Workspace) -> list[StageStatus]:
    """Tell how far each stage is, in a time that grows with the issues, not with the frames."""
    counted = {
        table.name: workspace.catalog.counted(table)
        for table in (
            tables.frames,
            tables.quality,
            tables.issues,
            tables.samples,
            tables.labels,
            tables.predictions,
        )
    }
    total = {name: sum(parts.values()) for name, parts in counted.items()}
    done = {
        "collect": f"{total['frames']:,} frames, {_parts(counted['frames'])}",
        "clean": f"{total['quality']:,} frames judged, issues: {_parts(counted['issues'])}",
        "prepare": f"{total['samples']:,} samples",
        "label": f"{total['labels']:,} label events, {_parts(counted['labels'])}",
        "split": _datasets(workspace),
        "train": f"trainings: {_runs(workspace):,}",
        "monitor": watch_status(workspace.catalog),
        "register": retraining_status(workspace.catalog),
        "predict": f"{total['predictions']:,} predictions, {_parts(counted['predictions'])}",
    }
    refused = workspace.catalog.count(_refused())
    due = {"clean": max(0, total["frames"] - total["quality"] - refused)}
    return [_status(workspace, name, done.get(name, ""), due.get(name)) for name in STAGES]


def _status(workspace: Workspace, stage: str, done: str, due: int | None) -> StageStatus:
    """Say what is done, or what the last run came to, and when that was."""
    path = workspace.reports / f"{stage}.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    said = done or "; ".join(report.get("results", []))
    return StageStatus(stage, said, due, str(report.get("started_at", ""))[:19])


def _refused() -> sa.Select[Any]:
    """Select the frames that a blocking issue kept from being measured."""
    issues, quality = tables.issues.c, tables.quality.c
    measured = sa.exists().where(quality.frame_id == issues.frame_id)
    return sa.select(issues.frame_id).where(issues.blocks, ~measured).distinct()


def _parts(parts: dict[str, int]) -> str:
    shown = sorted(parts.items(), key=lambda item: -item[1])[:6]
    return ", ".join(f"{name} {rows:,}" for name, rows in shown) or "none"


def _datasets(workspace: Workspace) -> str:
    d = tables.datasets.c
    latest = (
        sa.select(d.name, sa.func.max(d.version).label("version")).group_by(d.name).order_by(d.name)
    )
    return ", ".join(f"{row.name}/{row.version}" for row in workspace.catalog.rows(latest))


def _runs(workspace: Workspace) -> int:
    return sum(1 for _ in workspace.runs.glob("*/run.json"))
