"""Threads that run calls in order: named, joined within a deadline, never in the way of an exit."""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple["Future[Any]", Callable[[], Any]]


class Workers:
    """Run calls on a few threads, first come first served.

    Threads are daemons and `close` waits for them only so long: a read that hangs in the kernel
    cannot keep the interpreter from leaving. After a fork the child must open its own.

    Args:
        count: Number of threads.
        name: What they do, for debuggers.
    """

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self.pid = os.getpid()
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=_run, args=(self._calls,), name=f"{name}-{i}", daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()
        self._finalizer = weakref.finalize(self, _stop, self._calls, self._threads, self.pid)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call; its result or exception is in the future."""
        future: Future[T] = Future()
        self._calls.put((future, lambda: function(*args, **kwargs)))
        return future

    @property
    def queued(self) -> int:
        """Tell about how many calls wait."""
        return self._calls.qsize()

    def close(self) -> bool:
        """Stop the threads after the calls that run; queued calls that were cancelled are skipped.

        Returns:
            Whether all threads ended in time.
        """
        self._finalizer()
        return not any(thread.is_alive() for thread in self._threads)


def _run(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        future, function = call
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  it is raised again by whoever asks
            future.set_exception(error)
        del call, future, function  # holds no batch while it waits


def _stop(
    calls: queue.SimpleQueue[_Call | None], threads: list[threading.Thread], pid: int
) -> None:
    if os.getpid() != pid:
        return
    for _ in threads:
        calls.put(None)
    deadline = time.monotonic() + 5.0
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
