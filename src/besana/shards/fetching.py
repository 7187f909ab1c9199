"""Fetch ranges of shards from a bucket: one version of each, through the cache on disk."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import NamedTuple

from besana.errors import StorageError
from besana.shards.cache import BlockCache, CacheCounts
from besana.shards.gate import Gate
from besana.storage import Storage


class FetchCounts(NamedTuple):
    """What was fetched.

    Attributes:
        requests: Requests to the storage; those that its client repeats count once.
        fetched_bytes: Bytes that came from the storage.
        cached: What the cache did.
    """

    requests: int
    fetched_bytes: int
    cached: CacheCounts


class Fetcher:
    """Read ranges of shards as they were when each was first read; used by many threads.

    Requests that fail are repeated by the storage's client, nowhere else.

    Args:
        storage: Where shards lie.
        cache: Where to keep what was read; None: nowhere.
    """

    def __init__(self, storage: Storage, cache: BlockCache | None = None) -> None:
        self.storage = storage
        self._cache = cache
        self._lock = threading.Lock()
        self._gate = Gate()
        self._tags: dict[str, Future[str]] = {}
        self._requests = self._fetched_bytes = 0

    @property
    def counts(self) -> FetchCounts:
        """Tell what was fetched so far."""
        cached = CacheCounts(0, 0, 0) if self._cache is None else self._cache.counts
        return FetchCounts(self._requests, self._fetched_bytes, cached)

    def read(self, shard: str, offset: int, length: int) -> bytes:
        """Read a range; fewer bytes when the shard ends before.

        Raises:
            NotFoundError: If there is no such shard.
            StorageError: If the storage refused, or the shard was replaced since it was first read.
        """
        if self._cache is None:
            return self._fetch(shard, offset, length)
        tag = self._tag(shard)
        if not tag:
            return self._fetch(shard, offset, length)
        name = f"{self.storage.url}/{shard} {tag}"
        data = self._cache.get(name, offset, length)
        if data is None:
            data = self._fetch(shard, offset, length)
            if len(data) == length:
                self._cache.put(name, offset, data)
        return data

    def read_again(self, shard: str, offset: int, length: int) -> bytes:
        """Read a range from the storage because what came before was damaged."""
        if self._cache is not None:
            self._cache.drop(f"{self.storage.url}/{shard} {self._tag(shard)}", offset, length)
        return self._fetch(shard, offset, length)

    def close(self) -> None:
        """Let go of the cache's files."""
        if self._cache is not None:
            self._cache.close()

    def _fetch(self, shard: str, offset: int, length: int) -> bytes:
        known = self._tags.get(shard)
        expected = known.result() if known and known.done() and not known.exception() else ""
        with self._lock:
            self._requests += 1
        try:
            with self._gate.read(length):
                data, tag = self.storage.read_version(shard, offset, length, expected)
        except StorageError:
            if offset >= (self.storage.size(shard) or 0):
                return b""  # buckets refuse a range that begins behind the end
            raise
        with self._lock:
            self._fetched_bytes += len(data)
            first = self._tags.setdefault(shard, Future())
            if not first.done():
                first.set_result(tag)
        if first.result() != tag:
            raise StorageError(
                f"Shard '{shard}' in {self.storage.url} was replaced while it was in use.",
                "Start again with the manifest that belongs to the new file.",
            )
        return data

    def _tag(self, shard: str) -> str:
        """Ask for a shard's tag once, whoever asks first."""
        with self._lock:
            known = self._tags.get(shard)
            mine = known is None
            if known is None:
                known = self._tags[shard] = Future()
                self._requests += 1
        if mine:
            try:
                known.set_result(self.storage.read_version(shard, 0, 0, "")[1])
            except BaseException as error:
                with self._lock:
                    del self._tags[shard]
                known.set_exception(error)
                raise
        return known.result()
