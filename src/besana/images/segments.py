"""JPEG that decodes in parts: restart segments, a table of their lengths, and the part under a box.

A baseline JPEG with a restart marker every few MCUs (its smallest coded blocks, 16 x 16 px in
colour at half chroma resolution, 8 x 8 px in grey) is an ordinary JPEG for every reader, but its
segments decode on their own. Their lengths stand in an application segment of the file itself
(APP9, which readers skip), so the table travels with the picture wherever it is copied.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_JFIF_BYTES = 20
"""Start of image and JFIF segment, which libjpeg always writes the same."""
# Marker and length of the segment; mark and version; px of an MCU, MCUs of a segment, columns and
# rows of segments; place of the sides and of the first segment in the file without the table.
_TABLE = struct.Struct(">2sH7sBHHHHH")
_MARKER, _MARK = b"\xff\xe9", b"besana\1"
_FIRST_LENGTH = _JFIF_BYTES + _TABLE.size
_MOST_SEGMENTS = (0xFFFF - _TABLE.size + 2) // 2
_SIDES = struct.Struct(">HH")
_FRAME_HEADER, _START_OF_SCAN, _END_OF_IMAGE = 0xC0, 0xDA, 0xD9
_RESTARTS = np.resize(np.arange(0xD0, 0xD8, dtype=np.uint8), _MOST_SEGMENTS)
# Upsampling of the colours reads one pixel beyond each cut.
_MARGIN_PX = 1


class Part(NamedTuple):
    """A piece of a picture as a JPEG of its own.

    Attributes:
        data: The file.
        top: First row of the piece in the whole picture, px.
        left: Its first column, px.
        height: Its rows.
        width: Its columns.
        channels: 1 or 3.
    """

    data: bytearray
    top: int
    left: int
    height: int
    width: int
    channels: int


def interval(width: int, components: int) -> int:
    """Choose how many MCUs a segment has: a divisor of those of a row.

    Shorter segments cost bytes (about five each), longer ones decode more beside a crop. Near a
    thirtieth of the width, but not under two MCUs, was the fastest on 256 to 1920 px.

    >>> interval(500, 3), interval(1920, 3), interval(341, 3), interval(368, 3)
    (2, 4, 2, 1)
    """
    mcu_px = _mcu_px(components)
    across = -(-width // mcu_px)
    wished = max(32, width / 30) / mcu_px
    divisors = [n for n in range(1, across + 1) if across % n == 0]
    return min(divisors, key=lambda n: max(n / wished, wished / n))


def with_table(data: bytes, mcus: int) -> bytes:
    """Add the table of segments to a JPEG that libjpeg wrote with restart markers.

    Args:
        data: The file: baseline, grey or colour at half resolution.
        mcus: MCUs between two markers; divides those of a row.

    Returns:
        The file as it was when it has too many segments for one table.
    """
    sides, scan, components = _places(data)
    height, width = _SIDES.unpack_from(data, sides)
    mcu_px = _mcu_px(components)
    columns, rows = -(-width // mcu_px) // mcus, -(-height // mcu_px)
    lengths = np.diff(_segment_ends(data, scan), prepend=scan)
    if len(lengths) != columns * rows or len(lengths) > _MOST_SEGMENTS or lengths.max() > 0xFFFF:
        return data
    length = _TABLE.size - 2 + 2 * len(lengths)
    head = _TABLE.pack(_MARKER, length, _MARK, mcu_px, mcus, columns, rows, sides, scan)
    table = head + lengths.astype(">u2").tobytes()
    return b"".join([data[:_JFIF_BYTES], table, data[_JFIF_BYTES:]])


def _mcu_px(components: int) -> int:
    return 8 if components == 1 else 16


def _places(data: bytes) -> tuple[int, int, int]:
    """Find the sides in the frame header, the first byte of the scan, and the components."""
    position = sides = components = 0
    after = 2
    while data[position + 1] != _START_OF_SCAN:
        position = after
        if data[position + 1] == _FRAME_HEADER:
            sides, components = position + 5, data[position + 9]
        after = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return sides, after, components


def _segment_ends(data: bytes, scan: int) -> NDArray[np.int64]:
    """Find where segments end: after each restart marker and after the end of the image."""
    scanned = np.frombuffer(data, np.uint8, offset=scan)
    found = np.flatnonzero(scanned[:-1] == 0xFF)
    marker = scanned[found + 1]
    ends: NDArray[np.int64] = found[(marker >= _RESTARTS[0]) & (marker <= _END_OF_IMAGE)]
    ends += scan + 2
    return ends


def part_under(
    data: memoryview, height: int, width: int, box: tuple[int, int, int, int]
) -> Part | None:
    """Assemble a JPEG of the segments under a box.

    Its pixels under the box equal those of the whole picture, bit by bit, at any scale: one more
    segment is taken wherever the box comes within a pixel of a cut, because colours at half
    resolution are interpolated across it.

    Args:
        data: The whole file.
        height: Rows of the whole picture.
        width: Columns of the whole picture.
        box: First row, first column, rows and columns, px.

    Returns:
        None where the file has no table that fits it, or the box needs all of it.
    """
    if len(data) < _FIRST_LENGTH:
        return None
    marker, length, mark, mcu_px, mcus, columns, rows, sides, scan = _TABLE.unpack_from(
        data, _JFIF_BYTES
    )
    segment_px, count = mcus * mcu_px, rows * columns
    if (
        marker != _MARKER
        or mark != _MARK
        or length != _TABLE.size - 2 + 2 * count
        or len(data) < scan + length + 2
        or not (rows - 1) * mcu_px < height <= rows * mcu_px
        or not (columns - 1) * segment_px < width <= columns * segment_px
    ):
        return None
    top, left, tall, wide = box
    row = max(top - _MARGIN_PX, 0) // mcu_px
    column = max(left - _MARGIN_PX, 0) // segment_px
    last_row = min(-(-(top + tall + _MARGIN_PX) // mcu_px), rows)
    last_column = min(-(-(left + wide + _MARGIN_PX) // segment_px), columns)
    if (last_row - row) * (last_column - column) == count:
        return None
    start = _FIRST_LENGTH + 2 * count
    first_segment = start + scan - _JFIF_BYTES
    lengths = np.frombuffer(data, ">u2", count, _FIRST_LENGTH)
    ends = np.empty(count + 1, np.int64)
    ends[0] = first_segment
    ends[1:] = lengths
    ends.cumsum(out=ends)
    if ends[-1] != len(data) or sides >= scan:
        return None
    pieces = [data[:_JFIF_BYTES], data[start:first_segment]]
    firsts = ends[row * columns + column : last_row * columns : columns].tolist()
    stops = ends[row * columns + last_column :: columns].tolist()
    pieces += [data[first:stop] for first, stop in zip(firsts, stops, strict=False)]
    part = bytearray().join(pieces)
    taken = lengths.reshape(rows, columns)[row:last_row, column:last_column]
    marks = taken.ravel().astype(np.int64).cumsum()
    marks += scan - 1
    np.frombuffer(part, np.uint8)[marks] = _RESTARTS[: len(marks)]
    part[-1] = _END_OF_IMAGE
    piece_top, piece_left = row * mcu_px, column * segment_px
    piece_height = min(last_row * mcu_px, height) - piece_top
    piece_width = min(last_column * segment_px, width) - piece_left
    _SIDES.pack_into(part, sides, piece_height, piece_width)
    channels = 1 if mcu_px == _mcu_px(1) else 3
    return Part(part, piece_top, piece_left, piece_height, piece_width, channels)
