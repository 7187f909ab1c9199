"""An event loop that looks at the network less often while every core computes."""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from typing import Any

from typing_extensions import override

from besana.serving.turns import Turns

#: Seconds in which the network is looked at twice at most while no core is free.
PAUSE_S = 0.006


def calm_loop(turns: Turns) -> asyncio.AbstractEventLoop:
    """Make an event loop.

    Whoever reads a request finds the core's caches full of the model, which costs more than the
    reading; requests that are read together pay that once. The second look in `PAUSE_S` comes at
    once: where requests are few, a pause would only wake the loop once more.

    Args:
        turns: Tells whether a core is free.
    """
    return asyncio.SelectorEventLoop(_Calm(turns))


class _Calm(selectors.DefaultSelector):
    """Looks at once at what threads of this process say, and at the network now and then."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns, self._own = turns, -1
        self._before = self._looked = 0.0
        self._threads: select.poll | None = None

    @override
    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        if self._threads is None:  # the first one is the loop's own, which threads write to
            self._threads = select.poll()
            self._threads.register(key.fd, select.POLLIN)
            self._own = key.fd
        return key

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._threads is not None and self._turns.all_taken and (timeout is None or timeout > 0):
            started = time.monotonic()
            pause = self._before + PAUSE_S - started
            if pause > 0:
                self._threads.poll(1000 * (pause if timeout is None else min(pause, timeout)))
                if timeout is not None:
                    timeout = max(0.0, timeout - time.monotonic() + started)
        found = super().select(timeout)
        if any(key.fd != self._own for key, _ in found):
            self._before, self._looked = self._looked, time.monotonic()
        return found
