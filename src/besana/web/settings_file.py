"""Change values of `besana.toml` and leave everything else in it as somebody wrote it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from besana.config import read_toml
from besana.errors import ConfigError
from besana.storage import Folder
from besana.workspace import SETTINGS_FILE

_MOST_LINES = 10_000


def change_settings(folder: Path, table: str, values: Mapping[str, Any]) -> None:
    """Set keys of one table, durable on return; comments and other keys stay.

    Args:
        folder: The workspace.
        table: Name of the table, as `label` or `cameras.pen`.
        values: Texts, numbers, booleans, lists and tables by key; None takes a key out.

    Raises:
        ConfigError: If the file is written in a way that cannot be changed safely.
    """
    before = read_toml(folder / SETTINGS_FILE)
    lines = (folder / SETTINGS_FILE).read_text("utf-8").splitlines()
    for key, value in values.items():
        _set(lines, table, key, value)
    text = "\n".join(lines) + "\n"
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        after = {}
    if after != _expected(before, table.split("."), values):
        raise ConfigError(
            f"[{table}] in besana.toml is written in a way that cannot be changed from here.",
            "Change it by hand.",
        )
    Folder(folder).write(SETTINGS_FILE, text.encode())


def _expected(
    before: dict[str, Any], path: Sequence[str], values: Mapping[str, Any]
) -> dict[str, Any]:
    if path:
        return {**before, path[0]: _expected(before.get(path[0], {}), path[1:], values)}
    changed = {**before, **values}
    return {key: value for key, value in changed.items() if value is not None}


def _set(lines: list[str], table: str, key: str, value: Any) -> None:
    start = next((n for n, line in enumerate(lines) if _is_header(line, table)), None)
    if start is None:
        if value is not None:
            lines += ["", f"[{table}]", f"{_key(key)} = {toml_value(value)}"]
        return
    end = next((n for n in range(start + 1, len(lines)) if lines[n].lstrip().startswith("[")), None)
    for place in range(start + 1, len(lines) if end is None else end):
        length = _assignment(lines[place:], key)
        if length:
            lines[place : place + length] = (
                [] if value is None else [f"{_key(key)} = {toml_value(value)}"]
            )
            return
    if value is not None:
        lines.insert(start + 1, f"{_key(key)} = {toml_value(value)}")


def _is_header(line: str, table: str) -> bool:
    name = re.fullmatch(r"\s*\[([^\[\]]+)\]\s*(#.*)?", line)
    return name is not None and re.sub(r'["\s]', "", name[1]) == table


def _assignment(lines: Sequence[str], key: str) -> int:
    """Count the lines that the assignment of a key takes; 0 when it does not begin here."""
    if not re.match(rf"\s*(?:{re.escape(key)}|{re.escape(_quoted(key))})\s*=", lines[0]):
        return 0
    for length in range(1, min(len(lines), _MOST_LINES) + 1):
        try:
            tomllib.loads("\n".join(lines[:length]))
        except tomllib.TOMLDecodeError:
            continue
        return length
    return 0


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
