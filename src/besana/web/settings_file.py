"""Change values of `besana.toml` and leave everything else in it as somebody wrote it."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from besana.config import read_toml
from besana.errors import ConfigError
from besana.storage import Folder
from besana.web.gate import RefusedError
from besana.workspace import SETTINGS_FILE

_MOST_LINES = 10_000


def settings_version(folder: Path) -> str:
    """Name the content of `besana.toml`; another content has another name."""
    return hashlib.sha256((folder / SETTINGS_FILE).read_bytes()).hexdigest()[:16]


def change_settings(
    folder: Path, table: str | Sequence[str], values: Mapping[str, Any], *, version: str = ""
) -> None:
    """Set keys of one table, durable on return; comments and other keys stay.

    A table among the values is changed key by key where it has a header of its own, so that what
    stands beside a key that does not change stays too.

    Args:
        folder: The workspace.
        table: Name of the table, as `label`, or its parts, as `("cameras", "pen 1")`.
        values: Texts, numbers, booleans, lists and tables by key; None takes a key out.
        version: From `settings_version`: what the change was made for; empty: for any content.

    Raises:
        RefusedError: If the file's content is another than the change was made for.
        ConfigError: If the file is written in a way that cannot be changed safely.
    """
    path = (table,) if isinstance(table, str) else tuple(table)
    before = read_toml(folder / SETTINGS_FILE)
    if version and settings_version(folder) != version:
        raise RefusedError(409, "stale", "besana.toml was changed meanwhile.")
    # Other characters that end a line elsewhere are letters of a name here.
    lines = (folder / SETTINGS_FILE).read_text("utf-8").removesuffix("\n").split("\n")
    for key, value in values.items():
        _set(lines, path, key, value)
    text = "\n".join(lines) + "\n"
    try:
        is_safe = tomllib.loads(text) == _expected(before, path, values)
    except (tomllib.TOMLDecodeError, TypeError):
        is_safe = False
    if not is_safe:
        raise ConfigError(
            f"[{'.'.join(path)}] in besana.toml is written in a way that cannot be changed from"
            " here.",
            "Change it by hand.",
        )
    Folder(folder).write(SETTINGS_FILE, text.encode())


def _expected(
    before: dict[str, Any], path: Sequence[str], values: Mapping[str, Any]
) -> dict[str, Any]:
    if not isinstance(before, dict):
        raise TypeError("not a table")
    if path:
        return {**before, path[0]: _expected(before.get(path[0], {}), path[1:], values)}
    changed = {**before, **values}
    return {key: value for key, value in changed.items() if value is not None}


def _set(lines: list[str], path: tuple[str, ...], key: str, value: Any) -> None:
    inner = (*path, key)
    if isinstance(value, Mapping) and _block(lines, inner) is not None:
        for known in [name for name, _, _ in _assignments(lines, inner) if name not in value]:
            _set(lines, inner, known, None)
        for name, part in value.items():
            _set(lines, inner, name, part)
        return
    if value is None and (block := _block(lines, inner)) is not None:
        for name, _, _ in _assignments(lines, inner):
            _set(lines, inner, name, None)
        del lines[block[0]]
        return
    for name, start, end in _assignments(lines, path):
        if name == key:
            comment = _comment(lines[start:end])
            lines[start:end] = [] if value is None else [_assignment(key, value) + comment]
            return
    if value is not None:
        _add(lines, path, key, value)


def _add(lines: list[str], path: tuple[str, ...], key: str, value: Any) -> None:
    """Put a new key behind the last one of its table, or a new table behind that."""
    block = _block(lines, path)
    ends = [end for _, _, end in _assignments(lines, path)]
    place = max(ends) if ends else (block[0] + 1 if block else len(lines))
    if isinstance(value, Mapping) and block is None:
        added = ["", _header((*path, key)), *(_assignment(k, v) for k, v in value.items())]
    elif isinstance(value, Mapping) and value:
        rows = [_assignment(k, v) for k, v in value.items()]
        added = ["", _header((*path, key)), *rows, ""]
    elif block is None:
        added = ["", _header(path), _assignment(key, value)]
    else:
        added = [_assignment(key, value)]
    lines[place:place] = added


def _block(lines: Sequence[str], path: tuple[str, ...]) -> tuple[int, int] | None:
    """Find the line of a table's header, and the one where the next table begins."""
    heads = [(start, name) for name, start, end in _parts(lines) if isinstance(name, tuple)]
    starts = [start for start, name in heads if name == path]
    if not starts:
        return None
    return starts[0], min((s for s, _ in heads if s > starts[0]), default=len(lines))


def _assignments(lines: Sequence[str], path: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """List the keys of a table: name, first line, line behind its value."""
    block = _block(lines, path)
    return [
        (name, start, end)
        for name, start, end in _parts(lines)
        if block and isinstance(name, str) and block[0] < start < block[1]
    ]


def _parts(lines: Sequence[str]) -> Iterator[tuple[str | tuple[str, ...], int, int]]:
    """Walk over headers (names as tuples) and keys: name, first line, line behind."""
    place = 0
    while place < len(lines):
        header = _header_path(lines[place])
        name, length = ("", 1) if header is not None else _read_key(lines[place:])
        if header is not None:
            yield header, place, place + 1
        elif length:
            yield name, place, place + length
        place += max(1, length)


def _header_path(line: str) -> tuple[str, ...] | None:
    """Give the parts of a table's name if a line is its header."""
    if not line.lstrip().startswith("["):
        return None
    try:
        table: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    parts = []
    while isinstance(table, dict) and table:
        [(name, table)] = table.items()
        parts.append(name)
    # One of several tables of a name cannot be told from the others.
    return tuple(parts) if isinstance(table, dict) else ("", *parts)


def _read_key(lines: Sequence[str]) -> tuple[str, int]:
    """Read the key that begins on the first line, and count its lines; 0 when none does."""
    if re.match(r"\s*(#|$)", lines[0]):
        return "", 0
    for length in range(1, min(len(lines), _MOST_LINES) + 1):
        try:
            table = tomllib.loads("\n".join(lines[:length]))
        except tomllib.TOMLDecodeError:
            continue
        return next(iter(table)), length
    return "", 0


def _comment(lines: Sequence[str]) -> str:
    """Give the comment behind a value, with the space before it."""
    whole, last = tomllib.loads("\n".join(lines)), lines[-1]
    for place in (match.start() for match in re.finditer(r"\s*#", last)):
        try:
            cut = tomllib.loads("\n".join([*lines[:-1], last[:place]]))
        except tomllib.TOMLDecodeError:
            continue
        if cut == whole:
            return last[place:]
    return ""


def _header(path: Sequence[str]) -> str:
    return f"[{'.'.join(map(_key, path))}]"


def _assignment(key: str, value: Any) -> str:
    return f"{_key(key)} = {toml_value(value)}"


def toml_value(value: Any) -> str:
    """Write a value as TOML.

    >>> toml_value({"bed 1": [0, 1.5], "on": True})
    '{"bed 1" = [0, 1.5], on = true}'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(k)} = {toml_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
