"""Samples that must stay together: union-find over arrays, and the keys that join them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from besana.errors import ConfigError
from besana.statistics.hashing import mix

_MINUTES_A_DAY = 1440


class Groups:
    """Join items, numbered from 0, step by step into groups.

    Labels of connected components spread by taking the smallest number in reach and by pointer
    jumping (Shiloach and Vishkin, 1982), all in array operations: ten million items need 40 MB
    to keep and seconds to join. Pass all pairs at once rather than a few at a time, because
    every call walks over all items.

    Args:
        count: How many items there are, at most 2**31 - 1.

    >>> groups = Groups(5)
    >>> groups.join_pairs(np.array([0, 3]), np.array([1, 4]))
    >>> groups.join_keys(np.array([-1, 7, 7, -1, -1]))
    >>> groups.roots().tolist()
    [0, 0, 0, 3, 3]
    """

    def __init__(self, count: int) -> None:
        self._roots = np.arange(count, dtype=np.int32)

    def join_pairs(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> None:
        """Join the item `first[i]` with the item `second[i]`, for every i."""
        while True:
            low, high = self._roots[first], self._roots[second]
            apart = low != high
            if not apart.any():
                return
            first, second = first[apart], second[apart]
            low, high = low[apart], high[apart]
            np.minimum.at(self._roots, np.maximum(low, high), np.minimum(low, high))
            self._flatten()

    def join_keys(self, keys: NDArray[np.integer]) -> None:
        """Join all items that have the same key; a negative key joins nothing.

        Args:
            keys: (count,) integers.
        """
        order = np.argsort(keys, kind="stable").astype(np.int32)
        order = order[int(np.searchsorted(keys[order], 0)) :]
        if len(order) == 0:
            return
        starts = np.concatenate([[True], np.diff(keys[order]) != 0])
        # Every item is joined with the first of its key: a star settles in one round.
        first = order[np.flatnonzero(starts)]
        self.join_pairs(
            np.repeat(first, np.diff(np.append(starts.nonzero()[0], len(order)))), order
        )

    def roots(self) -> NDArray[np.int32]:
        """Give the smallest item of each item's group, (count,)."""
        return self._roots.copy()

    def _flatten(self) -> None:
        while True:
            further = self._roots[self._roots]
            if np.array_equal(further, self._roots):
                return
            self._roots = further


def time_blocks(local_s: NDArray[np.int64], block_minutes: int) -> NDArray[np.int64]:
    """Number the blocks of time that frames fall into.

    Blocks shorter than a day start again at every midnight, so that none crosses from one day
    into the next; longer ones are made of whole days, the odd hours rounded up.

    Args:
        local_s: (n,) seconds since 1970 of the camera's own clock.
        block_minutes: Length of a block, 1 or more.

    Raises:
        ConfigError: If a block is shorter than a minute.
    """
    if block_minutes < 1:
        raise ConfigError(f"A block of {block_minutes} minutes is too short.", "Use 1 or more.")
    minutes = local_s // 60
    if block_minutes >= _MINUTES_A_DAY:
        return minutes // (-(-block_minutes // _MINUTES_A_DAY) * _MINUTES_A_DAY)
    blocks_a_day = -(-_MINUTES_A_DAY // block_minutes)
    day, minute = np.divmod(minutes, _MINUTES_A_DAY)
    return np.asarray(day * blocks_a_day + minute // block_minutes)


def block_keys(camera: NDArray[np.uint64], block: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Give each (camera, time block) one 64-bit key that stays the same for years.

    Args:
        camera: (n,) hashes of the cameras' names.
        block: (n,) numbers of time blocks.
    """
    return mix(camera ^ mix(block.astype(np.uint64)))


def dense(keys: NDArray[np.generic]) -> tuple[NDArray[np.int32], NDArray[np.generic]]:
    """Number the distinct keys from 0 in their sorted order.

    Returns:
        (n,) numbers, and the (g,) keys they stand for.
    """
    distinct = np.unique(keys)
    return np.searchsorted(distinct, keys).astype(np.int32), distinct


def keys_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Make keys that `Groups.join_keys` understands: 63 bits of a hash, -1 for a hash of 0."""
    return np.where(hashes == 0, -1, group_names(hashes))


def group_names(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Turn the 64-bit keys of groups into what a manifest's column `group` holds."""
    return (keys >> np.uint64(1)).astype(np.int64)
