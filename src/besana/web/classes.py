"""The classes as the pages show them: their keys, criteria and example pictures."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from besana import catalog as tables
from besana.workspace import Workspace

RESERVED_LETTERS = "fhnrz"
"""Letters that the labelling page needs for other things."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS classes (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, criteria TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS examples (
    class TEXT NOT NULL, frame_id TEXT NOT NULL, region TEXT NOT NULL,
    PRIMARY KEY (class, frame_id, region));
"""
_EXAMPLES = 6


class ClassBook:
    """What people know of the classes; safe to use from several threads.

    The names come from `[label] classes`, or, where that is empty, from what was said and added.

    Args:
        workspace: Whose classes.
        path: `web.db`.
    """

    def __init__(self, workspace: Workspace, path: Path) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def kind(self) -> str:
        """`auto`, `single` or `multi`, as `[label] kind` says."""
        return str(self._settings().get("kind", "auto"))

    def names(self) -> list[str]:
        """List the classes that may be said, in their order."""
        settings = self._settings()
        retired = {*settings.get("retired_classes", []), *settings.get("rename", {})}
        names = list(settings.get("classes", [])) or self._known()
        return [name for name in names if name not in retired]

    def _known(self) -> list[str]:
        added = [row[0] for row in self._rows("SELECT name FROM classes ORDER BY position, name")]
        said = self._workspace.catalog.counted(tables.labels)
        return [*added, *(name for name in sorted(said) if name not in added)]

    def listed(self) -> list[dict[str, Any]]:
        """List the classes with their keys, criteria, examples and number of labels."""
        names = self.names()
        criteria = dict(self._rows("SELECT name, criteria FROM classes"))
        counted = self._workspace.catalog.counted(tables.labels)
        examples: dict[str, list[dict[str, str]]] = {}
        for name, frame_id, region in self._rows("SELECT class, frame_id, region FROM examples"):
            examples.setdefault(name, []).append({"frame": frame_id, "region": region})
        return [
            {
                "name": name,
                "digit": str(place + 1) if place < 9 else "",
                "letter": letter,
                "criteria": criteria.get(name, ""),
                "examples": examples.get(name, [])[-_EXAMPLES:],
                "labels": counted.get(name, 0),
            }
            for place, (name, letter) in enumerate(zip(names, letters(names), strict=True))
        ]

    def add(self, name: str) -> None:
        """Add a class behind the others."""
        self._write(
            "INSERT INTO classes (name, position) SELECT ?, COALESCE(MAX(position), 0) + 1"
            " FROM classes WHERE true ON CONFLICT DO NOTHING",
            name,
        )

    def describe(self, name: str, criteria: str) -> None:
        """Say by what a class is known."""
        self.add(name)
        self._write("UPDATE classes SET criteria = ? WHERE name = ?", criteria, name)

    def show(self, name: str, sample: tuple[str, str], *, shown: bool) -> None:
        """Make a sample an example of a class, or no longer."""
        query = (
            "INSERT INTO examples VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            if shown
            else "DELETE FROM examples WHERE class = ? AND frame_id = ? AND region = ?"
        )
        self._write(query, name, *sample)

    def _settings(self) -> dict[str, Any]:
        table = self._workspace.tables.get("label", {})
        return table if isinstance(table, dict) else {}

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _write(self, query: str, *values: Any) -> None:
        with self._lock:
            self._database.execute(query, values)


def letters(names: Sequence[str]) -> list[str]:
    """Give each class a letter of its name, else any that is free; empty when none is left.

    >>> letters(["lying", "standing", "empty", "lame"])
    ['l', 's', 'e', 'a']
    """
    taken = set(RESERVED_LETTERS)
    found = []
    for name in names:
        wanted = [c for c in name.lower() if c in "abcdefghijklmnopqrstuvwxyz"]
        free = next((c for c in [*wanted, *"abcdefghijklmnopqrstuvwxyz"] if c not in taken), "")
        taken.add(free)
        found.append(free)
    return found
