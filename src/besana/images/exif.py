"""Read the few tags besana uses out of TIFF and EXIF directories, without trusting them."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

ORIENTATION, DATE_TIME, MAKE, MODEL = 0x0112, 0x0132, 0x010F, 0x0110
EXIF_POINTER, GPS_POINTER = 0x8769, 0x8825
DATE_TIME_ORIGINAL, OFFSET_TIME_ORIGINAL, SUBSECOND_ORIGINAL = 0x9003, 0x9011, 0x9291

_TYPES = {  # TIFF 6.0, section 2: type number to (struct letter, values an item)
    1: ("B", 1),
    2: ("s", 1),
    3: ("H", 1),
    4: ("I", 1),
    5: ("I", 2),
    7: ("s", 1),
    9: ("i", 1),
    10: ("i", 2),
    13: ("I", 1),
    16: ("Q", 1),
    18: ("Q", 1),
}
_MOST_ENTRIES = 1000
_MOST_BYTES = 65_536
_MOST_PAGES = 10_000
_DATE = re.compile(r"(\d{4})[:\-/.](\d{2})[:\-/.](\d{2})[ T](\d{2}):(\d{2}):(\d{2})")
_ZONE = re.compile(r"[+-]\d{2}:\d{2}")

Value = tuple[int, ...] | bytes


@dataclass(frozen=True)
class Directory:
    """One image file directory: the tags that could be read, and where the next one starts."""

    tags: dict[int, Value]
    next_offset: int

    def number(self, tag: int, default: int) -> int:
        """Return a tag's first number."""
        value = self.tags.get(tag)
        return value[0] if isinstance(value, tuple) and value else default

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return all numbers of a tag; empty when it is not there."""
        value = self.tags.get(tag)
        return value if isinstance(value, tuple) else ()

    def text(self, tag: int) -> str:
        """Return a tag's text up to the first NUL; empty when it is not there."""
        value = self.tags.get(tag)
        if not isinstance(value, bytes):
            return ""
        return value.split(b"\0", 1)[0].decode("latin-1").strip()


