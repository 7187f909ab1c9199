"""A folder holds one simulation, whole or unfinished, and never two of them mixed."""

from __future__ import annotations

import json
from pathlib import Path

from besana.config import Settings
from besana.errors import ConfigError

MARK_FILE = "simulation.json"
# Counts up when the same settings give other bytes than before.
PROCESS = 1


def begin(path: Path, kind: str, settings: Settings) -> bool:
    """Take a folder for a simulation.

    Args:
        path: The folder, made when missing.
        kind: What is simulated.
        settings: What it is made from.

    Returns:
        True when the simulation is there already, whole.

    Raises:
        ConfigError: If the folder holds another simulation, or a workspace that is none.
    """
    mark = path / MARK_FILE
    if mark.is_file():
        found = json.loads(mark.read_text())
        is_whole = found.pop("is_whole")
        if found != _made_from(kind, settings):
            raise ConfigError(
                f"'{path}' holds another simulation.", "Choose another folder, or delete this one."
            )
        return bool(is_whole)
    if (path / "besana.toml").exists():
        raise ConfigError(f"'{path}' is a workspace already.", "Choose another folder.")
    path.mkdir(parents=True, exist_ok=True)
    _write(mark, kind, settings, is_whole=False)
    return False


def finish(path: Path, kind: str, settings: Settings) -> None:
    """Note that everything of the simulation is written."""
    _write(path / MARK_FILE, kind, settings, is_whole=True)


def _made_from(kind: str, settings: Settings) -> dict[str, object]:
    return {"kind": kind, "process": PROCESS, "settings": settings.model_dump(mode="json")}


def _write(mark: Path, kind: str, settings: Settings, *, is_whole: bool) -> None:
    content = {**_made_from(kind, settings), "is_whole": is_whole}
    new = mark.with_suffix(".new")
    new.write_text(json.dumps(content, indent=2))
    new.replace(mark)
