"""The default engine: processes of this machine."""

from __future__ import annotations

import collections
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection as mp
from typing import Any

from typing_extensions import override

from besana import traffic
from besana.engines.base import Engine, Item, Summary
from besana.errors import BesanaError, ConfigError

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class LocalEngine(Engine):
    """Run partitions in worker processes of this machine.

    A worker is a fresh interpreter: it never runs the user's script again, shares no locks with
    the driver, and may be killed at any time. One partition waits behind the one that runs, so
    that no worker idles; more are not drawn.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if self.workers < 1:
            raise ConfigError(f"{workers} workers cannot work.", "Use at least 1.")
        self.peak_memory_bytes = 0

    @override
    def map(
        self,
        function: Callable[[Sequence[Item]], Summary],
        partitions: Iterable[Sequence[Item]],
        *,
        on_death: Callable[[Item], Summary] | None = None,
    ) -> Iterator[Summary]:
        queue = _Queue(partitions)
        pool = [_Worker() for _ in range(self.workers)]
        try:
            while _feed(pool, queue, function):
                busy = {worker.connection: worker for worker in pool if worker.waiting}
                for ready in mp.wait(list(busy)):
                    yield from self._collect(busy[ready], queue, on_death)  # type: ignore[index]
        finally:
            for worker in pool:
                worker.close()

    def _collect(
        self, worker: _Worker, queue: _Queue, on_death: Callable[[Any], Any] | None
    ) -> Iterator[Any]:
        try:
            good, outcome, peak_memory_bytes, requests = worker.connection.recv()
        except (EOFError, ConnectionError):
            yield from _after_death(worker, queue, on_death)
            return
        worker.waiting.popleft()
        traffic.METER.add(requests)
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes)
        if not good:
            raise outcome
        yield outcome


class _Queue:
    """Partitions to do: those given back first, then new ones as they are drawn."""

    def __init__(self, partitions: Iterable[Sequence[Any]]) -> None:
        self.returned: collections.deque[Sequence[Any]] = collections.deque()
        self._new = iter(partitions)

    def draw(self) -> Sequence[Any] | None:
        if self.returned:
            return self.returned.popleft()
        return next(self._new, None)


@dataclass
class _Worker:
    """One process and the partitions it was sent; the process starts with the first of them."""

    waiting: collections.deque[Sequence[Any]] = field(default_factory=collections.deque)

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.connection: mp.Connection

    def send(self, function: Any, partition: Sequence[Any]) -> None:
        if self._process is None:
            self._start()
        self.waiting.append(partition)
        try:
            self.connection.send((function, partition))
        except ConnectionError:
            return  # it died just now; receiving finds that out

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {**dict.fromkeys(_THREAD_SETTINGS, "1"), **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "besana.engines.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.connection = mp.Connection(ours.detach())

    def died(self) -> int:
        """Clear up after a death; return the exit status."""
        process = self._process
        self.close()
        self.waiting.clear()
        return process.returncode if process else 0

    def close(self) -> None:
        if self._process is None:
            return
        self.connection.close()
        if self.waiting:
            self._process.kill()
        self._process.wait()
        self._process = None


def _feed(pool: list[_Worker], queue: _Queue, function: Any) -> bool:
    """Give each worker one partition to run, then one to wait; True while anything is out."""
    for depth in (1, 2):
        for worker in pool:
            if len(worker.waiting) < depth:
                partition = queue.draw()
                if partition is None:
                    break
                worker.send(function, partition)
    return any(worker.waiting for worker in pool)


def _after_death(
    worker: _Worker, queue: _Queue, on_death: Callable[[Any], Any] | None
) -> Iterator[Any]:
    partition, *others = worker.waiting
    status = worker.died()
    queue.returned.extend(others)
    if on_death is None:
        raise BesanaError(
            f"A worker process died (exit status {status}).",
            "It ran out of memory or was killed; run the same command again to continue.",
        )
    if len(partition) == 1:
        yield on_death(partition[0])
        return
    middle = len(partition) // 2
    queue.returned.extend((partition[:middle], partition[middle:]))
