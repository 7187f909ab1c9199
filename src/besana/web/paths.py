"""Find what stands for a path among many, some of them with `{names}` in the place of a part."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Generic, TypeVar

T = TypeVar("T")

# Most callers ask for the same few paths; what strangers invent does not stay.
_KEPT = 64


class Paths(Generic[T]):
    """What stands for each path, in the order in which it was given.

    Args:
        given: Paths as in FastAPI, `/api/people/{name}`, and what stands for each.

    >>> paths = Paths([("/model", 1), ("/models/{name}", 2)])
    >>> paths.at("/model"), paths.at("/models/cows"), paths.at("/models/cows/1")
    ([(1, {})], [(2, {'name': 'cows'})], [])
    """

    def __init__(self, given: Iterable[tuple[str, T]]) -> None:
        given = list(given)
        patterns = [(_pattern(path), one) for path, one in given]
        self._named = [pair for pair, (path, _) in zip(patterns, given, strict=True) if "{" in path]
        self._fixed = {path: _matching(patterns, path) for path, _ in given if "{" not in path}
        self._latest = lru_cache(maxsize=_KEPT)(partial(_matching, self._named))

    def at(self, path: str) -> list[tuple[T, dict[str, str]]]:
        """Give what stands for a path, each with the parts that have names; not to be changed."""
        fixed = self._fixed.get(path)
        return self._latest(path) if fixed is None else fixed


def _matching(
    patterns: Iterable[tuple[re.Pattern[str], T]], path: str
) -> list[tuple[T, dict[str, str]]]:
    matches = ((one, pattern.fullmatch(path)) for pattern, one in patterns)
    return [(one, match.groupdict()) for one, match in matches if match]


def _pattern(path: str) -> re.Pattern[str]:
    """Compile a path whose `{name}` is one component."""
    parts = re.split(r"\{([a-z_]+)\}", path)
    groups = [*(f"(?P<{name}>[^/]+)" for name in parts[1::2]), ""]
    texts = map(re.escape, parts[::2])
    return re.compile("".join(text + group for text, group in zip(texts, groups, strict=True)))