class TiffReader:
    """Walk the directories of a TIFF file or of an EXIF block.

    Args:
        data: The whole file, or the EXIF block after its `Exif` mark.

    Raises:
        ValueError: If it does not start as a TIFF file.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        mark = bytes(self._data[:4])
        if mark[:2] not in (b"II", b"MM") or len(self._data) < 8:
            raise ValueError("no TIFF header")
        self._order = "<" if mark[:2] == b"II" else ">"
        version = struct.unpack(self._order + "H", mark[2:])[0]
        if version not in (42, 43):
            raise ValueError("no TIFF header")
        self._big = version == 43
        self.first_offset = self._unpack("Q", 8) if self._big else self._unpack("I", 4)

    def directory(self, offset: int) -> Directory:
        """Read one directory.

        Raises:
            ValueError: If it lies outside the data or has an absurd number of entries.
        """
        entry_bytes, count_letter, count_bytes = (20, "Q", 8) if self._big else (12, "H", 2)
        count = self._unpack(count_letter, offset)
        if count == 0 or count > _MOST_ENTRIES:
            raise ValueError(f"a directory with {count} entries")
        start = offset + count_bytes
        tags: dict[int, Value] = {}
        for position in range(start, start + count * entry_bytes, entry_bytes):
            tag = self._unpack("H", position)
            value = self._value(position)
            if value is not None:
                tags.setdefault(tag, value)
        end = start + count * entry_bytes
        return Directory(tags, self._unpack("Q" if self._big else "I", end))

    def page_count(self) -> int:
        """Count the directories in the chain.

        Raises:
            ValueError: If the chain is a circle or leaves the data.
        """
        seen: set[int] = set()
        offset = self.first_offset
        while offset and len(seen) < _MOST_PAGES:
            if offset in seen:
                raise ValueError("the pages form a circle")
            seen.add(offset)
            offset = self.directory(offset).next_offset
        return len(seen)

    def _value(self, entry: int) -> Value | None:
        letter, per_item = _TYPES.get(self._unpack("H", entry + 2), ("", 0))
        count = self._unpack("Q" if self._big else "I", entry + 4) * per_item
        if not letter or count == 0:
            return None
        size = count * struct.calcsize(letter)
        if size > _MOST_BYTES:
            return None
        inline, place = (8, entry + 12) if self._big else (4, entry + 8)
        if size > inline:
            place = self._unpack("Q" if self._big else "I", place)
        if place + size > len(self._data):
            raise ValueError("a tag points outside the data")
        chunk = self._data[place : place + size]
        if letter == "s":
            return bytes(chunk)
        return struct.unpack(f"{self._order}{count}{letter}", chunk)

    def _unpack(self, letter: str, offset: int) -> int:
        try:
            return int(struct.unpack_from(self._order + letter, self._data, offset)[0])
        except struct.error as error:
            raise ValueError("a directory outside the data") from error


@dataclass(frozen=True)
class Exif:
    """What besana keeps of a frame's EXIF block.

    Attributes:
        orientation: 1 to 8; 1 also when missing or out of range.
        captured_at: ISO time with seconds, fraction and offset as far as the camera wrote them.
        make: Maker of the camera, may be empty.
        model: Model of the camera, may be empty.
        is_valid: False when something in the block was garbage and dropped.
    """

    orientation: int = 1
    captured_at: str | None = None
    make: str = ""
    model: str = ""
    is_valid: bool = True


def read_exif(block: bytes | memoryview) -> Exif:
    """Read an EXIF block; garbage is dropped and told, never raised.

    Args:
        block: The TIFF structure, without the leading `Exif` mark.
    """
    try:
        reader = TiffReader(block)
        main = reader.directory(reader.first_offset)
    except ValueError:
        return Exif(is_valid=False)
    return exif_of(reader, main)


def exif_of(reader: TiffReader, main: Directory) -> Exif:
    """Read EXIF values from a directory and the ones it points to."""
    details, details_valid = _linked(reader, main, EXIF_POINTER)
    gps, gps_valid = _linked(reader, main, GPS_POINTER)
    orientation = main.number(ORIENTATION, 1)
    raw_time = details.text(DATE_TIME_ORIGINAL) or main.text(DATE_TIME)
    captured_at = _iso_time(raw_time, details)
    is_valid = (
        details_valid
        and gps_valid
        and 1 <= orientation <= 8
        and (captured_at is not None or not raw_time)
        and all(_has_no_zero_denominator(gps.numbers(tag)) for tag in (2, 4))
    )
    return Exif(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        captured_at=captured_at,
        make=main.text(MAKE)[:100],
        model=main.text(MODEL)[:100],
        is_valid=is_valid,
    )


def _linked(reader: TiffReader, main: Directory, pointer: int) -> tuple[Directory, bool]:
    offset = main.number(pointer, 0)
    if not offset:
        return Directory({}, 0), True
    try:
        return reader.directory(offset), offset != reader.first_offset
    except ValueError:
        return Directory({}, 0), False


def _iso_time(raw: str, details: Directory) -> str | None:
    from datetime import datetime

    match = _DATE.match(raw)
    if match is None:
        return None
    year, month, day, hour, minute, second = match.groups()
    moment = f"{year}-{month}-{day}T{hour}:{minute}:{second}"
    fraction = details.text(SUBSECOND_ORIGINAL)
    if fraction.isdecimal() and fraction.isascii():
        moment += f".{fraction[:6]:0<6}"
    zone = details.text(OFFSET_TIME_ORIGINAL)
    if _ZONE.fullmatch(zone):
        moment += zone
    try:
        datetime.fromisoformat(moment)
    except ValueError:
        return None
    return moment


def _has_no_zero_denominator(numbers: tuple[int, ...]) -> bool:
    return all(denominator != 0 for denominator in numbers[1::2])
