"""A backup a day while the pages are served, in a minute in which nobody labels."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time

from besana.backup import BackupSettings, back_up, last_backup_at
from besana.workspace import Workspace

_QUIET_S = 60
_LONGEST_WAIT_S = 3600
_AFTER_ERROR_S = 900
_LOG = logging.getLogger("besana.web")


class Keeper:
    """Make a backup whenever the last one is too old.

    SQLite's writers wait while the catalog is copied, so it waits for a minute without labels, an
    hour at most.

    Args:
        workspace: What to back up.
        quiet_s: Seconds without a label that it waits for.
    """

    def __init__(self, workspace: Workspace, quiet_s: float = _QUIET_S) -> None:
        self._workspace, self._quiet_s = workspace, quiet_s
        self._settings = workspace.settings("backup", BackupSettings)
        self._said_at = time.monotonic()
        self._due_at: float | None = None
        self._not_before = 0.0

    def said(self) -> None:
        """Note that somebody labels."""
        self._said_at = time.monotonic()

    async def work(self) -> None:
        """Make a backup if one is due and nobody labels.

        Raises:
            BesanaError: If it could not be made; the next try is 15 minutes later.
        """
        now = time.monotonic()
        if now < self._not_before or not await asyncio.to_thread(self._is_due):
            return
        self._due_at = self._due_at or now
        if now - self._said_at < self._quiet_s and now - self._due_at < _LONGEST_WAIT_S:
            return
        self._not_before = now + _AFTER_ERROR_S
        made = await asyncio.to_thread(
            back_up, self._workspace, self._settings, dt.datetime.now(dt.UTC)
        )
        self._due_at, self._not_before = None, 0.0
        _LOG.info("backup %s: %.1f MB", made.name, made.size_bytes / 1e6)

    def _is_due(self) -> bool:
        if not self._settings.hours:
            return False
        last = last_backup_at(self._workspace.catalog)
        age = dt.timedelta(hours=self._settings.hours)
        return last is None or dt.datetime.now(dt.UTC) - last > age
