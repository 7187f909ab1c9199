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
        patience_s: Whoever waited this long goes on beside the others, so that no picture holds
            everybody up.
    """

    def __init__(self, cores: int, patience_s: float = 0.05) -> None:
        self._free, self._patience_s = cores, patience_s
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    @property
    def all_taken(self) -> bool:
        """Whether no core is free."""
        return not self._free

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn, not for long, and give it back at the end."""
        is_ours = self._take()
        try:
            yield
        finally:
            if is_ours:
                self._give_back()

    def _take(self) -> bool:
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=self._patience_s):
            return True
        with self._lock:
            if mine not in self._waiting:  # given in this very moment
                return True
            self._waiting.remove(mine)
            return False

    def _give_back(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
