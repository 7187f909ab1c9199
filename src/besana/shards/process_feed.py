"""Batches filled by a process of their own, handed over in shared memory.

So the loop that trains has its interpreter to itself. The process is a fresh interpreter: it
never runs the user's script again, and it ends when nobody listens any more.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from besana.errors import BesanaError, ConfigError, StorageError
from besana.shards.augment import Augment
from besana.shards.cache import CacheCounts
from besana.shards.feeding import Feed
from besana.shards.fetching import FetchCounts
from besana.shards.jobs import Batch
from besana.shards.manifest import Positions
from besana.shards.options import LoaderSettings, MemoryPlan
from besana.shards.pictures import Costs
from besana.shards.ring import Lease
from besana.shards.stream import Span
from besana.storage import Bucket, Folder, Storage

_ASKED_AHEAD = 2
_GRACE_S = 30.0
_LEAVE_S = 5.0


@dataclass(frozen=True)
class Order:
    """What a process needs to fill batches: small values and the places of the bytes.

    Attributes:
        settings: The loader's settings.
        manifest: Storage and key of the manifest.
        fingerprint: Its content.
        positions: The selection.
        shards: Where the shards lie.
        cache: Folder and cap of the cache, None for none.
        memory: What to allocate.
        channels: Channels of the pictures.
        augment: How pictures vary.
        torch: Whether torch resizes, as it does in a process that imported it.
    """

    settings: LoaderSettings
    manifest: tuple[Storage, str]
    fingerprint: str
    positions: Positions
    shards: Storage
    cache: tuple[str, int] | None
    memory: MemoryPlan
    channels: int
    augment: Augment | None
    torch: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pictures of a batch."""
        return (self.settings.rank_batch_size, *self.settings.size, self.channels)


class Sent(NamedTuple):
    """A batch on its way from the process.

    Attributes:
        number: Which pass it belongs to.
        slot: Which slot holds the pictures; None when they come along.
        batch: The batch; its pictures are empty when they lie in a slot.
        consumed: Place in the stream after it.
        costs: What all batches took.
        fetched: What was read from a bucket.
        extra: Batches made beyond the ring.
    """

    number: int
    slot: int | None
    batch: Batch | None
    consumed: int
    costs: Costs
    fetched: FetchCounts
    extra: int


class Failed(NamedTuple):
    """What went wrong in the process.

    Attributes:
        number: Which pass it belongs to; 0 for all.
        error: To be raised where the batch is asked for.
    """

    number: int
    error: BesanaError


class ProcessFeed(Feed):
    """Fill batches in one process of its own.

    Args:
        order: What to fill them with.

    Raises:
        ConfigError: If another process could not open the same storage.
    """

    def __init__(self, order: Order) -> None:
        for storage in (order.manifest[0], order.shards):
            if type(storage) not in (Folder, Bucket):
                raise ConfigError(
                    f"A process of its own cannot open a {type(storage).__name__}.",
                    "Give the shards as a path or a URL, or leave out process.",
                )
        self._order = order
        self._child: _Child | None = None
        self._passes = 0
        self.costs = Costs()
        self._fetched = FetchCounts(0, 0, CacheCounts(0, 0, 0))
        self._extra = 0

    @property
    @override
    def extra_batches(self) -> int:
        return self._extra

    @property
    @override
    def fetched(self) -> FetchCounts:
        return self._fetched

    @override
    def open_pass(self, span: Span) -> _Pass:
        if self._child is None or not self._child.is_mine:
            self._child = _Child(self._order)
        self._passes += 1
        return _Pass(self, self._child, self._passes, span)

    def heard(self, sent: Sent) -> None:
        """Take over what the process counted."""
        self.costs, self._fetched, self._extra = sent.costs, sent.fetched, sent.extra

    def lost(self) -> None:
        """Forget a process that died."""
        self._child = None

    @override
    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


