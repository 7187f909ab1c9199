"""A Sphinx extension: reference pages made from the code, so that they cannot fall behind it.

A line `<!-- generated: settings -->` in a page becomes what the function of that name returns.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

from besana import errors
from besana.backup import BackupSettings
from besana.commands import COMMANDS
from besana.config import Settings
from besana.costs.settings import CostSettings
from besana.images.camera import Camera
from besana.images.lens import Lens
from besana.images.regions import Grid
from besana.stages import STAGES
from besana.workspace import EngineSettings, WorkspaceSettings

_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def module(verb: str) -> types.ModuleType:
    """Import the module of a stage or command."""
    name = verb.replace("-", "_")
    return import_module(f"besana.{'stages' if verb in STAGES else 'commands'}.{name}")


def way() -> str:
    """The stages in their order, with what each reads and writes."""
    lines = ["| stage | what it does | reads | writes |", "| --- | --- | --- | --- |"]
    for verb, summary in STAGES.items():
        header = module(verb).__doc__ or ""
        facts = dict(re.findall(r"^(Reads|Writes): (.*)$", header, re.MULTILINE))
        link = f"[{verb}](/reference/settings.md#{verb})"
        lines.append(f"| {link} | {summary} | {facts['Reads']} | {facts['Writes']} |")
    return "\n".join(lines)


def cli() -> str:
    """One section a verb: usage, example and options, as `--help` says them."""
    parts = []
    for title, table in (("The way of the data", STAGES), ("Beside the way", COMMANDS)):
        parts.append(f"## {title}")
        parts += [_verb(verb, summary) for verb, summary in table.items()]
    return "\n\n".join(parts)


def _verb(verb: str, summary: str) -> str:
    from typer.core import TyperArgument
    from typer.main import get_command

    from besana.cli import build_app

    command = get_command(build_app(verb)).commands[verb]  # type: ignore[attr-defined]
    arguments, options = [], []
    for parameter in command.params:
        if isinstance(parameter, TyperArgument):
            arguments.append(((parameter.name or "").upper(), parameter.help or ""))
            continue
        flags = "`, `".join([*parameter.opts, *parameter.secondary_opts])
        options.append((flags, parameter.help or ""))
    usage = " ".join(["besana", verb, *(name for name, _ in arguments), "[OPTIONS]"])
    example = module(verb).EXAMPLE
    lines = [f"### {verb}", "", summary, "", "```text", usage, "```", ""]
    lines += ["```bash", example, "```", "", "| argument or option | meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {_cell(text)} |" for name, text in arguments + options]
    return "\n".join(lines)


def settings() -> str:
    """One section a table of `besana.toml`: keys, values, defaults, meaning."""
    parts = [
        _section("At the top", WorkspaceSettings, "Above all tables of `besana.toml`."),
        _section("engine", EngineSettings, "`[engine]`: where work runs."),
        _section("costs", CostSettings, "`[costs]`: what things cost, and how much they may."),
        _section("backup", BackupSettings, "`[backup]`: copies of what cannot be made again."),
        _section("cameras", Camera, "`[cameras.NAME]`: one table a camera."),
        _section("cameras lens", Lens, "`[cameras.NAME.lens]`: how the lens bends the picture."),
        _section("cameras grid", Grid, "`[cameras.NAME.grid]`: tiles instead of named regions."),
        '## bands\n\n`[bands]`: name of a band = pattern of its files, as in `nir = "nir/*"`.'
        " Without the table every file is a frame with the one band `rgb`.",
    ]
    parts += [
        _section(verb, module(verb).Config, f"`[{verb}]`: {summary}")
        for verb, summary in STAGES.items()
    ]
    return "\n\n".join(parts)


def _section(title: str, model: type[Settings], text: str) -> str:
    lines = [f"## {title}", "", text, ""]
    if model.model_fields:
        lines += ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        row = (f"`{name}`", _value(field), _default(field), field.description or "")
        lines.append(f"| {' | '.join(_cell(cell) for cell in row)} |")
    return "\n".join(lines)


def _value(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(rule, key)}"
        for rule in field.metadata
        for key, sign in _BOUNDS.items()
        if getattr(rule, key, None) is not None
    ]
    return ", ".join([_type(field.annotation), *bounds])


def _type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _NAMES:
        return _NAMES[kind]
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(part) for part in arguments if part is not types.NoneType)
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    return "table"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value in (None, "", [], {}, ()):
        return "empty"
    if isinstance(value, Settings):
        return "a table of its own"
    return f"`{json.dumps(value, default=str, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return text.replace("\\[", "[").replace("|", "\\|").replace("\n", " ")


def error_classes() -> Iterator[tuple[str, type[errors.BesanaError]]]:
    """List besana's errors in the order of their module."""
    for name, found in vars(errors).items():
        if inspect.isclass(found) and issubclass(found, errors.BesanaError):
            yield name, found


def error_table() -> str:
    """One row an error: what else it is, and what it means."""
    lines = ["| error | is also a | meaning |", "| --- | --- | --- |"]
    for name, found in error_classes():
        also = ", ".join(f"`{base.__name__}`" for base in found.__bases__)
        meaning = (found.__doc__ or "").splitlines()[0]
        lines.append(f"| `{name}` | {also} | {meaning} |")
    return "\n".join(lines)


PARTS: Mapping[str, Callable[[], str]] = {
    "way": way,
    "cli": cli,
    "settings": settings,
    "errors": error_table,
}


def fill(text: str) -> str:
    """Replace the marks in a page by what is generated."""
    return _MARK.sub(lambda mark: PARTS[mark.group(1)](), text)


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx to fill the marks of each page it reads."""

    def read(_app: Any, _name: str, source: list[str]) -> None:
        source[0] = fill(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
