"""Read large JSON files item by item, in memory that does not grow with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from besana.errors import ConfigError
from besana.labels.tables import open_text

LONGEST_ITEM = 4 << 20
_CHUNK = 1 << 18
_SPACE = " \t\n\r"

Item = tuple[str, int, Any]
"""Key of the list that it is in, its number there from 1, and the item."""


def stream_json(path: Path) -> Iterator[Item]:
    """Read the items of the lists in a JSON file, one after the other.

    Of a file that is one list, the key is empty. Of a file that is one object, the items of each
    value that is a list come under its key, after None as number 0; any other value comes whole,
    as number 0. One item may have 4 MB of text, so memory stays below some dozens of megabytes.

    Args:
        path: The file, UTF-8.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is no JSON, breaks off, or an item is too long.
    """
    with open_text(path) as file:
        text = _Text(path, file)
        opening = text.next()
        if opening == "[":
            yield from text.items("")
        elif opening == "{":
            yield from _members(text)
        else:
            raise text.wrong("it begins with neither [ nor {")
        if text.next():
            raise text.wrong("there is more behind its end")


def _members(text: _Text) -> Iterator[Item]:
    text.take("{")
    while text.next() != "}":
        key = text.value()
        if not isinstance(key, str):
            raise text.wrong("a key is no text")
        text.take(":")
        text.key, text.number = key, 0
        if text.next() == "[":
            yield key, 0, None
            yield from text.items(key)
        else:
            yield key, 0, text.value()
        if text.next() != "}":
            text.take(",")
    text.take("}")


class _Text:
    """The part of a file that is being read, and how far it went."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._buffer, self._at, self._whole = "", 0, False
        self._decoder = json.JSONDecoder()
        self.key, self.number = "", 0

    def items(self, key: str) -> Iterator[Item]:
        """Yield the items of the list that begins here."""
        self.take("[")
        self.key = key
        while self.next() != "]":
            self.number += 1
            yield key, self.number, self.value()
            if self.next() != "]":
                self.take(",")
        self.take("]")

    def next(self) -> str:
        """Skip white space and give the next character; empty at the end of the file."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._buffer) or not self._read():
                return self._buffer[self._at : self._at + 1]

    def take(self, character: str) -> None:
        """Go past a character that has to come now."""
        found = self.next()
        if found != character:
            raise self.wrong(f"{found!r} instead of {character!r}" if found else "it breaks off")
        self._at += 1

    def value(self) -> Any:
        """Read one whole value, and as much of the file as that takes."""
        self.next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError:
                raise self.wrong("lists and objects lie too deep in each other") from None
            except json.JSONDecodeError as error:
                problem = "it breaks off" if error.pos >= len(self._buffer) else error.msg
            except ValueError as error:
                raise self.wrong(str(error)) from None
            else:
                # A number at the end of what was read may go on.
                if end < len(self._buffer) or self._whole or isinstance(value, (dict, list, str)):
                    if end - self._at > LONGEST_ITEM:
                        raise self.wrong(f"it is longer than {LONGEST_ITEM >> 20} MB")
                    self._at = end
                    return value
                problem = "it breaks off"
            if len(self._buffer) - self._at > LONGEST_ITEM:
                raise self.wrong(f"{problem}, or it is longer than {LONGEST_ITEM >> 20} MB")
            if not self._read():
                raise self.wrong(problem)

    def wrong(self, problem: str) -> ConfigError:
        """Make the error of a file that cannot be read on, with the place."""
        where = f" of '{self.key[:50]}'" if self.key else ""
        return ConfigError(
            f"'{self._path}' is no JSON that can be read: at item {self.number}{where}, {problem}.",
            "Export the file again; it may have been cut off.",
        )

    def _read(self) -> bool:
        try:
            more = "" if self._whole else self._file.read(_CHUNK)
        except UnicodeDecodeError:
            raise self.wrong("it is not UTF-8") from None
        self._whole = not more
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)
