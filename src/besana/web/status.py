"""What the first page shows: how far everything is, in a time that does not grow with the data."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from besana import catalog as tables
from besana.backup import last_backup_at
from besana.catalog import Catalog
from besana.config import read_toml
from besana.progress import running
from besana.storage import free_bytes
from besana.watching.retraining import last_steps
from besana.watching.state import watched_cameras
from besana.web.desk import Desk
from besana.web.way import read_way
from besana.workspace import SETTINGS_FILE, Workspace

_TRAININGS = 10
STEP_WORDS = {
    "labels": "Labels asked for",
    "split": "Dataset frozen",
    "train": "Model trained",
    "evaluate": "Model evaluated",
    "register": "Model registered",
    "gate": "Judged by the gate",
    "approval": "Decided",
    "promoted": "The new model is champion",
    "kept": "The champion stays",
}
"""Steps and ends of a retraining, as people read them."""


def status_facts(desk: Desk) -> dict[str, Any]:
    """Gather the way, what is due, the watch, labels by class, the last trainings.

    Args:
        desk: Whose workspace.
    """
    workspace = desk.workspace
    catalog = workspace.catalog
    frames, quality, samples, labels = (
        catalog.counted(table)
        for table in (tables.frames, tables.quality, tables.samples, tables.labels)
    )
    total, issues = sum(labels.values()), catalog.counted(tables.issues)
    return {
        "way": read_way(workspace.reports),
        "running": running(workspace.temporary),
        "cameras": watched_cameras(catalog),
        "retraining": _retraining(catalog),
        "due": _due(desk, sum(frames.values()), sum(quality.values()), sum(samples.values())),
        "backup": last_backup_at(catalog),
        "classes": [
            (name, count, count / max(1, total))
            for name, count in sorted(labels.items(), key=lambda item: -item[1])
        ],
        "issues": sorted(issues.items(), key=lambda item: -item[1]),
        "mlflow": mlflow_address(workspace),
        "trainings": [
            path.parent.name
            for path in sorted(workspace.runs.glob("*/run.json"), reverse=True)[:_TRAININGS]
        ],
    }


def mlflow_address(workspace: Workspace) -> str:
    """Give the address of the MLflow server that trainings go to; empty where that is a file."""
    table = read_toml(workspace.path / SETTINGS_FILE).get("train", {})
    named = table.get("tracking_uri") if isinstance(table, dict) else ""
    address = str(named or os.environ.get("MLFLOW_TRACKING_URI", ""))
    parts = urlsplit(address)
    # Who may write settings may not make a link run anything, nor show a password.
    is_page = parts.scheme in ("http", "https") and bool(parts.hostname)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if is_page else ""


def _retraining(catalog: Catalog) -> tuple[str, list[tuple[str, bool]]] | None:
    """Give the last retraining's title and its steps in words, each with whether it is done."""
    found = last_steps(catalog)
    if found is None:
        return None
    title, steps = found
    return title, [(STEP_WORDS[step], done) for step, done in steps]


def _due(desk: Desk, frames: int, judged: int, samples: int) -> list[tuple[str, int, str]]:
    """List what waits for somebody: a phrase, a number, a key that names its unit."""
    found = [
        ("Frames collected", frames, ""),
        ("Frames judged", judged, ""),
        ("Samples prepared", samples, ""),
    ]
    if desk.is_ready:
        progress = desk.deck.progress("")
        labelled = progress["labelled"]
        found += [
            ("Samples with a label", labelled, ""),
            ("Samples without a label", progress["samples"] - labelled, ""),
            ("Samples that a reviewer should see", len(desk.learned.suspects), ""),
        ]
    found.append(("Free on disk", free_bytes(desk.workspace.path), "free_bytes"))
    return found
