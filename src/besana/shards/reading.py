"""Get records: straight from files, or ahead of their use from a bucket."""

from __future__ import annotations

import bisect
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from besana.errors import CorruptDataError, NotFoundError, StorageError
from besana.shards.fetching import Fetcher
from besana.shards.manifest import Manifest
from besana.shards.read_plan import ReadPlan
from besana.shards.workers import Workers
from besana.storage import Storage

Positions = npt.NDArray[np.int64]

_OPEN_FILES = 16
_MERGED_GAP_BYTES = 64 << 10


class Scratch:
    """What one thread needs again and again: buffers and open files.

    Attributes:
        record: Buffer for one record.
        pixels: Buffer for one decoded picture.
        done: Pictures made so far.
        doing: What the thread is at, for the watchdog's report.
        filler: What the native library needs, where that fills batches.
    """

    def __init__(self, record_bytes: int, pixels_bytes: int) -> None:
        self.record = memoryview(bytearray(record_bytes))
        self.pixels = np.empty(pixels_bytes, np.uint8)
        self.files: OrderedDict[str, int] = OrderedDict()
        self.done = 0
        self.doing = "idle"
        self.filler: Any = None

    def descriptor(self, path: str) -> int:
        """Open a file, or give it again; only the last few stay open."""
        found = self.files.get(path)
        if found is not None:
            self.files.move_to_end(path)
            return found
        if len(self.files) >= _OPEN_FILES:
            os.close(self.files.popitem(last=False)[1])
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.files[path] = descriptor
        return descriptor

    def close(self) -> None:
        """Close the files."""
        self.filler = None
        while self.files:
            os.close(self.files.popitem()[1])


class Reader(ABC):
    """Get framed records by their position in the manifest.

    Attributes:
        paths: The shards' files, where all are files of this machine.
    """

    paths: list[str] | None = None

    def __init__(self, manifest: Manifest, storage: Storage) -> None:
        self._manifest = manifest
        self._storage = storage

    def place(self, position: int) -> tuple[str, int, int]:
        """Tell shard, offset and length of a record."""
        manifest = self._manifest
        return (
            manifest.shards[manifest.shard[position]],
            int(manifest.offset_bytes[position]),
            int(manifest.length_bytes[position]),
        )

    def request(self, positions: Sequence[int]) -> None:  # noqa: B027  not all read ahead
        """Hear which records are needed next, in one thread, ahead of `read`."""

    @abstractmethod
    def read(self, position: int, scratch: Scratch) -> memoryview:
        """Get a record, unchecked; good until the scratch is used for another one.

        Raises:
            CorruptDataError: If the shard ends inside it.
            StorageError: If the disk or bucket refused.
            NotFoundError: If the shard is not there.
        """

    def read_again(self, position: int, scratch: Scratch) -> memoryview:
        """Get a record anew from where it lies, past whatever kept it."""
        return self.read(position, scratch)

    def release(self, positions: Sequence[int]) -> None:  # noqa: B027  not all hold records
        """Hear that requested records are no longer needed, from the thread that asked."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""


class FileReader(Reader):
    """Read from local files, by position, into the thread's own buffer."""

    def __init__(self, manifest: Manifest, storage: Storage, paths: Sequence[str]) -> None:
        super().__init__(manifest, storage)
        self.paths: list[str] = [*paths]
        self._ahead = Scratch(0, 0)

    @override
    def request(self, positions: Sequence[int]) -> None:
        if not hasattr(os, "posix_fadvise"):
            return
        for position in positions:
            _, offset, length = self.place(position)
            try:
                descriptor = self._ahead.descriptor(self._path(position))
                os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)
            except OSError:
                return  # only a hint to the kernel: `read` meets the same error and reports it

    @override
    def read(self, position: int, scratch: Scratch) -> memoryview:
        shard, offset, length = self.place(position)
        scratch.doing = f"reading '{shard}' at byte {offset}"
        record = scratch.record[:length]
        try:
            count = os.preadv(scratch.descriptor(self._path(position)), [record], offset)
        except FileNotFoundError:
            raise _missing(shard, self._storage) from None
        except OSError as error:
            raise StorageError(f"Cannot read '{shard}': {error.strerror}.") from None
        if count != length:
            raise _short(shard, offset)
        return record

    def _path(self, position: int) -> str:
        return self.paths[int(self._manifest.shard[position])]

    @override
    def close(self) -> None:
        self._ahead.close()


class _BucketReader(Reader):
    """Read from a bucket, on threads that wait for it."""

    def __init__(self, manifest: Manifest, fetcher: Fetcher, workers: Workers) -> None:
        super().__init__(manifest, fetcher.storage)
        self._fetcher = fetcher
        self._workers = workers

    @override
    def read_again(self, position: int, scratch: Scratch) -> memoryview:
        shard, offset, length = self.place(position)
        scratch.doing = f"reading '{shard}' at byte {offset} again"
        data = self._fetcher.read_again(shard, offset, length)
        if len(data) != length:
            raise _short(shard, offset)
        return memoryview(data)


