"""What scripts and pages of the server say has Spanish."""

from __future__ import annotations

import ast
import re
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from besana.web import routes_pages
from besana.web.language import known
from besana.web.routes_pages import PAGES, TITLES
from besana.web.words import phrases_of, script_phrases


def test_phrases_of_scripts_have_spanish() -> None:
    assert [phrase for phrase in script_phrases() if not known(phrase)] == []
    assert len(script_phrases()) > 60


def test_no_phrase_of_a_script_is_overlooked() -> None:
    for file in (files("besana.web") / "static").iterdir():
        if not file.name.endswith(".js"):
            continue
        script = file.read_text("utf-8")
        said = re.findall(r'\bsay(?:Now)?\(\s*"((?:[^"\\]|\\.)*)"', script)
        assert set(said) <= phrases_of(script), file.name


def test_titles_and_rooms_have_spanish() -> None:
    shown = [*TITLES, *(label for _, label in PAGES.values())]
    assert [phrase for phrase in shown if not known(phrase)] == []
    assert {label for _, label in PAGES.values()} <= set(TITLES)


def test_sentences_of_the_pages_have_spanish() -> None:
    module = ast.parse(Path(routes_pages.__file__).read_text("utf-8"))
    sentences = {
        node.value
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[A-Z][a-z]+ .*", node.value, re.DOTALL)
        and node.value != ast.get_docstring(function, clean=False)
    }
    assert [sentence for sentence in sorted(sentences) if not known(sentence)] == []


def test_a_phrase_is_found_wherever_it_stands() -> None:
    script = 'say("One.");\nsay(on ? "Two" : "Three", 1)\nconst A = {\n  a: "Four five",\n};'
    assert phrases_of(script) == {"One.", "Two", "Three", "Four five"}
