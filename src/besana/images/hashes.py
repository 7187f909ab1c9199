"""Find pictures that show the same: a 64-bit hash of shapes, and a search that scales.

The hash keeps the signs of the lowest cosine frequencies of a 32 x 32 grey picture (after
Zauner 2010, with signs instead of the median). A mirrored or turned copy has the same
frequencies with some signs changed and rows and columns swapped, so the hashes of all eight
orientations follow from one hash, without the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Places = NDArray[np.int32]
_Turn = tuple[bool, np.uint64]

_SIDE = 32
# Bit 8 * row + column is the sign of that frequency; the constant term's place, which says
# nothing, is taken by frequency (8, 8), which mirrors and turns like it.
_ROWS, _COLUMNS = np.divmod(np.arange(64), 8)
_PLACES = (np.where(np.arange(64) == 0, 8, _ROWS), np.where(np.arange(64) == 0, 8, _COLUMNS))
_EXACT_PARTS = 3
# Three parts of this width leave room for the position in one 64-bit number.
_WIDEST_PART, _PLACE_BITS = 10, np.uint64(34)
_CHUNK = 1 << 13


def perceptual_hash(pixels: NDArray[Any]) -> int:
    """Return the hash of a picture as a signed 64-bit number.

    Args:
        pixels: (height, width, channels) of any type; three channels are RGB.
    """
    import cv2

    from besana.images.quality import grey

    small = cv2.resize(
        grey(pixels).astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
    )
    signs = cv2.dct(small)[_PLACES] > 0
    return int(np.packbits(signs, bitorder="little").view(np.int64)[0])


def orientations(hashes: Hashes) -> list[Hashes]:
    """Return the hashes of all eight orientations of pictures, the pictures' own first.

    Args:
        hashes: (n,) uint64.
    """
    swapped = _swap_rows_and_columns(hashes)
    return [(swapped if swaps else hashes) ^ mask for swaps, mask in _TURNS]


def distance_bits(one: Hashes, other: Hashes) -> NDArray[np.int64]:
    """Return in how many of 64 bits hashes differ."""
    return np.asarray(np.bitwise_count(one ^ other), dtype=np.int64)


def first_alike(
    hashes: Hashes, max_bits: int, *, turned: bool = False, most_neighbours: int = 64
) -> Places:
    """Return for each picture the first one that it is like, over any number of steps.

    The 64 bits are cut into `max_bits` + 3 parts, so that two hashes within the distance have at
    least three parts in common (multi-index hashing: Norouzi, Punjani, Fleet 2012); only hashes
    that share three parts are compared. A turned copy is found by turning the hash that looks for
    others, so only the pictures' own hashes are sorted.

    Time grows as n log n times the number of part triples (84 for 6 bits). Memory is some 40
    bytes a picture, however many are alike.

    Args:
        hashes: (n,) uint64.
        max_bits: Largest distance of two that are alike, 0 to 20.
        turned: Also find mirrored copies and copies turned by 90, 180 and 270 degrees.
        most_neighbours: Comparisons of one hash with others in one crowded bucket.

    Returns:
        (n,) positions, a picture's own where it is like no earlier one.
    """
    unique, first, number = _distinct(hashes)
    root = np.arange(len(unique), dtype=np.int32)
    count = max_bits + _EXACT_PARTS
    order = _part_order(count, min(64 // count, _WIDEST_PART))
    for chosen in combinations(range(count), _EXACT_PARTS):
        index = _Index(unique, order[list(chosen)].ravel(), most_neighbours)
        for one, other in index.mates(_SEARCHED if turned else _SEARCHED[:1]):
            near = distance_bits(one[0], unique[other]) <= max_bits
            _join(root, one[1][near], other[near])
    # The first picture of each component; hashes are sorted by their bits, not by place.
    earliest = first.copy()
    top = _tops(root, np.arange(len(root), dtype=np.int32))
    np.minimum.at(earliest, top, first)
    return np.asarray(earliest[top][number])


def _distinct(hashes: Hashes) -> tuple[Hashes, Places, Places]:
    """Return the distinct hashes, rising; where each comes first; and which one each is."""
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    unique = hashes[order]
    new = np.append(np.ones(min(len(unique), 1), np.bool_), unique[1:] != unique[:-1])
    unique = unique[new]
    first = order[new]
    number = np.empty_like(order)
    number[order] = np.cumsum(new, dtype=np.int32) - 1
    return unique, first, number


class _Index:
    """The hashes in the order of some of their bits, to find those that share them.

    Args:
        hashes: (n,) uint64, no two alike.
        places: Places of the bits.
        most: Comparisons of one hash.
    """

    def __init__(self, hashes: Hashes, places: NDArray[np.intp], most: int) -> None:
        self._hashes, self._places, self._most = hashes, places, most
        # Key and position in one number: sorting numbers is several times faster than indices.
        self._sorted = np.empty(len(hashes), dtype=np.uint64)
        for start in range(0, len(hashes), _CHUNK):
            key = self._key(hashes[start : start + _CHUNK])
            place = np.arange(start, start + len(key), dtype=np.uint64)
            self._sorted[start : start + _CHUNK] = (key << _PLACE_BITS) | place
        self._sorted.sort()

    def mates(self, turns: Sequence[_Turn]) -> Iterator[tuple[tuple[Hashes, Places], Places]]:
        """Yield hashes, turned, with their positions, and positions that share their bits."""
        for start in range(0, len(self._hashes), _CHUNK):
            chunk = self._sorted[start : start + _CHUNK]
            yield from self._following(chunk, start)
            hashes = self._hashes[start : start + _CHUNK]
            swapped = _swap_rows_and_columns(hashes) if len(turns) > 1 else hashes
            for swaps, mask in turns[1:]:
                yield from self._sharing((swapped if swaps else hashes) ^ mask, start)

    def _following(
        self, chunk: Hashes, start: int
    ) -> Iterator[tuple[tuple[Hashes, Places], Places]]:
        """Yield pairs of unturned hashes that share their bits, both in this order."""
        at = np.arange(start, start + len(chunk), dtype=np.int32)
        for step in range(1, self._most + 1):
            at = at[: np.searchsorted(at, len(self._sorted) - step)]
            at = at[(self._sorted[at] ^ self._sorted[at + step]) >> _PLACE_BITS == 0]
            if not len(at):
                return
            one = _place(self._sorted[at])
            yield (self._hashes[one], one), _place(self._sorted[at + step])

    def _sharing(
        self, turned: Hashes, start: int
    ) -> Iterator[tuple[tuple[Hashes, Places], Places]]:
        """Yield turned hashes with unturned ones that share their bits."""
        key = self._key(turned)
        order = np.argsort(key)
        wanted = key[order] << _PLACE_BITS
        at = np.searchsorted(self._sorted, wanted)
        for step in range(self._most):
            inside = at + step < len(self._sorted)
            order, wanted, at = order[inside], wanted[inside], at[inside]
            same = (self._sorted[at + step] ^ wanted) >> _PLACE_BITS == 0
            order, wanted, at = order[same], wanted[same], at[same]
            if not len(at):
                return
            one = (order + start).astype(np.int32)
            yield (turned[order], one), _place(self._sorted[at + step])

    def _key(self, hashes: Hashes) -> Hashes:
        """Put the bits of this index side by side."""
        bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
        own = np.zeros((len(hashes), 64), np.uint8)
        own[:, : len(self._places)] = bits[:, self._places]
        return np.packbits(own, axis=1, bitorder="little").view(np.uint64)[:, 0]


def _part_order(count: int, width: int) -> NDArray[np.intp]:
    """Return which bits each of `count` parts consists of, (count, width).

    Neighbouring frequencies go to different parts, so that no part is much alike in all hashes.
    """
    return np.stack([np.arange(64)[part::count][:width] for part in range(count)])


def _place(number: Hashes) -> Places:
    return (number & np.uint64(2 ** int(_PLACE_BITS) - 1)).astype(np.int32)


def _join(root: Places, one: Places, other: Places) -> None:
    """Join pairs of items; a root is never larger than what it is the root of."""
    while len(one):
        low, high = _tops(root, one), _tops(root, other)
        root[one], root[other] = low, high
        apart = low != high
        one, other, low, high = one[apart], other[apart], low[apart], high[apart]
        np.minimum.at(root, np.maximum(low, high), np.minimum(low, high))


def _tops(root: Places, items: Places) -> Places:
    """Follow the roots of items to the top."""
    top = root[items]
    while True:
        above = root[top]
        if np.array_equal(above, top):
            return top
        top = above


def _bits(where: NDArray[np.bool_]) -> np.uint64:
    return np.uint64(np.packbits(where, bitorder="little").view(np.uint64)[0])


def _swap_rows_and_columns(hashes: Hashes) -> Hashes:
    """Transpose an 8 x 8 bit matrix in each number (Warren, Hacker's Delight, 7-3)."""
    x = hashes.copy()
    for shift, mask in (
        (7, 0x00AA00AA00AA00AA),
        (14, 0x0000CCCC0000CCCC),
        (28, 0x00000000F0F0F0F0),
    ):
        changed = (x ^ (x >> np.uint64(shift))) & np.uint64(mask)
        x = x ^ changed ^ (changed << np.uint64(shift))
    return x


def _turns() -> list[_Turn]:
    """Return the eight orientations: whether rows and columns swap, and which signs change."""
    mirrors = [_bits(_COLUMNS % 2 == 1), _bits(_ROWS % 2 == 1)]
    masks = [np.uint64(0), mirrors[0], mirrors[1], mirrors[0] ^ mirrors[1]]
    return [(swaps, mask) for swaps in (False, True) for mask in masks]


_TURNS = _turns()
# Turning by 90 degrees the one way finds what turning the other way would find.
_SEARCHED = _TURNS[:6] + _TURNS[7:]
