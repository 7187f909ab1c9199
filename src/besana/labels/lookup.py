"""Find the frames that a file of labels means, by id, path or file name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


def find_frames(catalog: Catalog, refs: Iterable[Ref]) -> dict[Ref, Answer]:
    """Find the frame of each reference.

    A frame id counts first, then the whole path, then a path that ends alike (so the file name
    alone will do). What fits several frames is ambiguous; a camera may decide.

    Args:
        catalog: Where the frames are.
        refs: Some thousands at most; a reference by file name alone costs one pass over the
            frames for all of them together.
    """
    wanted = {ref: _normalised(ref[0]) for ref in refs}
    frames = tables.frames.c
    by_id = _by(catalog, frames.id, set(wanted.values()))
    by_name = _by(catalog, frames.name, set(wanted.values()) - set(by_id))
    found: dict[Ref, Answer] = {}
    left: dict[Ref, str] = {}
    for ref, text in wanted.items():
        candidates = by_id.get(text) or by_name.get(text)
        if candidates:
            found[ref] = _one_of(candidates, ref[1])
        else:
            left[ref] = text
    return found | _by_ending(catalog, left)


def _normalised(text: str) -> str:
    return escape_name(text.strip(" ").replace("\\", "/").removeprefix("./"))


def _frame(row: sa.Row[Any]) -> Frame:
    size_px = (row.width_px, row.height_px) if row.width_px and row.height_px else None
    return Frame(row.id, row.camera, row.name, size_px)


def _select() -> sa.Select[Any]:
    frames = tables.frames.c
    return sa.select(frames.id, frames.camera, frames.name, frames.width_px, frames.height_px)


def _by(catalog: Catalog, column: sa.Column[Any], values: Iterable[str]) -> dict[str, list[Frame]]:
    found: dict[str, list[Frame]] = defaultdict(list)
    ordered = sorted(values)
    for start in range(0, len(ordered), _NAMES_A_QUERY):
        select = _select().where(column.in_(ordered[start : start + _NAMES_A_QUERY]))
        for row in catalog.rows(select):
            found[getattr(row, column.name)].append(_frame(row))
    return found


def _by_ending(catalog: Catalog, wanted: dict[Ref, str]) -> dict[Ref, Answer]:
    """Compare whole path components from the end; either path may be the longer one."""
    by_file: dict[str, list[Ref]] = defaultdict(list)
    for ref, text in wanted.items():
        by_file[text.rpartition("/")[2]].append(ref)
    candidates: dict[Ref, list[Frame]] = defaultdict(list)
    if by_file:
        for page in catalog.pages(_select(), [tables.frames.c.id]):
            for row in page:
                for ref in by_file.get(row.name.rpartition("/")[2], ()):
                    may_be = not ref[1] or ref[1] == row.camera
                    if may_be and len(candidates[ref]) < 2 and _ends_alike(wanted[ref], row.name):
                        candidates[ref].append(_frame(row))
    return {
        ref: _one_of(candidates[ref], ref[1]) if candidates[ref] else "unknown_image"
        for ref in wanted
    }


def _ends_alike(one: str, other: str) -> bool:
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _one_of(candidates: Sequence[Frame], camera: str) -> Answer:
    if camera:
        candidates = [frame for frame in candidates if frame.camera == camera]
    if len(candidates) > 1:
        return "ambiguous_image"
    return candidates[0] if candidates else "unknown_image"
