"""Pages as one file each: template, style, script and pictures inside, nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from besana.web.language import LANGUAGES, known, stage_name, text, unit_suffix
from besana.web.svg import clean_svg
from besana.web.values import column_decimals, number_text, plain_scalar, value_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LONGEST_TEXT = 400
"""Characters of one cell or caption that a page shows; the JSON keeps all of them."""

# What stands in these columns was named by people on the farm, so nobody may translate it.
_NAMED_BY_PEOPLE = re.compile(
    r"\b(annotator|camera|class|column|dataset|detail|file|frame|group|model|name|predicted|region"
    r"|image|sample|shard|true|version|path)\b"
)
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def render(template: str, **context: Any) -> str:
    """Fill in a page.

    Args:
        template: Name of a file in `templates/`.
        **context: What the template shows; a name that is missing is an error.
    """
    return _environment().get_template(template).render(**context)


def visible(words: str) -> str:
    r"""Show what cannot be seen: control, direction and lone surrogate characters as escapes.

    >>> visible("bed\u202e3")
    'bed\\u202e3'
    """
    shown = "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _INVISIBLE else c
        for c in words[:LONGEST_TEXT]
    )
    return shown + "…" if len(words) > LONGEST_TEXT else shown


def in_both(english: str, spanish: str) -> Markup:
    """Put both languages into the page, escaped; its style shows the one that was chosen."""
    from markupsafe import Markup, escape

    if english == spanish:
        return escape(english)
    return Markup('<span lang="en">{}</span><span lang="es">{}</span>').format(english, spanish)


def say(phrase: str) -> Markup:
    """Write a phrase of besana or a report's key in both languages."""
    return in_both(*(visible(text(phrase, language)) for language in LANGUAGES))


def say_stage(stage: str) -> Markup:
    """Name a stage in both languages."""
    return in_both(*(visible(stage_name(stage, language)) for language in LANGUAGES))


def say_stage_svg(stage: str) -> Markup:
    """Name a stage in both languages inside an SVG text."""
    return _as_tspan(say_stage(stage))


def say_svg(phrase: str) -> Markup:
    """Write a phrase in both languages inside an SVG text."""
    return _as_tspan(say(phrase))


def value_svg(thing: Any, key: str = "") -> Markup:
    """Write a value in both languages inside an SVG text."""
    return _as_tspan(value(thing, key))


def value(thing: Any, key: str = "") -> Markup:
    """Write a value in both languages, its unit taken from the key's suffix."""
    return in_both(*(visible(value_text(thing, language, key)) for language in LANGUAGES))


def heading(column: str) -> Markup:
    """Write a column's name; a class that stands there keeps the name that people gave it."""
    return say(column) if known(column) else in_both(visible(column), visible(column))


def cell(thing: Any, column: str, decimals: int | None) -> Markup:
    """Write a table's cell; words of besana are translated, names given by people are not."""
    thing = plain_scalar(thing)
    if isinstance(thing, str):
        return in_both(visible(thing), visible(thing)) if is_name(column) else _word(thing)
    if isinstance(thing, (int, float)) and not isinstance(thing, bool):
        unit = unit_suffix(column)
        pair = [number_text(thing, language, unit, decimals) for language in LANGUAGES]
        return in_both(pair[0], pair[1])
    return value(thing, column)


def is_name(column: str) -> bool:
    """Tell whether a column holds names that people on the farm gave."""
    return _NAMED_BY_PEOPLE.search(column.replace("_", " ").lower()) is not None


def is_number(thing: Any) -> bool:
    """Tell whether a cell holds a number, or an interval of numbers."""
    thing = plain_scalar(thing)
    if isinstance(thing, (tuple, list)):
        return all(is_number(part) for part in thing)
    return isinstance(thing, (int, float)) and not isinstance(thing, bool)


def is_numeric(rows: Sequence[Sequence[Any]], column: int) -> bool:
    """Tell whether a column of a table holds numbers, wherever it holds something."""
    things = [row[column] for row in rows if row[column] is not None]
    return bool(things) and all(is_number(thing) for thing in things)


def data_uri(picture: bytes) -> str:
    """Put a JPEG or PNG picture into the page itself."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def plot(svg: str | Mapping[str, str], prefix: str) -> Markup:
    """Put a plot into the page, one for each language if there are two."""
    from markupsafe import Markup

    if isinstance(svg, str):
        return Markup(clean_svg(svg, f"{prefix}-"))
    return Markup("").join(
        Markup('<div lang="{}">{}</div>').format(
            language,
            Markup(clean_svg(svg[language], f"{prefix}-{language}-")),
        )
        for language in LANGUAGES
        if language in svg
    )


def decimals_of(rows: Sequence[Sequence[Any]], column: int, title: str) -> int | None:
    """Pick the decimals of one column of a table; None where each number picks its own."""
    unit = unit_suffix(title)
    if unit in ("_bytes", "_s"):
        return None
    numbers = [row[column] for row in rows if isinstance(plain_scalar(row[column]), (int, float))]
    if unit == "_hours" or (unit == "_share" and any(abs(number) >= 0.01 for number in numbers)):
        return 1
    return column_decimals([100 * number if unit == "_share" else number for number in numbers])


def _as_tspan(words: Markup) -> Markup:
    from markupsafe import Markup

    # What people wrote is escaped and holds no "<", so only our own two spans are renamed.
    renamed = str(words).replace("<span", "<tspan").replace("</span", "</tspan")
    return Markup(renamed)


def _word(word: str) -> Markup:
    return say(word) if known(word) else in_both(visible(word), visible(word))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("besana.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _static("page.css"), _static("page.js")
    environment.globals.update(
        # Our own files, not a user's: the one text that goes into a page as it is.
        style=Markup(style),
        script=Markup(script),
        policy=(
            "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
            f"style-src {_hash(style)}; script-src {_hash(script)}"
        ),
        decimals_of=decimals_of,
        is_numeric=is_numeric,
        stage_name=stage_name,
    )
    environment.filters.update(
        heading=heading,
        say=say,
        say_stage=say_stage,
        say_stage_svg=say_stage_svg,
        say_svg=say_svg,
        value=value,
        value_svg=value_svg,
        cell=cell,
        visible=visible,
        data_uri=data_uri,
        plot=plot,
    )
    environment.tests.update(number=is_number)
    return environment


def _static(name: str) -> str:
    return (files("besana.web") / "static" / name).read_text("utf-8")


def _hash(source: str) -> str:
    """Name a script or style by its content, so that the page runs no other one."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
