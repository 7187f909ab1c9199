"""Finds in besana's source the phrases and keys that its pages show."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import besana

PACKAGE = Path(besana.__file__).parent

# Which arguments of a call are shown: by position or by name.
SHOWN = {
    "Table": {0: "title", 1: "columns", 3: "note"},
    "Pictures": {0: "title", 2: "note"},
    "Plot": {0: "title", 2: "note"},
    "Text": {0: "title", 1: "text"},
    "Picture": {1: "caption"},
    "fact": {0: "name"},
    "drop": {0: "reason"},
    "warn": {0: "sentence"},
    "CorruptDataError": {2: "reason"},
    "Line": {0: "name"},
    "Verdict": {1: "reason"},
    "draw_lines": {1: "x_title"},
    "say": {0: "phrase"},
    "text": {0: "phrase"},
}
METHODS = {"fact", "drop", "warn"}
# Entries of figures that a page shows later on.
SHOWN_KEYS = {"way"}
# Other libraries have a `Table` and a `text` too.
IMPORTED = {
    "besana.workspace": {"Table", "Pictures", "Plot", "Text", "Picture"},
    "besana.web.language": {"text"},
    "besana.web.render": {"say"},
    "besana.web.curves": {"Line", "draw_lines"},
    "besana.learning.gate": {"Verdict"},
    "besana.errors": {"CorruptDataError"},
}
# Functions that return a phrase.
RETURNING = {"_reason", "_misfit", "_warning"}
# Constants that list issue kinds and reasons.
LISTS = {"_JUDGED", "KINDS", "REASONS"}


def shown_phrases() -> dict[str, set[str]]:
    """Find every phrase with the places that show it; `{}` stands for what is filled in."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for phrase, line in _module_phrases(ast.parse(path.read_text("utf-8"))):
            found.setdefault(phrase, set()).add(f"{path.relative_to(PACKAGE)}:{line}")
    for path in sorted((PACKAGE / "web" / "templates").iterdir()):
        for phrase in re.findall(r'"([^"]+)"\|say(?:_svg)?\b', path.read_text("utf-8")):
            found.setdefault(phrase, set()).add(path.name)
    return {phrase: places for phrase, places in found.items() if _can_be_told(phrase)}


def _can_be_told(phrase: str) -> bool:
    """Leave out what has no words, and keys that are put together while the program runs."""
    return bool(re.search("[A-Za-z]", phrase)) and not re.fullmatch(
        r"[a-z0-9_]*\{\}[a-z0-9_{}]*", phrase
    )


def _module_phrases(module: ast.Module) -> Iterator[tuple[str, int]]:
    values = _values(module)
    for name in LISTS & values.keys():
        for value in values[name]:
            yield from ((phrase, value.lineno) for phrase in _phrases(value, values))
    ours = METHODS | _imported(module)
    shown = {name: SHOWN[name] for name in ours} | _passing_on(module, ours)
    for node in ast.walk(module):
        for argument in _shown(node, shown):
            yield from ((phrase, argument.lineno) for phrase in _phrases(argument, values))


def _shown(node: ast.AST, shown: dict[str, dict[int, str]]) -> Iterator[ast.expr]:
    """Find what one node of the source brings to a page."""
    if isinstance(node, ast.Call):
        yield from _shown_arguments(node, shown)
    elif isinstance(node, ast.FunctionDef) and node.name in RETURNING:
        inside = (inner for inner in ast.walk(node) if isinstance(inner, ast.Return))
        yield from (inner.value for inner in inside if inner.value)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in SHOWN_KEYS:
                yield value


def _imported(module: ast.Module) -> set[str]:
    return {
        alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in IMPORTED.get(node.module or "", ())
    } | {
        # A module's own class of that name is shown as well.
        node.name
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and node.name in ("Verdict", "Line")
    }


def _values(module: ast.Module) -> dict[str, list[ast.expr]]:
    """Find what each name may stand for: what is assigned to it, or what a loop goes through."""
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).append(node.value)
        elif isinstance(node, (ast.For, ast.comprehension)) and isinstance(node.target, ast.Tuple):
            for row in getattr(node.iter, "elts", []):
                for name, value in zip(node.target.elts, getattr(row, "elts", []), strict=False):
                    if isinstance(name, ast.Name):
                        values.setdefault(name.id, []).append(value)
    return values


def _passing_on(module: ast.Module, ours: set[str]) -> dict[str, dict[int, str]]:
    """Find the module's own functions that show what they are given."""
    found: dict[str, dict[int, str]] = {}
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            shown = {name: SHOWN[name] for name in ours}
            used = {
                name.id
                for call in calls
                for argument in _shown_arguments(call, shown)
                for name in ast.walk(argument)
                if isinstance(name, ast.Name)
            }
            places = {i: a.arg for i, a in enumerate(function.args.args) if a.arg in used}
            if places and function.name not in SHOWN:
                found[function.name] = places
    return found


def _shown_arguments(call: ast.Call, ours: dict[str, dict[int, str]]) -> Iterator[ast.expr]:
    is_method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "append" and ast.unparse(call.func).endswith("notes.append"):
        yield call.args[0]
    shown = ours.get(name, {}) if is_method == (name in METHODS) else {}
    for position, argument in enumerate(call.args):
        if position in shown:
            yield argument
    for keyword in call.keywords:
        if keyword.arg in shown.values():
            yield keyword.value


def _phrases(node: ast.expr, values: dict[str, list[ast.expr]], depth: int = 0) -> list[str]:
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) and node.value else []
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
        return ["".join(map(str, parts))]
    parts = _parts(node)
    if parts:
        return [phrase for item in parts for phrase in _phrases(item, values, depth)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = (_phrases(side, values, depth) for side in (node.left, node.right))
        return [a + b for a in left for b in right] or left or right
    if isinstance(node, ast.Name) and depth < 3:
        return [p for value in values.get(node.id, []) for p in _phrases(value, values, depth + 1)]
    return []


def _parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    return node.elts if isinstance(node, (ast.List, ast.Tuple, ast.Set)) else []