class _Pass:
    """One pass, as the consumer sees it."""

    def __init__(self, feed: ProcessFeed, child: _Child, number: int, span: Span) -> None:
        self._feed, self._child, self._number = feed, child, number
        self._asked = 0
        self.consumed = span.start
        self.waited_s = 0.0
        child.send(("pass", number, span))

    def next(self) -> Batch | None:
        started = time.perf_counter()
        child, slots = self._child, self._feed._order.memory.slots
        while self._asked < min(_ASKED_AHEAD, slots - 1):
            child.send(("next", self._number))
            self._asked += 1
        try:
            sent = child.receive(self._number)
        except BaseException:
            if child.is_dead:
                self._feed.lost()
            raise
        self._asked -= 1
        self._feed.heard(sent)
        self.waited_s += time.perf_counter() - started
        if sent.batch is None:
            return None
        self.consumed = sent.consumed
        return child.view(sent)

    def close(self) -> None:
        if not self._child.is_dead:
            with contextlib.suppress(StorageError):
                self._child.send(("end", self._number))


class _Child:
    """The process, its connection, and the memory that both see."""

    def __init__(self, order: Order) -> None:
        self._pid = os.getpid()
        self._wait_s = order.settings.watchdog_s + _GRACE_S
        self._free: deque[npt.NDArray[Any]] = deque()
        size = slot_bytes(order)
        descriptor = _shared_file(size * order.memory.slots)
        self._slots = map_slots(descriptor, order)
        self._places = {_address(slot): place for place, slot in enumerate(self._slots)}
        ours, theirs = socket.socketpair()
        try:
            passed = (theirs.fileno(), descriptor)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "besana.shards.process_child", *map(str, passed)],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                },
            )
        finally:
            theirs.close()
            os.close(descriptor)
        self._connection = Connection(ours.detach())
        self.is_dead = False
        self._finalizer = weakref.finalize(self, _end, self._connection, self._process, self._pid)
        self.send(order)

    @property
    def is_mine(self) -> bool:
        """Tell whether this process started it and it still answers."""
        return self._pid == os.getpid() and not self.is_dead

    def send(self, message: Any) -> None:
        freed = []
        with contextlib.suppress(IndexError):
            while True:
                freed.append(self._places[_address(self._free.popleft())])
        try:
            if freed:
                self._connection.send(("free", freed))
            self._connection.send(message)
        except OSError:
            raise self._died() from None

    def receive(self, number: int) -> Sent:
        """Wait for the next batch of a pass; forget what belongs to earlier ones."""
        while True:
            answer = self._answer()
            if isinstance(answer, Failed):
                if answer.number in (0, number):
                    raise answer.error
            elif answer.number == number:
                return answer
            elif answer.slot is not None:
                self._free.append(self._slots[answer.slot])

    def view(self, sent: Sent) -> Batch:
        batch = sent.batch
        assert batch is not None
        if sent.slot is None:
            return batch
        images = np.asarray(Lease(self._slots[sent.slot], self._free))
        return Batch(images, batch.labels, batch.index, batch.valid, batch.epoch)

    def _answer(self) -> Sent | Failed:
        try:
            if self._connection.poll(self._wait_s):
                answer: Sent | Failed = self._connection.recv()
                return answer
        except (EOFError, OSError):
            raise self._died() from None
        self._process.kill()
        self.is_dead = True
        raise StorageError(
            f"The loader's process did not answer for {self._wait_s:g} s.",
            "Check the machine, or raise watchdog_s.",
        )

    def _died(self) -> StorageError:
        self.is_dead = True
        self.close()
        return StorageError(
            f"The loader's process died (exit status {self._process.returncode}).",
            "It ran out of memory or was killed; go on from the last state.",
        )

    def close(self) -> None:
        self.is_dead = True
        self._finalizer()


def _end(connection: Connection, process: subprocess.Popen[bytes], pid: int) -> None:
    if os.getpid() != pid:
        return
    connection.close()
    try:
        process.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def slot_bytes(order: Order) -> int:
    """Tell how far apart slots lie."""
    size = int(np.prod(order.shape)) * np.dtype(order.settings.dtype).itemsize
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def map_slots(descriptor: int, order: Order) -> list[npt.NDArray[Any]]:
    """See the slots of a shared file as arrays."""
    size = slot_bytes(order)
    memory = mmap.mmap(descriptor, size * order.memory.slots)
    count = int(np.prod(order.shape))
    return [
        np.frombuffer(memory, order.settings.dtype, count, place * size).reshape(order.shape)
        for place in range(order.memory.slots)
    ]


def _shared_file(size: int) -> int:
    """Make memory that has no name: it goes when nobody has it open."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("besana-batches", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _address(slot: npt.NDArray[Any]) -> int:
    address: int = slot.__array_interface__["data"][0]
    return address
