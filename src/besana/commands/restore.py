"""Make a workspace of a backup.

Reads: a backup, as `besana backup` or `besana web` made it
Writes: a new workspace
"""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import Field

from besana.backup import Backup, restore
from besana.config import Settings
from besana.console import plain_console

EXAMPLE = "besana restore new-farm farm/backups"
ARGUMENTS = ("farm", "source")


class Config(Settings):
    """Which backup."""

    source: str = Field(description="Folder or bucket of the backups.")
    name: str = Field(default="", description="Folder of one of them; empty: the last.")


def run(path: Path, config: Config) -> Backup:
    """Restore, and say what is still to be copied.

    Raises:
        ConfigError: If something lies there already, or the PostgreSQL catalog has rows.
        CorruptDataError: If a file of the backup is not what it was.
        NotFoundError: If there is no such backup.
    """
    restored = restore(path, config.source, config.name)
    say = plain_console().print
    say(
        f"{path} is as it was at {restored.made_at}: {restored.rows.get('labels', 0):,} labels,"
        f" {restored.rows.get('frames', 0):,} frames."
    )
    say("Copy frames/ and models/ there unless they lie in a bucket; then:")
    say(f"besana prepare {shlex.quote(str(path))} --check")
    return restored
