"""Frames that show the same: duplicates over any number of generations, and the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.labelled import duplicate_pairs
from besana.statistics.groups import Groups, keys_of
from besana.statistics.hashing import text_hashes

Pairs = NDArray[np.uint64]

_STRANGER = -1


class Kin:
    """Find which stretches of samples are kin; a frame that is in a pair is a stretch of its own.

    A pair may lead through frames that are in quarantine, unlabelled or gone. Memory: 16 bytes a
    pair and 12 a frame in one.

    Args:
        catalog: Where the duplicates are told.
    """

    def __init__(self, catalog: Catalog) -> None:
        parts = [np.zeros((0, 2), dtype=np.uint64), *_pairs(catalog)]
        pairs = np.concatenate(parts)
        self._ids = np.unique(pairs)
        # Where each id of a pair is among those that occur.
        self._pairs = np.searchsorted(self._ids, pairs).astype(np.int32)
        self._stretch = np.full(len(self._ids), _STRANGER, dtype=np.int32)
        self._joined: list[tuple[int, int]] = []

    def places(self, ids: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Give the place of each frame among those in pairs, -1 where it is in none.

        Args:
            ids: (n,) hashes of frame ids.
        """
        if not len(self._ids):
            return np.full(len(ids), _STRANGER, dtype=np.int32)
        place = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        return np.where(self._ids[place] == ids, place, _STRANGER).astype(np.int32)

    def found(self, places: NDArray[np.int32], first: int) -> None:
        """Note which frames consecutive stretches are.

        Args:
            places: (n,) what `places` gave for the frame of each stretch.
            first: Number of the first of the stretches.
        """
        known = np.flatnonzero(places != _STRANGER)
        self._stretch[places[known]] = known + first

    def join(self, one: int, other: int) -> None:
        """Note that two stretches are of one frame."""
        self._joined.append((one, other))

    def settle(self, count: int, value: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Give the number of each stretch's kin.

        Args:
            count: How many stretches there are.
            value: (count,) hashes of values that make kin, 0 for none; or empty.
        """
        strangers = np.flatnonzero(self._stretch == _STRANGER)
        self._stretch[strangers] = count + np.arange(len(strangers), dtype=np.int32)
        groups = Groups(count + len(strangers))
        joined = np.array(self._joined, dtype=np.int32).reshape(-1, 2)
        for pairs in (self._stretch[self._pairs], joined):
            groups.join_pairs(pairs[:, 0], pairs[:, 1])
        if len(value):
            alone = np.zeros(len(strangers), dtype=np.uint64)
            groups.join_keys(keys_of(np.concatenate([value, alone])))
        return groups.roots()[:count]


def _pairs(catalog: Catalog) -> Iterator[Pairs]:
    for page in duplicate_pairs(catalog):
        yield _hashes(page)
    f = tables.frames.c
    repeated = (
        sa.select(f.sha256, sa.func.min(f.id).label("first"))
        .where(f.sha256 != "")
        .group_by(f.sha256)
        .having(sa.func.count() > 1)
        .subquery()
    )
    select = sa.select(f.id, repeated.c.first).join(repeated, f.sha256 == repeated.c.sha256)
    for rows in catalog.stream(select.where(f.id != repeated.c.first)):
        yield _hashes(rows)


def _hashes(pairs: Iterable[Iterable[str]]) -> Pairs:
    return text_hashes(frame_id for pair in pairs for frame_id in pair).reshape(-1, 2)
