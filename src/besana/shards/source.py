"""Where a loader's samples come from: their order, and a reader that suits it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from besana.errors import StorageError
from besana.shards.cache import BlockCache
from besana.shards.fetching import Fetcher
from besana.shards.manifest import Manifest, Positions
from besana.shards.options import READS_AHEAD, LoaderSettings
from besana.shards.order import (
    BlockOrder,
    block_order,
    cut_blocks,
    global_order,
    in_place_order,
)
from besana.shards.read_plan import plan_reads
from besana.shards.reading import BlockReader, FileReader, Reader, RecordReader
from besana.shards.stream import Span, Stream
from besana.shards.workers import Workers
from besana.storage import Storage

_READ_THREADS = 16


class EpochOrder:
    """Order a selection of samples, by number of the epoch.

    Args:
        settings: The loader's settings.
        manifest: Where samples lie.
        positions: The selection.
        local: Whether shards are files, of which neighbours need not be read together.
    """

    def __init__(
        self, settings: LoaderSettings, manifest: Manifest, positions: Positions, *, local: bool
    ) -> None:
        self._settings = settings
        self._local = local
        self._manifest = manifest
        self._positions = positions
        self._block: npt.NDArray[Any] | None = None
        self._sorted = False

    def __call__(self, epoch: int) -> BlockOrder:
        """Order the selection for an epoch."""
        settings, count = self._settings, len(self._positions)
        if settings.shuffle == "none":
            return BlockOrder(np.arange(count), None if self._local else self._neighbours())
        if settings.shuffle == "global":
            return BlockOrder(global_order(count, settings.seed, epoch), None)
        block, place = self._blocks()
        return block_order(block, place, settings.seed, epoch, settings.window_blocks)

    def _neighbours(self) -> npt.NDArray[Any] | None:
        """Give the block of each sample, where one after the other comes up; else None."""
        block, place = self._blocks()
        return block if place is None else None

    def _blocks(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Give the block of each sample; and its offset, unless samples come in that order."""
        manifest, positions = self._manifest, self._positions
        if self._block is None:
            shard, offset = manifest.shard[positions], manifest.offset_bytes[positions]
            self._sorted = in_place_order(shard, offset)
            self._block = cut_blocks(shard, offset, self._settings.block_bytes)
        return self._block, None if self._sorted else manifest.offset_bytes[positions]


class Source:
    """Know the order of a selection of samples, and read them in it.

    Args:
        settings: The loader's settings.
        manifest: Where samples lie.
        positions: The selection: manifest position of each sample.
        shards: Where the shards lie.

    Attributes:
        local: Whether all shards are files of this machine.
        order: Order of each epoch.
        stream: The samples, epoch after epoch.
        fetcher: Reads from a bucket, and counts.
    """

    def __init__(
        self,
        settings: LoaderSettings,
        manifest: Manifest,
        positions: Positions,
        shards: Storage,
    ) -> None:
        self._settings = settings
        self._manifest = manifest
        self._positions = positions
        self._storage, self._pid = shards, os.getpid()
        paths = [self._storage.local_path(name) for name in manifest.shards]
        self._paths = [str(path) for path in paths if path is not None]
        self.local = len(self._paths) == len(paths)
        self._workers: Workers | None = None
        self.fetcher = Fetcher(shards)
        self.order = EpochOrder(settings, manifest, positions, local=self.local)
        self.stream = Stream(len(positions), self.order)

    def use_cache(self, cache: BlockCache) -> None:
        """Keep on a disk what is read from a bucket."""
        self.fetcher = Fetcher(self._storage, cache)

    def reader(self, span: Span) -> Reader:
        """Open a reader for this rank's samples of a stretch of the stream.

        Raises:
            StorageError: If shards lie in a bucket and this is a fork of the process that made it.
        """
        if self.local:
            return FileReader(self._manifest, self._storage, self._paths)
        if self._pid != os.getpid():
            raise StorageError(
                f"The loader of {self._storage.url} was made before this process was forked.",
                "Make it in the process that uses it, and start that with 'spawn'.",
            )
        if self._workers is None:
            self._workers = Workers(_READ_THREADS, "besana-read")
        pieces = self.stream.take(span.start, span.stop)
        if any(piece.segments is None for piece in pieces):
            return RecordReader(self._manifest, self.fetcher, self._workers)
        mine = slice(self._settings.rank, None, self._settings.ranks)
        plan = plan_reads(self._manifest, self._positions, pieces, mine)
        return BlockReader(self._manifest, self.fetcher, self._workers, plan, READS_AHEAD)

    def close(self) -> None:
        """End the threads that read."""
        if self._workers is not None:
            self._workers.close()
        self.fetcher.close()