class RecordReader(_BucketReader):
    """Read each record from a bucket on its own, many at a time, as they are requested."""

    def __init__(self, manifest: Manifest, fetcher: Fetcher, workers: Workers) -> None:
        super().__init__(manifest, fetcher, workers)
        self._reads: dict[int, Future[bytes]] = {}
        self._uses: dict[int, int] = {}

    @override
    def request(self, positions: Sequence[int]) -> None:
        for position in positions:
            self._uses[position] = self._uses.get(position, 0) + 1
            if position not in self._reads:
                place = self.place(position)
                self._reads[position] = self._workers.submit(self._fetcher.read, *place)

    @override
    def read(self, position: int, scratch: Scratch) -> memoryview:
        shard, offset, length = self.place(position)
        scratch.doing = f"waiting for '{shard}' at byte {offset}"
        read = self._reads.get(position)
        data = read.result() if read else self._fetcher.read(shard, offset, length)
        if len(data) != length:
            raise _short(shard, offset)
        return memoryview(data)

    @override
    def release(self, positions: Sequence[int]) -> None:
        for position in positions:
            self._uses[position] -= 1
            if not self._uses[position]:
                del self._uses[position], self._reads[position]

    @override
    def close(self) -> None:
        for read in self._reads.values():
            read.cancel()


class BlockReader(_BucketReader):
    """Read whole segments of neighbouring records from a bucket, a few ahead of their use.

    Args:
        manifest: Where records lie.
        fetcher: Reads from where shards lie.
        workers: Threads that read.
        plan: All that will be requested, by segment.
        ahead: How many segments to read before they are needed.

    Attributes:
        held_bytes: Bytes that are held or on their way.
        most_bytes: The most that they ever were.
    """

    def __init__(
        self,
        manifest: Manifest,
        fetcher: Fetcher,
        workers: Workers,
        plan: ReadPlan,
        ahead: int,
    ) -> None:
        super().__init__(manifest, fetcher, workers)
        self._ahead = ahead
        self._plan = plan
        self._left = np.diff(plan.starts).tolist()
        self._requested = self._started = 0
        self._where: dict[int, int] = {}
        self._loaded: dict[int, _Runs] = {}
        self.held_bytes = self.most_bytes = 0

    @property
    def live(self) -> int:
        """Tell how many segments are held or on their way."""
        return len(self._loaded)

    @override
    def request(self, positions: Sequence[int]) -> None:
        end = self._requested + len(positions)
        segments = self._plan.segments[self._requested : end].tolist()
        self._requested = end
        self._where.update(zip(positions, segments, strict=True))
        last = min(max(segments, default=-1) + 1 + self._ahead, len(self._left))
        for segment in range(self._started, last):
            self._loaded[segment] = runs = self._start(segment)
            self.held_bytes += runs.length
        self.most_bytes = max(self.most_bytes, self.held_bytes)
        self._started = max(self._started, last)

    def _start(self, segment: int) -> _Runs:
        members = self._plan.members(segment)
        starts = self._manifest.offset_bytes[members].astype(np.int64)
        ends = starts + self._manifest.length_bytes[members]
        breaks = np.flatnonzero(starts[1:] - ends[:-1] > _MERGED_GAP_BYTES) + 1
        firsts = starts[np.concatenate([[0], breaks])].tolist()
        lasts = ends[np.concatenate([breaks - 1, [-1]])].tolist()
        shard = self.place(int(members[0]))[0]
        return _Runs(
            firsts,
            [
                self._workers.submit(self._fetcher.read, shard, first, last - first)
                for first, last in zip(firsts, lasts, strict=True)
            ],
            sum(lasts) - sum(firsts),
        )

    @override
    def read(self, position: int, scratch: Scratch) -> memoryview:
        shard, offset, length = self.place(position)
        scratch.doing = f"waiting for '{shard}' at byte {offset}"
        runs = self._loaded.get(self._where.get(position, -1))
        if runs is None:  # a substitute, nobody requested it
            data = memoryview(self._fetcher.read(shard, offset, length))
        else:
            run = bisect.bisect_right(runs.offsets, offset) - 1
            start = offset - runs.offsets[run]
            data = memoryview(runs.reads[run].result())[start : start + length]
        if len(data) != length:
            raise _short(shard, offset)
        return data

    @override
    def release(self, positions: Sequence[int]) -> None:
        for position in positions:
            segment = self._where[position]
            self._left[segment] -= 1
            if not self._left[segment]:
                self.held_bytes -= self._loaded.pop(segment).length

    @override
    def close(self) -> None:
        for runs in self._loaded.values():
            for read in runs.reads:
                read.cancel()


class _Runs(NamedTuple):
    """One segment: where its runs of bytes start, the reads that bring them, all their bytes."""

    offsets: list[int]
    reads: list[Future[bytes]]
    length: int


def _short(shard: str, offset: int) -> CorruptDataError:
    return CorruptDataError(
        f"Shard '{shard}' ends inside the record at byte {offset}.",
        "Restore the shard from a copy, or run besana prepare with --check, then split.",
        "truncated",
    )


def _missing(shard: str, storage: Storage) -> NotFoundError:
    return NotFoundError(
        f"No shard '{shard}' in {storage.url}.",
        "Check the path, or run besana prepare with --check, then split.",
    )
