"""Read and write the tags of "CVAT for images 1.1", an XML file of images and what they are.

A tag names a class and nothing else, so everything besides lies in its attributes: region,
annotator, time, source, note, whether the class holds, and the frame's id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from besana.errors import ConfigError, NotFoundError
from besana.labels.exports import LabelledFrame, Word
from besana.labels.statements import Reading, Statement
from besana.labels.tables import TableError

_CHUNK = 1 << 16
_LONGEST = 1 << 20
_LONGEST_MARKUP = 4 << 20
_DEEPEST = 64
_ATTRIBUTES = ("frame", "region", "holds", "annotator", "time", "source", "note")
_OTHERS = ("box", "polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton")
# What XML 1.0 cannot hold, and the backslashes that would be taken for what stands for it.
_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\\(?=u\{)")
_WRITTEN = re.compile(r"\\u\{([0-9a-f]{1,6})\}")


def read_cvat(path: Path, *, time_zone: str) -> Iterator[Statement | TableError]:
    """Read the tags of images; an entity or a DOCTYPE is refused before it is looked at.

    Args:
        path: `annotations.xml` of an export "CVAT for images 1.1".
        time_zone: Zone of times without one.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is no such XML.
    """
    tags = _Tags(path, Reading("line", "cvat", time_zone))
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                tags.feed(chunk)
                yield from tags.taken()
            tags.feed(b"", last=True)
            yield from tags.taken()
    except OSError as error:
        raise NotFoundError(f"'{path}' cannot be read: {error.strerror}.") from None


class _Tags:
    """Goes through the XML and keeps what one image says at a time."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path, self._reading = path, reading
        self._found: list[Statement | TableError] = []
        self._open: list[str] = []
        self._image = self._class = self._attribute = self._text = ""
        self._told: dict[str, str] = {}
        self._line = 1
        self._fed_bytes = 0
        parser = self._parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse_doctype

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take the next bytes of the file."""
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise self._wrong(f"at line {error.lineno}, {expat.ErrorString(error.code)}") from None
        except (LookupError, ValueError) as error:
            raise self._wrong(f"its encoding cannot be read, {error}") from None
        self._fed_bytes += len(data)
        # An element that never ends would be kept until it does.
        if self._fed_bytes - self._parser.CurrentByteIndex > _LONGEST_MARKUP:
            raise self._wrong(f"line {self._parser.CurrentLineNumber} has no end within 4 MB")

    def taken(self) -> list[Statement | TableError]:
        """Give what was found since the last time."""
        found, self._found = self._found, []
        return found

    def _start(self, name: str, given: dict[str, str]) -> None:
        if not self._open and name != "annotations":
            raise self._wrong(f"it begins with <{name[:50]}>")
        if len(self._open) >= _DEEPEST:
            raise self._wrong("its elements lie too deep in each other")
        above = self._open[-1] if self._open else ""
        self._open.append(name)
        self._text = ""
        if name == "track":
            raise self._wrong("it is one of a video")
        if name == "image":
            self._image = given.get("name", "")
        elif name == "tag" and above == "image":
            self._class, self._told = _read(given.get("label", "")), {}
            self._line = self._parser.CurrentLineNumber
        elif name == "attribute" and above == "tag":
            self._attribute = given.get("name", "")
        elif name in _OTHERS and above == "image":
            line, problem = self._parser.CurrentLineNumber, f"a {name} is read by nobody"
            error = self._reading.error(line, name, "no_tag", f"{problem}, only tags are")
            self._found.append(error)

    def _end(self, name: str) -> None:
        self._open.pop()
        above = self._open[-1] if self._open else ""
        if name == "attribute" and above == "tag" and self._attribute in _ATTRIBUTES:
            self._told[self._attribute] = _read(self._text)
        elif name == "tag" and above == "image":
            told: dict[str, Any] = {"image": self._told.pop("frame", "") or self._image}
            told |= self._told
            self._found.append(self._reading.statement(self._line, self._class, told))
        self._text = ""

    def _characters(self, text: str) -> None:
        if self._open[-1] == "attribute" and len(self._text) <= _LONGEST:
            self._text += text

    def _refuse_doctype(self, *_: Any) -> None:
        raise self._wrong("it has a DOCTYPE, which may define entities")

    def _wrong(self, problem: str) -> ConfigError:
        return ConfigError(
            f"'{self._path}' is no XML of CVAT that can be read: {problem}.",
            'Export it from CVAT as "CVAT for images 1.1" and give annotations.xml.',
        )


def write_cvat(file: TextIO, frames: Iterable[LabelledFrame], classes: Sequence[str]) -> int:
    """Write one image a frame with a tag a label; give the number of labels.

    Args:
        file: The file, UTF-8.
        frames: What was said.
        classes: All classes, for the list of labels at the file's beginning.
    """
    count = 0
    file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
    _write_labels(file, classes)
    for number, frame in enumerate(frames):
        size = ""
        if frame.size_px:
            size = f' width="{frame.size_px[0]}" height="{frame.size_px[1]}"'
        file.write(f'  <image id="{number}" name={quoteattr(_written(frame.name))}{size}>\n')
        for word in frame.words:
            _write_tag(file, frame, word)
        count += len(frame.words)
        file.write("  </image>\n")
    file.write("</annotations>\n")
    return count


def _write_labels(file: TextIO, classes: Sequence[str]) -> None:
    attributes = "".join(
        f"<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>"
        "<default_value></default_value><values></values></attribute>"
        for name in _ATTRIBUTES
    )
    file.write("  <meta>\n    <task>\n      <mode>annotation</mode>\n      <labels>\n")
    for name in classes:
        label = f"<name>{_escaped(name)}</name><type>tag</type>"
        file.write(f"        <label>{label}<attributes>{attributes}</attributes></label>\n")
    file.write("      </labels>\n    </task>\n  </meta>\n")


def _write_tag(file: TextIO, frame: LabelledFrame, word: Word) -> None:
    told = {"frame": frame.id, "region": word.region, **word.told(), "note": word.note}
    if not word.holds:
        told["holds"] = "false"
    file.write(f'    <tag label={quoteattr(_written(word.class_name))} source="manual">\n')
    for what, text in told.items():
        if text:
            file.write(f'      <attribute name="{what}">{_escaped(text)}</attribute>\n')
    file.write("    </tag>\n")


def _written(text: str) -> str:
    r"""Write what XML cannot hold as an escape.

    >>> _written("a\x0bb"), _read(_written("a\x0bb")), _read(_written(r"\u{b}"))
    ('a\\u{b}b', 'a\x0bb', '\\u{b}')
    """
    return _UNWRITABLE.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", text)


def _read(text: str) -> str:
    codes = ((found, int(found[1], 16)) for found in _WRITTEN.finditer(text))
    if any(code > 0x10FFFF for _, code in codes):
        return text
    return _WRITTEN.sub(lambda found: chr(int(found[1], 16)), text)


def _escaped(text: str) -> str:
    return escape(_written(text), {"\r": "&#13;"})
