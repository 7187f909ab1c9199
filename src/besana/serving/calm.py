"""An event loop that looks at the network less often while every core computes."""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from typing import Any

from typing_extensions import override

from besana.serving.turns import Turns

#: Seconds between two looks at the network while no core is free.
PAUSE_S = 0.004


def calm_loop(turns: Turns) -> asyncio.AbstractEventLoop:
    """Make an event loop.

    Whoever reads a request finds the core's caches full of the model, which costs more than the
    reading; requests that are read together pay that once.

    Args:
        turns: Tells whether a core is free.
    """
    return asyncio.SelectorEventLoop(_Calm(turns))


class _Calm(selectors.DefaultSelector):
    """Looks at once at what threads of this process say, and at the network after a pause."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns, self._looked = turns, 0.0
        self._threads: select.poll | None = None

    @override
    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        if self._threads is None:  # the first one is the loop's own, which threads write to
            self._threads = select.poll()
            self._threads.register(key.fd, select.POLLIN)
        return key

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._threads is not None and self._turns.all_taken and (timeout is None or timeout > 0):
            started = time.monotonic()
            pause = self._looked + PAUSE_S - started
            if pause > 0:
                self._threads.poll(1000 * (pause if timeout is None else min(pause, timeout)))
                if timeout is not None:
                    timeout = max(0.0, timeout - time.monotonic() + started)
        found = super().select(timeout)
        self._looked = time.monotonic()
        return found
