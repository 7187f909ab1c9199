"""Find the frames that a file of labels means, by id, path or file name."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.images.files import escape_name

_NAMES_A_QUERY = 400

Ref = tuple[str, str]
"""How a file calls an image, and its camera or an empty text."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What label imports need to know of a frame.

    Attributes:
        id: Its id.
        camera: Its camera.
        name: Its path below the source folder, escaped.
        size_px: Width and height, None when its header could not be read.
    """

    id: str
    camera: str
    name: str
    size_px: tuple[int, int] | None


Answer = Frame | Literal["unknown_image", "ambiguous_image"]


class FrameLookup:
    """Finds frames; file names are looked up in an index on disk, made when first needed.

    Args:
        catalog: Where the frames are.
        temporary: A folder for the index.
    """

    def __init__(self, catalog: Catalog, temporary: Path) -> None:
        self._catalog = catalog
        self._temporary = temporary

    def find(self, refs: Iterable[Ref]) -> dict[Ref, Answer]:
        """Find the frame of each reference, some thousands at a time.

        A frame id counts first, then the whole path, then a path that ends alike (so the file
        name alone will do). What fits several frames is ambiguous; a camera may decide.
        """
        wanted = {ref: _normalised(ref[0]) for ref in refs}
        frames = tables.frames.c
        by_id = self._by(frames.id, set(wanted.values()))
        by_name = self._by(frames.name, set(wanted.values()) - set(by_id))
        exact = {text: by_id.get(text) or by_name.get(text) for text in set(wanted.values())}
        by_file = self._by_file({_file(text) for text, frames in exact.items() if not frames})
        found: dict[Ref, Answer] = {}
        for ref, text in wanted.items():
            alike = (f for f in by_file.get(_file(text), ()) if _ends_alike(text, f.name))
            found[ref] = _one_of(exact[text] or alike, ref[1])
        return found

    def _by(self, column: sa.Column[Any], values: Iterable[str]) -> dict[str, list[Frame]]:
        found: dict[str, list[Frame]] = defaultdict(list)
        for part in _parts(values):
            for row in self._catalog.rows(_select().where(column.in_(part))):
                found[getattr(row, column.name)].append(_frame(row))
        return found

    def _by_file(self, files: Iterable[str]) -> dict[str, list[Frame]]:
        found: dict[str, list[Frame]] = defaultdict(list)
        for part in _parts(files):
            places = ", ".join("?" * len(part))
            query = f"SELECT * FROM frames WHERE file IN ({places})"
            for file, *row in self._files.execute(query, part):
                found[file].append(_frame(row))
        return found

    @cached_property
    def _files(self) -> sqlite3.Connection:
        path = self._temporary / "file-names.sqlite"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        # Scratch data: nothing is lost when it is torn, and it vanishes with this process.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE frames (file, id, camera, name, width_px, height_px)")
        path.unlink()
        for page in self._catalog.stream(_select()):
            rows = ((_file(row.name), *row) for row in page)
            connection.executemany("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("CREATE INDEX by_file ON frames (file)")
        return connection


def _parts(values: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _NAMES_A_QUERY):
        yield ordered[start : start + _NAMES_A_QUERY]


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _normalised(text: str) -> str:
    return escape_name(text.strip(" ").replace("\\", "/").removeprefix("./"))


def _select() -> sa.Select[Any]:
    frames = tables.frames.c
    return sa.select(frames.id, frames.camera, frames.name, frames.width_px, frames.height_px)


def _frame(row: Sequence[Any]) -> Frame:
    frame_id, camera, name, width_px, height_px = row
    return Frame(frame_id, camera, name, (width_px, height_px) if width_px and height_px else None)


def _ends_alike(one: str, other: str) -> bool:
    """Compare whole path components from the end; either path may be the longer one."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _one_of(candidates: Iterable[Frame], camera: str) -> Answer:
    fitting = [frame for frame in candidates if not camera or frame.camera == camera]
    if len(fitting) > 1:
        return "ambiguous_image"
    return fitting[0] if fitting else "unknown_image"
