"""Settings: typed tables whose errors name the key and suggest the right one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from besana.errors import ConfigError, NotFoundError


class Settings(BaseModel):
    """Hold one table of `besana.toml`, one command line or one call from Python.

    Frozen, without unknown keys, every default checked; so one class makes all three surfaces.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, strict=False
    )


S = TypeVar("S", bound=Settings)


def parse(model: type[S], values: Mapping[str, Any], *, where: str) -> S:
    """Check values against a settings class.

    Args:
        model: The settings class.
        values: Keys and values as read from TOML, the command line or Python.
        where: Name of the table for messages, as `[clean]`.

    Raises:
        ConfigError: If a key is unknown, missing or has a wrong value; the first one is named.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _config_error(model, error.errors()[0], where) from None


def check_keys(values: Iterable[str], known: Iterable[str], *, what: str, where: str) -> None:
    """Refuse the first key that is not known.

    Args:
        values: The keys found.
        known: The keys allowed.
        what: What a key is, for the message: `setting`, `table`.
        where: Where it was found.

    Raises:
        ConfigError: If a key is unknown.
    """
    known = list(known)
    for key in values:
        if key not in known:
            raise ConfigError(f"Unknown {what} '{key}' in {where}.", suggestion(key, known))


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant.

    >>> suggestion("blur_bellow", ["blur_below", "dark_below"])
    "Did you mean 'blur_below'?"
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(sorted(known))}." if known else ""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is not TOML, or larger than 1 MB.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"No file {path}.", "Run: besana init") from None
    if len(data) > 1_000_000:
        raise ConfigError(f"{path} has {len(data)} bytes.", "A settings file has at most 1 MB.")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", "Correct that line.") from None


def _config_error(model: type[Settings], error: ErrorDetails, where: str) -> ConfigError:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields_at(model, error["loc"][:-1])
        nearest = suggestion(str(error["loc"][-1]), known)
        return ConfigError(f"Unknown setting '{path}' in {where}.", nearest)
    if error["type"] == "missing":
        return ConfigError(f"Setting '{path}' is missing in {where}.", "Add it.")
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    value = repr(error["input"])
    shown = value if len(value) <= 80 else value[:77] + "..."
    problem = f"Setting '{path}' in {where} is {shown}: {message}."
    return ConfigError(problem, "Correct it in besana.toml or on the command line.")


def _fields_at(model: type[Settings], path: tuple[int | str, ...]) -> list[str]:
    """List the fields of the settings class found by following a path of field names."""
    for part in path:
        field = model.model_fields.get(str(part))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, Settings)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)
