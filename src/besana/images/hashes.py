"""Find pictures that show the same: a 64-bit hash of shapes, and a search that scales.

The hash keeps the signs of the lowest cosine frequencies of a 32 x 32 grey picture (after
Zauner 2010, with signs instead of the median). A mirrored or turned copy has the same
frequencies with some signs changed and rows and columns swapped, so the hashes of all eight
orientations follow from one hash, without the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]

_SIDE = 32
# Bit 8 * row + column is the sign of that frequency; the constant term's place, which says
# nothing, is taken by frequency (8, 8), which mirrors and turns like it.
_ROWS, _COLUMNS = np.divmod(np.arange(64), 8)
_PLACES = (np.where(np.arange(64) == 0, 8, _ROWS), np.where(np.arange(64) == 0, 8, _COLUMNS))
_EXACT_PARTS = 3


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
    mirrors = [_bits(_COLUMNS % 2 == 1), _bits(_ROWS % 2 == 1)]
    masks = [np.uint64(0), mirrors[0], mirrors[1], mirrors[0] ^ mirrors[1]]
    return [base ^ mask for base in (hashes, swapped) for mask in masks]


def distance_bits(one: Hashes, other: Hashes) -> NDArray[np.int64]:
    """Return in how many of 64 bits hashes differ."""
    return np.asarray(np.bitwise_count(one ^ other), dtype=np.int64)


def near_duplicates(
    hashes: Hashes, max_bits: int, *, turned: bool = False, most_neighbours: int = 64
) -> Pairs:
    """Find pairs of hashes that differ in few bits, without comparing all with all.

    The 64 bits are cut into `max_bits` + 3 parts, so that two hashes within the distance have at
    least three parts in common (multi-index hashing: Norouzi, Punjani, Fleet 2012); only hashes
    that share three parts are compared. Equal hashes are paired with the first of them only. So
    the pairs connect what belongs together; they are not all pairs.

    Time grows as n log n times the number of part triples (84 for 6 bits), memory as n.

    Args:
        hashes: (n,) uint64.
        max_bits: Largest distance of a pair, 0 to 20.
        turned: Also find mirrored copies and copies turned by 90, 180 and 270 degrees.
        most_neighbours: Comparisons of one hash with others in one crowded bucket.

    Returns:
        (m, 2) positions, first below second, sorted, no pair twice.
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    found = [np.stack([first[inverse[repeated]], repeated], axis=1)]
    queries = orientations(unique) if turned else [unique]
    everything = np.concatenate(queries)
    for key in _keys(everything, max_bits):
        for one, other in _bucket_mates(key, everything, len(unique), most_neighbours):
            near = distance_bits(everything[one], everything[other]) <= max_bits
            a, b = first[one[near] % len(unique)], first[other[near] % len(unique)]
            pairs = np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)
            found.append(_distinct(pairs[a != b]))
    return _distinct(np.concatenate(found).astype(np.int64))


def components(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """Return for each of `count` items the first item it is connected with, itself if none.

    Args:
        count: Number of items.
        pairs: (m, 2) positions.
    """
    root = np.arange(count, dtype=np.int64)
    while True:
        before = root.copy()
        low = np.minimum(root[pairs[:, 0]], root[pairs[:, 1]])
        for side in (0, 1):
            np.minimum.at(root, root[pairs[:, side]], low)
            np.minimum.at(root, pairs[:, side], low)
        while not np.array_equal(root, root[root]):
            root = root[root]
        if np.array_equal(root, before):
            return root


def _keys(hashes: Hashes, max_bits: int) -> Iterator[NDArray[np.uint64]]:
    """Yield for each triple of parts the bits in it; the rest is cleared."""
    count = max_bits + _EXACT_PARTS
    # Neighbouring frequencies go to different parts, so that no part is much alike in all.
    parts = [_bits(np.arange(64) % count == part) for part in range(count)]
    for chosen in combinations(parts, _EXACT_PARTS):
        yield hashes & np.bitwise_or.reduce(np.array(chosen))


def _bucket_mates(
    key: NDArray[np.uint64], hashes: Hashes, own: int, most: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield positions that share a key, of which at least one is an unturned hash."""
    order = np.argsort(key)
    ordered = key[order]
    at = np.flatnonzero(ordered[:-1] == ordered[1:])
    for step in range(1, most + 1):
        at = at[: np.searchsorted(at, len(key) - step)]
        at = at[ordered[at] == ordered[at + step]]
        if not len(at):
            return
        one, other = order[at], order[at + step]
        useful = (one < own) | (other < own)
        yield one[useful], other[useful]


def _distinct(pairs: NDArray[Any]) -> NDArray[Any]:
    if len(pairs) < 2:
        return pairs.reshape(-1, 2)
    ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    keep = np.ones(len(ordered), dtype=bool)
    keep[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[keep]


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
