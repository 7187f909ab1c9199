"""The order of samples: a pure function of seed and epoch, the same on every machine for years.

Random numbers are counter-based (splitmix64: Steele, Lea and Flood, 2014), never a stream, so
that the order depends on nothing that ran before and on no library's version.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Order = npt.NDArray[Any]
"""Numbers of samples, int32 where they fit."""

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_GAMMA: Final = 0x9E3779B97F4A7C15
_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB

_ORDER, _BLOCKS, _PLACES = 1, 2, 3
_CHUNK = 1 << 16


def key_of(*parts: int) -> int:
    """Mix whole numbers into one 64-bit key.

    >>> key_of(0, 1) == key_of(0, 1), key_of(0, 1) == key_of(1, 0)
    (True, False)
    """
    key = 0
    for part in parts:
        key = _splitmix(key ^ part & _MASK)
    return key


def _splitmix(value: int) -> int:
    value = value + _GAMMA & _MASK
    value = (value ^ value >> 30) * _FIRST & _MASK
    value = (value ^ value >> 27) * _SECOND & _MASK
    return value ^ value >> 31


def hashes(key: int | Hashes, counters: npt.NDArray[Any]) -> Hashes:
    """Hash counters under a key; different counters never collide.

    Args:
        key: From `key_of`; or one a counter.
        counters: Whole numbers below 2**64, any shape.
    """
    with np.errstate(over="ignore"):
        value = np.asarray(counters, np.uint64) * np.uint64(_GAMMA)
        value = value + np.asarray(key, np.uint64)
        value += np.uint64(_GAMMA)
        value = (value ^ value >> np.uint64(30)) * np.uint64(_FIRST)
        value = (value ^ value >> np.uint64(27)) * np.uint64(_SECOND)
        return value ^ value >> np.uint64(31)


def permutation(count: int, key: int) -> Order:
    """Order 0 to `count - 1` at random: a uniform permutation, chosen by the key.

    The order is that of the hashes. What is sorted are their upper bits with the counters in
    place of the lower ones: several times faster than sorting counters by hash, in less memory.
    """
    bits = max(count - 1, 0).bit_length()
    low = np.uint64((1 << bits) - 1)
    packed = np.empty(count, np.uint64)
    for start in range(0, count, _CHUNK):  # so that intermediate values take little memory
        counters = np.arange(start, min(start + _CHUNK, count), dtype=np.uint64)
        packed[start : start + len(counters)] = hashes(key, counters) & ~low | counters
    packed.sort()
    order = np.empty(count, np.int32 if bits < 32 else np.int64)
    for start in range(0, count, _CHUNK):
        order[start : start + _CHUNK] = packed[start : start + _CHUNK] & low
    for first, last in _ties(packed, low):
        tied = order[first:last]
        order[first:last] = tied[np.argsort(hashes(key, tied))]
    return order


def _ties(packed: Hashes, low: np.uint64) -> list[tuple[int, int]]:
    """Find the runs whose upper bits are equal; there are few, if any."""
    same = [np.empty(0, np.int64)]
    for start in range(0, len(packed), _CHUNK):
        part = packed[start : start + _CHUNK + 1]
        same.append(start + np.flatnonzero((part[1:] ^ part[:-1]) <= low))
    places = np.concatenate(same)
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [(int(run[0]), int(run[-1]) + 2) for run in runs if len(run)]


def global_order(count: int, seed: int, epoch: int) -> Order:
    """Shuffle all samples: every order is as likely as any other."""
    return permutation(count, key_of(seed, epoch, _ORDER))


class BlockOrder(NamedTuple):
    """An order of samples, and how they are read.

    Attributes:
        order: Samples in the order of their use.
        segment: Piece of a block that each sample belongs to; a segment is read at once, and
            not more than `window_blocks` + 1 of them are in use at any place in the order.
            None when each sample is read on its own.
    """

    order: Order
    segment: npt.NDArray[Any] | None


def cut_blocks(
    shard: npt.NDArray[Any], offset: npt.NDArray[Any], block_bytes: int
) -> npt.NDArray[np.int32]:
    """Cut samples into blocks of neighbours in their shards.

    Args:
        shard: Shard of each sample.
        offset: Start of its record in bytes.
        block_bytes: A block starts anew at each shard and at each multiple of this many bytes.

    Returns:
        Block of each sample, numbered from 0 in the order of shard and offset.
    """
    by_place = None if in_place_order(shard, offset) else np.lexsort((offset, shard))
    block = np.empty(len(shard), np.int32)
    last_shard, last_part, number = -1, -1, -1
    for start in range(0, len(shard), _CHUNK):
        at = slice(start, start + _CHUNK) if by_place is None else by_place[start : start + _CHUNK]
        shards = shard[at].astype(np.int64)
        parts = (offset[at].astype(np.uint64) // np.uint64(block_bytes)).astype(np.int64)
        begins = np.diff(shards, prepend=last_shard) != 0
        begins |= np.diff(parts, prepend=last_part) != 0
        block[at] = number + np.cumsum(begins)
        last_shard, last_part, number = shards[-1], parts[-1], number + int(begins.sum())
    return block


def in_place_order(shard: npt.NDArray[Any], offset: npt.NDArray[Any]) -> bool:
    """Tell whether samples come in the order of shard and offset."""
    for start in range(0, len(shard), _CHUNK):
        part = slice(start, start + _CHUNK + 1)
        shards, offsets = shard[part].astype(np.int64), offset[part].astype(np.int64)
        steps = np.diff(shards)
        if ((steps < 0) | ((steps == 0) & (np.diff(offsets) < 0))).any():
            return False
    return True


def block_order(
    block: npt.NDArray[Any],
    place: npt.NDArray[Any] | None,
    seed: int,
    epoch: int,
    window_blocks: int,
) -> BlockOrder:
    """Shuffle samples so that only a window of blocks is needed at any place in the order.

    Blocks come in a random order, one after another; each spreads its samples at random over
    the time in which the next `window_blocks` begin. The first batches would then come from few
    blocks; so the blocks that overhang the end give the tail of their records to the
    beginning: every batch is mixed from as many blocks, and no byte is read twice.

    Args:
        block: Block of each sample, from `cut_blocks`.
        place: What orders samples inside their block: the offset. None when they are in order.
        seed: Seed of the training.
        epoch: Number of the epoch.
        window_blocks: Blocks that are mixed with each other, at least 1.
    """
    count = int(block.max()) + 1 if len(block) else 0
    window = max(1, min(window_blocks, count))
    turn = np.empty(count, np.int64)
    turn[permutation(count, key_of(seed, epoch, _BLOCKS))] = np.arange(count)
    overhang = np.maximum(turn + window - count, 0)
    wraps = np.zeros(len(block), np.bool_)
    over = np.flatnonzero((overhang > 0)[block])
    share = _share_in_block(block[over], over if place is None else place[over])
    wraps[over] = share * window >= window - overhang[block[over]]
    time = np.empty(len(block), np.uint64)
    key = key_of(seed, epoch, _PLACES)
    for first in range(0, len(block), _CHUNK):
        part = slice(first, min(first + _CHUNK, len(block)))
        blocks, wrapped = block[part], wraps[part]
        spread = np.where(wrapped, overhang[blocks], window - overhang[blocks]).astype(np.uint64)
        start = np.where(wrapped, 0, turn[blocks]).astype(np.uint64)
        draw = hashes(key, np.arange(part.start, part.stop)) >> np.uint64(40)
        # Fixed point with 24 bits after the point: exact on every machine.
        time[part] = (start << np.uint64(24)) + draw * spread
    order = np.argsort(time, kind="stable").astype(np.int32 if len(block) < 1 << 31 else np.int64)
    return BlockOrder(order, block * 2 + wraps)


def _share_in_block(block: npt.NDArray[Any], place: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Tell where in its block each sample lies, as a share of the block's samples."""
    by_place = np.lexsort((place, block))
    sizes = np.bincount(block)
    starts = np.cumsum(sizes) - sizes
    share = np.empty(len(block))
    sorted_blocks = block[by_place]
    share[by_place] = (np.arange(len(block)) - starts[sorted_blocks]) / sizes[sorted_blocks]
    return share


def same_group_share(order: Order, group: npt.NDArray[Any], batch_size: int) -> float:
    """Measure mixing: how likely two samples of one batch are of one group.

    A true shuffle has the chance of any two samples; a poor one puts neighbours together.

    Args:
        order: Samples in the order of their use.
        group: Group, camera or block of each sample.
        batch_size: Samples a batch.
    """
    batches = len(order) // batch_size
    names = np.unique(group, return_inverse=True)[1][order[: batches * batch_size]]
    by_batch = np.sort(names.reshape(batches, batch_size), axis=1)
    pairs = 0
    for distance in range(1, batch_size):
        equal = by_batch[:, distance:] == by_batch[:, :-distance]
        pairs += int(equal.sum())
        if not equal.any():
            break
    return pairs / (batches * batch_size * (batch_size - 1) / 2) if batches else 0.0
