"""Who goes first when a server has more to do than cores: the thread that talks to callers."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

_STEP_BACK = 10


def step_back() -> None:
    """Let everything else of this server run before this thread, and threads that it starts.

    Judging and decoding keep every core busy under load; a refusal that waits behind them comes
    late. Only Linux has a priority for each thread; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            now = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(now + _STEP_BACK, 19))


def made_behind(make: Callable[[], T]) -> T:
    """Make something whose threads step back, as an ONNX Runtime session."""
    made: Future[T] = Future()

    def work() -> None:
        step_back()
        try:
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001  # raised below, where it was asked for
            made.set_exception(error)

    thread = threading.Thread(target=work, name="making")
    thread.start()
    thread.join()
    return made.result()
