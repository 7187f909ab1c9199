"""The command line: one command a verb, its options made from the verb's settings."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from besana import __version__
from besana.commands import COMMANDS
from besana.console import plain_console
from besana.errors import BesanaError, disk_refusals
from besana.stages import STAGES

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from besana.workspace import Report

QUARANTINED, CHANGED, STOPPED = 3, 4, 130

# Stages whose dropped frames are in quarantine: the exit status says so.
_QUARANTINING = ("collect", "clean", "prepare")

_FARM_HELP = "Folder of the workspace."
_COMMON: dict[str, tuple[Any, str]] = {
    "quiet": (bool, "No progress bars and no summary."),
    "traceback": (bool, "Show where in the code an error came from."),
}
_ENGINE: dict[str, tuple[Any, str]] = {
    "engine": (str | None, "Where work runs, instead of what besana.toml says."),
    "workers": (int | None, "Workers at the same time; default: one a core."),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status.

    0 all good, 1 an error, 2 usage, 3 some images in quarantine, 4 a camera no longer shows what
    the model was trained on, 130 stopped with Ctrl-C.
    """
    # Arrow's own memory pool keeps what it freed; read when pyarrow is first imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build_app(_verb(given))(given, prog_name="besana")
    except BesanaError as error:
        if "--traceback" in given:
            raise
        _show_error(error)
        raise SystemExit(1) from None


def build_app(verb: str | None) -> typer.Typer:
    """Build the command line, with the options of one verb only.

    The other verbs stay names with a sentence of help, so that none of their modules is loaded.
    """
    app = typer.Typer(
        help="From farm camera images to a classifier in production and the answers it gives.",
        epilog="Start with: besana demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Panels for the list of verbs; a verb's options need the width for their sentences.
        rich_markup_mode="rich" if verb is None else None,
    )
    app.callback()(_version)
    for panel, table in (("The way of the data", STAGES), ("Beside the way", COMMANDS)):
        for name, summary in table.items():
            function = _command(name) if name == verb else _unloaded
            epilog = f"Example: {_module(name).EXAMPLE}" if name == verb else None
            app.command(name, help=summary, rich_help_panel=panel, epilog=epilog)(function)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"besana {__version__}")
        raise typer.Exit


_VERSION = typer.Option(
    "--version", help="Show the version.", callback=_show_version, is_eager=True
)


def _version(version: Annotated[bool, _VERSION] = False) -> None:
    """Stand for what comes before the verb."""


def _unloaded() -> None:
    """Stand in for a verb that was not asked for."""


def _verb(arguments: Sequence[str]) -> str | None:
    return next((word for word in arguments if not word.startswith("-")), None)


def _module(verb: str) -> types.ModuleType:
    name = verb.replace("-", "_")
    return import_module(f"besana.{'stages' if verb in STAGES else 'commands'}.{name}")


def _command(verb: str) -> Callable[..., None]:
    """Make the function of one verb, its parameters made from the fields of its `Config`."""
    module = _module(verb)
    fields = module.Config.model_fields
    arguments = getattr(module, "ARGUMENTS", ("farm",))
    has_engine = verb in STAGES or "engine" in inspect.signature(module.run).parameters
    common = {**(_ENGINE if has_engine else {}), **_COMMON}

    def run(**values: Any) -> None:
        given = {key: _plain(value) for key, value in values.items() if value is not None}
        options = {key: given.pop(key) for key in (*common, "farm") if key in given}
        texts = {k: v for k, v in given.items() if k not in fields or _is_table(fields[k])}
        given.update({key: _read_table(key, text) for key, text in texts.items()})
        _run_verb(verb, given, options)

    parameters = [
        _farm(module) if name == "farm" else _parameter(name, fields[name], positional=True)
        for name in arguments
    ]
    parameters += [_parameter(n, f) for n, f in fields.items() if n not in arguments]
    parameters += [_common(name, *common[name]) for name in common]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _farm(module: types.ModuleType) -> inspect.Parameter:
    default = getattr(module, "FARM", ".")
    annotation = Annotated[Path, typer.Argument(help=_FARM_HELP, metavar="FARM")]
    return inspect.Parameter(
        "farm", inspect.Parameter.KEYWORD_ONLY, default=Path(default), annotation=annotation
    )


