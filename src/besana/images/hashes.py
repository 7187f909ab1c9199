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
Pairs = NDArray[np.int64]

_SIDE = 32
# Bit 8 * row + column is the sign of that frequency; the constant term's place, which says
# nothing, is taken by frequency (8, 8), which mirrors and turns like it.
_ROWS, _COLUMNS = np.divmod(np.arange(64), 8)
_PLACES = (np.where(np.arange(64) == 0, 8, _ROWS), np.where(np.arange(64) == 0, 8, _COLUMNS))
_EXACT_PARTS = 3
# Three parts of this width leave room for the position in one 64-bit number.
_WIDEST_PART, _PLACE_BITS = 10, 34
_CHUNK = 1 << 16


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
    del inverse
    everything = np.concatenate(orientations(unique) if turned else [unique])
    count = max_bits + _EXACT_PARTS
    width = min(64 // count, _WIDEST_PART)
    fields = _fields(everything, count, width)
    for chosen in combinations(range(count), _EXACT_PARTS):
        key = _key(fields, chosen, width)
        for one, other in _bucket_mates(key, len(unique), most_neighbours):
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


def _fields(hashes: Hashes, count: int, width: int) -> Hashes:
    """Return the hashes with `width` bits of each of `count` parts side by side.

    Neighbouring frequencies go to different parts, so that no part is much alike in all hashes.
    """
    order = np.concatenate([np.arange(64)[part::count][:width] for part in range(count)])
    fields = np.empty_like(hashes)
    for start in range(0, len(hashes), _CHUNK):
        chunk = hashes[start : start + _CHUNK].view(np.uint8).reshape(-1, 8)
        bits = np.zeros((len(chunk), 64), np.uint8)
        bits[:, : len(order)] = np.unpackbits(chunk, axis=1, bitorder="little")[:, order]
        packed = np.packbits(bits, axis=1, bitorder="little")
        fields[start : start + _CHUNK] = packed.view(np.uint64)[:, 0]
    return fields


def _key(fields: Hashes, chosen: Sequence[int], width: int) -> Hashes:
    """Return the bits of the chosen parts as one number."""
    key = np.zeros_like(fields)
    for part in chosen:
        key <<= np.uint64(width)
        key |= (fields >> np.uint64(part * width)) & np.uint64(2**width - 1)
    return key


def _bucket_mates(
    key: Hashes, own: int, most: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield positions that share a key, of which at least one is an unturned hash."""
    # Key and position in one number: sorting numbers is several times faster than indices.
    place_bits = np.uint64(_PLACE_BITS)
    key <<= place_bits
    key |= np.arange(len(key), dtype=np.uint64)
    key.sort()
    at = np.flatnonzero((key[1:] ^ key[:-1]) >> place_bits == 0)
    place = np.uint64(2**_PLACE_BITS - 1)
    for step in range(1, most + 1):
        at = at[: np.searchsorted(at, len(key) - step)]
        at = at[(key[at] ^ key[at + step]) >> place_bits == 0]
        if not len(at):
            return
        one = (key[at] & place).astype(np.int64)
        other = (key[at + step] & place).astype(np.int64)
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
