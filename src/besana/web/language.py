"""Words that people read, in English and in Spanish."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "es")

# Longest first, so that `frames_per_s` is a rate and not a duration.
UNITS = {
    "_images_per_s": "img/s",
    "_per_s": "/s",
    "_per_day": "/d",
    "_bytes": "B",
    "_share": "%",
    "_hours": "h",
    "_days": "d",
    "_bits": "bit",
    "_deg": "°",
    "_ms": "ms",
    "_px": "px",
    "_mp": "MP",
    "_at": "UTC",
    "_h": "h",
    "_s": "s",
}

_KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NUMBER = re.compile(r"[-+\u2212]?\d{1,3}(,\d{3})+(\.\d+)?|[-+\u2212]?\d+\.\d+")


class _Spanish(Mapping[str, str]):
    """Read `spanish.toml` when the first page needs it, not when besana is imported."""

    def __getitem__(self, phrase: str) -> str:
        return _tables()["spanish"][phrase]

    def __iter__(self) -> Iterator[str]:
        return iter(_tables()["spanish"])

    def __len__(self) -> int:
        return len(_tables()["spanish"])


SPANISH: Mapping[str, str] = _Spanish()
"""Every English phrase of a page, and every key of a report, in Spanish; those that only the
server's pages show lie in `spanish_site.toml` and `spanish_rooms.toml`."""


def text(phrase: str, language: str) -> str:
    """Say a phrase or a report's key in a language; an unknown phrase stays as it is.

    A phrase of the table may hold `{}` where a number, a name or a key stands, in the order of
    the English one; `{1}{0}` in the Spanish one turns the order round.

    Args:
        phrase: An English phrase, or a key like `near_duplicate` or `frames_per_s`.
        language: `en` or `es`.

    >>> text("near_duplicate", "en")
    'Near duplicate'
    >>> text("Pictures", "es")
    'Imágenes'
    """
    if is_key(phrase):
        return _key_text(phrase, language)
    if language == "es" and phrase in SPANISH:
        return SPANISH[phrase]
    matched = _match(phrase)
    if matched is None:
        return phrase
    pattern, values = matched
    said = SPANISH[pattern] if language == "es" else pattern
    return said.format(*(_filled_in(value, language) for value in values))


def stage_name(stage: str, language: str) -> str:
    """Name a stage: `split` is a verb there, and a part of a dataset everywhere else."""
    found = _tables()["stages"].get(stage) if language == "es" else None
    return found or text(stage, language)


def known(phrase: str) -> bool:
    """Tell whether a phrase, a key or a pattern with `{}` has a Spanish rendering."""
    return phrase in SPANISH or english(phrase) in SPANISH or _match(phrase) is not None


def is_key(phrase: str) -> bool:
    """Tell whether something is a key of a report: lower case words joined by `_`."""
    return _KEY.fullmatch(phrase) is not None


def english(key: str) -> str:
    """Say a key as English words: capitalised, its unit left out.

    >>> english("peak_memory_bytes")
    'Peak memory'
    """
    named = _tables()["english"].get(key)
    if named is not None:
        return named
    unit = unit_suffix(key)
    words = key[: len(key) - len(unit)].replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def unit_suffix(key: str) -> str:
    """Give the suffix of a key that names its unit, as `_px`; empty when there is none."""
    return next((suffix for suffix in UNITS if key.endswith(suffix) and is_key(key)), "")


def spanish_number(number: str) -> str:
    """Turn an English number into a Spanish one: decimal comma, thin space between thousands.

    The thin space is the norm of the Real Academia and of ISO 80000; a point or a comma there
    would be read differently in Spain and in Mexico.

    >>> spanish_number("12,345.6") == "12\u202f345,6"
    True
    """
    return number.replace(",", "\u202f").replace(".", ",")


def _key_text(key: str, language: str) -> str:
    words = english(key)
    return SPANISH.get(key) or SPANISH.get(words) or words if language == "es" else words


def _filled_in(value: str, language: str) -> str:
    """Say what stands in a phrase: a key or phrase in small letters, numbers in the language."""
    if value in SPANISH or (_match(value) and not is_key(value)):
        words = text(value, language)
        return words[:1].lower() + words[1:]
    return _NUMBER.sub(lambda n: spanish_number(n[0]), value) if language == "es" else value


def _match(phrase: str) -> tuple[str, tuple[str, ...]] | None:
    """Find the phrase with `{}` that this one was made from, and what was filled in."""
    for pattern, expression in _patterns():
        found = expression.fullmatch(phrase)
        if found:
            return pattern, found.groups()
    return None


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Compile the phrases with `{}`; those with more fixed letters are tried first."""
    phrases = sorted((p for p in SPANISH if "{}" in p), key=len, reverse=True)
    return [
        (p, re.compile("(.*?)".join(map(re.escape, p.split("{}"))), re.DOTALL)) for p in phrases
    ]


@cache
def _tables() -> dict[str, dict[str, str]]:
    """Read the phrases: `spanish` by phrase or key, names of `stages`, `english` by key."""
    tables = _read("spanish.toml")
    parts = [*tables["spanish"].values(), *_read("spanish_site.toml")["spanish"].values()]
    parts += _read("spanish_rooms.toml")["spanish"].values()
    spanish = {phrase: words for part in parts for phrase, words in part.items()}
    return {"spanish": spanish, "stages": tables["stages"], "english": tables["english"]}


def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((files("besana.web") / name).read_text("utf-8"))
