"""Who computes: as many at a time as there are cores, one after another."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator


class Turns:
    """Lets batches and decoders take turns where there are fewer cores than of them.

    Two that compute on one core at the same time are interrupted every few milliseconds, and each
    finds its caches emptied by the other.

    Args:
        cores: How many may compute at the same time.
        patience_s: Whoever waited this long takes over the oldest turn, whose holder goes on
            without: no picture holds everybody up.
    """

    def __init__(self, cores: int, patience_s: float = 0.2) -> None:
        self._cores, self._patience_s = cores, patience_s
        self._lock = threading.Lock()
        self._holding: deque[threading.Lock] = deque()
        self._waiting: deque[threading.Lock] = deque()

    @property
    def all_taken(self) -> bool:
        """Whether no core is free."""
        return len(self._holding) >= self._cores

    def _ask(self) -> threading.Lock:
        """Take a place among those who wait, without waiting yet."""
        mine = threading.Lock()
        with self._lock:
            if not self.all_taken:
                self._holding.append(mine)
                return mine
            mine.acquire()
            self._waiting.append(mine)
        return mine

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn, not for long, and give it back at the end."""
        mine = self._ask()
        self._await(mine)
        try:
            yield
        finally:
            self._give_back(mine)

    def _await(self, mine: threading.Lock) -> None:
        if mine.acquire(timeout=self._patience_s):
            return
        with self._lock:
            if mine in self._waiting:  # not given in this very moment
                self._waiting.remove(mine)
                self._holding.popleft()
                self._holding.append(mine)

    def _give_back(self, mine: threading.Lock) -> None:
        with self._lock:
            if mine not in self._holding:  # somebody took it over
                return
            self._holding.remove(mine)
            if self._waiting:
                self._holding.append(self._waiting.popleft())
                self._holding[-1].release()
