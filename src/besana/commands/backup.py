"""Back up what cannot be made again: the catalog, people, trainings, settings, dataset lists.

Reads: besana.toml and calibration files, the catalog, web.db, runs/mlflow.db, datasets/
Writes: backups/<moment>, or where `[backup]` says
"""

from __future__ import annotations

import datetime as dt
import shlex

from pydantic import Field

from besana.backup import Backup, BackupSettings, back_up, place_of
from besana.config import Settings
from besana.console import plain_console
from besana.workspace import Workspace

EXAMPLE = "besana backup farm --to /media/other-disk/farm"


class Config(Settings):
    """Where the backup goes."""

    to: str = Field(
        default="", description="Folder or bucket of the backups; empty: as [backup] says."
    )
    keep: int | None = Field(
        default=None, ge=1, description="How many are kept; empty: as [backup] says."
    )


def run(workspace: Workspace, config: Config) -> Backup:
    """Make a backup, read it back, delete those that are too old.

    Raises:
        CorruptDataError: If a database is damaged, or what was written reads differently.
        StorageError: If disk or bucket refused.
    """
    own = workspace.settings("backup", BackupSettings)
    settings = BackupSettings(to=config.to or own.to, keep=config.keep or own.keep)
    made = back_up(workspace, settings, dt.datetime.now(dt.UTC))
    say, place = plain_console().print, place_of(workspace, settings)
    say(
        f"{made.name} in {place}: {len(made.files):,} files, {made.size_bytes / 1e6:,.1f} MB;"
        f" {made.rows.get('labels', 0):,} labels, {made.rows.get('frames', 0):,} frames."
    )
    say(f"Read back; the same. To get it back: besana restore NEW_FOLDER {shlex.quote(place)}")
    say("Original pictures, shards and models are not in it: copy frames/ and models/ too.")
    return made