def _common(name: str, kind: Any, help_text: str) -> inspect.Parameter:
    annotation = Annotated[kind, typer.Option(f"--{name}", help=help_text)]
    default = False if kind is bool else None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _parameter(name: str, field: FieldInfo, *, positional: bool = False) -> inspect.Parameter:
    text = field.description or ""
    if not positional and not field.is_required() and field.default not in (None, "", [], {}):
        text = f"{text} [default: {_shown(field.default)}]"
    kind = str if _is_table(field) else _option_type(field.annotation)
    flag = _flag(name, field)
    info = (
        typer.Argument(help=text, show_default=False, metavar=name.upper())
        if positional
        else typer.Option(flag, help=text, show_default=False)
    )
    # Without a default, a missing word is an error of usage that the command line tells itself.
    is_needed = positional and field.is_required()
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if is_needed else None,
        annotation=Annotated[kind if is_needed else kind | None, info],
    )


def _flag(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "option" in extra:
        return str(extra["option"])
    flag = name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if field.annotation is bool else f"--{flag}"


def _option_type(annotation: Any) -> Any:
    """Reduce a field's type to one that an option can have; pydantic checks the value later."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not types.NoneType]
        return _option_type(inner[0]) if len(inner) == 1 else str
    if get_origin(annotation) in (list, tuple):
        item = _option_type(get_args(annotation)[0])
        return list[str if get_origin(item) is Literal else item]  # type: ignore[misc]
    if get_origin(annotation) is Literal or annotation in (bool, int, float, str, Path):
        return annotation
    return str


def _is_table(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict or field.annotation is dict


def _read_table(key: str, text: Any) -> Any:
    """Read a table option: as in besana.toml, `{pad_type = 'same'}`, or JSON."""
    if not isinstance(text, str):
        return text
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(text)
    try:
        return tomllib.loads(f"table = {text}")["table"]
    except tomllib.TOMLDecodeError:
        option = f"--{key.replace('_', '-')}"
        raise typer.BadParameter(f"{option} is neither a TOML table nor JSON: {text}") from None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _run_verb(verb: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    from besana.progress import progress_shown

    quiet = options.get("quiet", False)
    given = {key: value for key, value in given.items() if value != []}
    try:
        with disk_refusals(), progress_shown(not quiet and sys.stderr.isatty()):
            reports = _reports(verb, given, options)
    except KeyboardInterrupt:
        typer.echo("Stopped. Run the same command again to continue.", err=True)
        raise SystemExit(STOPPED) from None
    if not quiet:
        _show_reports(reports)
    if any(report.dropped for report in reports if report.stage in _QUARANTINING):
        raise SystemExit(QUARANTINED)
    if any(report.facts.get("changes") for report in reports if report.stage == "monitor"):
        raise SystemExit(CHANGED)


def _reports(verb: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> list[Report]:
    """Run a stage or a command; a command gets the folder or the opened workspace."""
    from besana import pipeline
    from besana.config import parse
    from besana.workspace import Workspace

    module = _module(verb)
    wanted = inspect.signature(module.run).parameters
    target: Any = options.get("farm", Path())
    if "workspace" in wanted:
        target = Workspace(target)
        pipeline.check_settings(target)
    engine: dict[str, Any] = {}
    if "engine" in wanted and isinstance(target, Workspace):
        engine = {"engine": target.open_engine(options.get("engine"), options.get("workers"))}
    if verb in STAGES:
        return [pipeline.run_stage(target, verb, given, **engine)]
    result = module.run(target, parse(module.Config, given, where=f"besana {verb}"), **engine)
    return list(result.values()) if verb == "run" else []


def _show_reports(reports: Sequence[Report]) -> None:
    for report in reports:
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in report.dropped.most_common())
        typer.echo(
            f"{report.stage}: {report.counts_in:,} in, {report.counts_out:,} out"
            + (f", dropped: {dropped}" if dropped else "")
            + f" ({report.seconds:.1f} s, {report.peak_memory_bytes / 1e6:,.0f} MB)"
        )
        for sentence in (*report.results, *(f"warning: {one}" for one in report.warnings)):
            typer.echo(f"  {sentence}")
        facts = report.facts
        if "bucket_gets" in facts:
            typer.echo(
                f"  bucket: {facts['bucket_gets']:,} GET, {facts['bucket_puts']:,} PUT,"
                f" {facts['bucket_lists']:,} LIST requests"
            )
        if report.page:
            typer.echo(f"  report: {report.page}")


def _show_error(error: BesanaError) -> None:
    console = plain_console(stderr=True)
    console.print(f"Error: {error.problem}", style="bold red")
    if error.hint:
        console.print(error.hint)
