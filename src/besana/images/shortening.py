"""JPEG cut short: only its upper rows are decoded, down to what is needed."""

from __future__ import annotations

from typing import NamedTuple

_BASELINE = (0xC0, 0xC1)
_START_OF_SCAN = 0xDA
_BLOCK_PX = 8


class Shorter(NamedTuple):
    """How a JPEG becomes shorter.

    Attributes:
        place: Where its height stands in the file: two bytes.
        rows: Height to put there.
    """

    place: int
    rows: int


def shorter(data: memoryview, height: int, needed: int) -> Shorter | None:
    """Find the height at which a decoder stops soon after the rows that are needed.

    The rows that are needed equal those of the whole picture, bit by bit, at any scale: the height
    is a multiple of the smallest coded blocks, and one row more is kept, because colours at
    half resolution are interpolated across blocks.

    What is cut off stays in the file, so that the decoder warns of bytes that it does not expect.
    Whoever ignores its warnings must know from elsewhere that the whole picture is sound.

    Args:
        data: The file.
        height: Rows of the whole picture.
        needed: Rows that are needed, from the top.

    Returns:
        None where that is no gain, or the file is not baseline with all colours in one scan.
    """
    at = frame = 2
    try:
        while data[at + 1] != _START_OF_SCAN:
            if data[at + 1] in _BASELINE:
                frame = at
            at += 2 + (data[at + 2] << 8 | data[at + 3])
        components = data[frame + 9]
        if data[frame + 1] not in _BASELINE or data[at + 4] != components:
            return None
        sampling = max(data[frame + 11 : frame + 11 + 3 * components : 3].tolist(), key=_vertical)
    except (IndexError, ValueError):
        return None
    block_px = _BLOCK_PX * _vertical(sampling)
    if not block_px or (data[frame + 5] << 8 | data[frame + 6]) != height:
        return None
    rows = -(-(needed + 1) // block_px) * block_px
    return Shorter(frame + 5, rows) if rows < height else None


def _vertical(factors: int) -> int:
    return factors & 15
