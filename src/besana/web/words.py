"""English phrases that scripts show; they get the Spanish of each along with the page."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

from besana.web.language import SPANISH

# Calls of a script that show a phrase, and tables whose values are shown later.
_TEXT = r'("(?:[^"\\]|\\.)*")'
_SAID = re.compile(rf"\b(?:say|sayNow)\(\s*(?:[\w.]+(?: [<>=]+ \d+)? \? )?{_TEXT}(?: : {_TEXT})?")
_LISTED = re.compile(r'^\s+\w+: ("(?:[A-Z][^"\\]*|[^"\\]* [^"\\]*)"),$', re.MULTILINE)


@cache
def script_phrases() -> dict[str, str]:
    """Find the phrases of all scripts and their Spanish; what has none stays English."""
    found = set()
    for file in (files("besana.web") / "static").iterdir():
        if file.name.endswith(".js") and file.name != "page.js":
            found |= phrases_of(file.read_text("utf-8"))
    return {phrase: SPANISH.get(phrase, phrase) for phrase in sorted(found)}


def phrases_of(script: str) -> set[str]:
    """Find the phrases that a script shows."""
    quoted = [text for pair in _SAID.findall(script) for text in pair if text]
    return {json.loads(text) for text in [*quoted, *_LISTED.findall(script)]}
