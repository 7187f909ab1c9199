"""The classes as the pages show them: their keys, criteria and example pictures."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from besana import catalog as tables
from besana.config import read_toml
from besana.labels.labelled import is_multi
from besana.labels.rename import rename_classes
from besana.web.gate import RefusedError
from besana.web.settings_file import change_settings
from besana.workspace import SETTINGS_FILE, Workspace

RESERVED_LETTERS = "fhnrxz"
"""Letters that the labelling page needs for other things."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS classes (
    name TEXT PRIMARY KEY, criteria TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS examples (
    class TEXT NOT NULL, frame_id TEXT NOT NULL, region TEXT NOT NULL,
    PRIMARY KEY (class, frame_id, region));
"""
_EXAMPLES = 6
_LONGEST_NAME = 60


class ClassBook:
    """What people know of the classes; safe to use from several threads.

    The names come from `[label] classes`, or, where that is empty, from what was said.

    Args:
        workspace: Whose classes.
        path: `web.db`.
    """

    def __init__(self, workspace: Workspace, path: Path) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._table: dict[str, Any] = {}
        self._read_ns = 0
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

    def settled(self) -> list[str]:
        """List the classes that the settings name, in their order; takes no time."""
        return self._without_retired(self._settings().get("classes", []))

    def names(self) -> list[str]:
        """List the classes that may be said, in their order."""
        said = (
            ()
            if self._settings().get("classes")
            else self._workspace.catalog.counted(tables.labels)
        )
        return self.settled() or self._without_retired(sorted(said))

    def _without_retired(self, names: Iterable[str]) -> list[str]:
        settings = self._settings()
        retired = {*settings.get("retired_classes", []), *settings.get("rename", {})}
        return [name for name in names if name not in retired]

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
        name = " ".join(name.split())
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise RefusedError(422, "wrong_class", f"A class has 1 to {_LONGEST_NAME} letters.")
        names = self.names()
        if name in names:
            raise RefusedError(409, "taken_name", "There is such a class already.")
        settings = self._settings()
        retired = [old for old in settings.get("retired_classes", []) if old != name]
        renamed = {old: new for old, new in settings.get("rename", {}).items() if old != name}
        self._change(classes=[*names, name], retired_classes=retired, rename=renamed)

    def retire(self, name: str) -> None:
        """Keep a class in the history, and let nobody say it any more."""
        names = self._checked(name)
        retired = [*self._settings().get("retired_classes", []), name]
        self._change(classes=[n for n in names if n != name], retired_classes=retired)

    def rename(self, name: str, to: str) -> int:
        """Give a class another name, or merge it into another one; its labels move along.

        Returns:
            How many label events were added under the other name.
        """
        names = self._checked(name)
        if to not in names:
            self.add(to)
        labels = self._workspace.catalog
        multi = self.kind == "multi" or (self.kind == "auto" and is_multi(labels))
        moved = rename_classes(labels, {name: to}, multi=multi, now=dt.datetime.now(dt.UTC))
        order = [to if n == name and to not in names else n for n in names]
        renamed = {**self._settings().get("rename", {}), name: to}
        self._change(classes=[n for n in order if n != name], rename=renamed)
        with self._lock:
            self._database.execute(
                "UPDATE OR IGNORE classes SET name = ? WHERE name = ?", (to, name)
            )
            self._database.execute(
                "UPDATE OR IGNORE examples SET class = ? WHERE class = ?", (to, name)
            )
        return moved

    def _checked(self, name: str) -> list[str]:
        names = self.names()
        if name not in names:
            raise RefusedError(404, "not_found", "There is no such class.")
        return names

    def _change(self, **values: Any) -> None:
        known = self._settings()
        kept = {key: value for key, value in values.items() if value or key in known}
        change_settings(self._workspace.path, "label", kept)

    def describe(self, name: str, criteria: str) -> None:
        """Say by what a class is known."""
        self._write(
            "INSERT INTO classes (name, criteria) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET criteria = excluded.criteria",
            name,
            criteria,
        )

    def show(self, name: str, sample: tuple[str, str], *, shown: bool) -> None:
        """Make a sample an example of a class, or no longer."""
        query = (
            "INSERT INTO examples VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            if shown
            else "DELETE FROM examples WHERE class = ? AND frame_id = ? AND region = ?"
        )
        self._write(query, name, *sample)

    def _settings(self) -> dict[str, Any]:
        """Read `[label]` anew: it may have been changed, here or by hand."""
        path = self._workspace.path / SETTINGS_FILE
        changed_ns = path.stat().st_mtime_ns
        if changed_ns != self._read_ns:
            table = read_toml(path).get("label", {})
            self._table = table if isinstance(table, dict) else {}
            self._read_ns = changed_ns
        return self._table

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
