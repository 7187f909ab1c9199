"""English phrases that scripts show, refusals among them; they get the Spanish of each along."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

from besana.web.language import SPANISH

# Calls of a script that show a phrase, and tables whose values are shown later.
_TEXT = r'("(?:[^"\\]|\\.)*")'
_SAID = re.compile(rf"\b(?:say|sayNow)\(\s*(?:[\w.]+(?: [<>=]+ \d+)? \? )?{_TEXT}(?: : {_TEXT})?")
_REFUSED = re.compile(rf'RefusedError\(\s*\d+,\s*"\w+",\s*{_TEXT}')
_LISTED = re.compile(r'^\s+(?:\w+|"[\w ]+"): ("(?:[A-Z][^"\\]*|[^"\\]* [^"\\]*)"),$', re.MULTILINE)


@cache
def script_phrases() -> dict[str, str]:
    """Find the phrases of all scripts and their Spanish; what has none stays English."""
    found = set()
    for file in (files("besana.web") / "static").iterdir():
        if file.name.endswith(".js") and file.name != "page.js":
            found |= phrases_of(file.read_text("utf-8"))
    for file in files("besana.web").iterdir():
        if file.name.endswith(".py"):
            found |= refusals_of(file.read_text("utf-8"))
    return {phrase: SPANISH.get(phrase, phrase) for phrase in sorted(found)}


def phrases_of(script: str) -> set[str]:
    """Find the phrases that a script shows."""
    quoted = [text for pair in _SAID.findall(script) for text in pair if text]
    return {json.loads(text) for text in [*quoted, *_LISTED.findall(script)]}


def refusals_of(module: str) -> set[str]:
    """Find the sentences with which a module refuses what a page asked for."""
    return {json.loads(text) for text in _REFUSED.findall(module)}
