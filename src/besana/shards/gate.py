"""How many reads from a bucket are under way at once: as many as the link gains from.

More reads at once than a link can carry only make each of them slower, and those that began
together end together, after a pause. So the number follows the delay, as TCP Vegas does (Brakmo
and Peterson, 1995): reads that take as long as the fastest of their size wait nowhere, and one
more may help; when several seem to wait, one less will do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_FEWEST = 3
_MOST = 16
_WAITING_FEW, _WAITING_MANY = 1.0, 3.0


class Gate:
    """Let so many reads pass at once; first come, first served.

    Attributes:
        limit: How many, now.
    """

    def __init__(self) -> None:
        self.limit = _FEWEST + 1
        self._passing = 0
        self._changed = threading.Condition()
        self._fastest_s: dict[int, float] = {}

    @contextmanager
    def read(self, length: int) -> Iterator[None]:
        """Wait for a turn to read so many bytes, and learn from how long the block takes."""
        with self._changed:
            while self._passing >= self.limit:
                self._changed.wait()
            self._passing += 1
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._changed:
                self.learn(length, time.perf_counter() - started, self._passing)
                self._passing -= 1
                self._changed.notify(max(1, self.limit - self._passing))

    def learn(self, length: int, seconds: float, passing: int) -> None:
        """Change the limit after a read.

        Args:
            length: Bytes that were read.
            seconds: How long it took.
            passing: Reads that were under way.
        """
        size = length.bit_length()
        fastest_s = min(seconds, self._fastest_s.get(size, seconds))
        self._fastest_s[size] = fastest_s
        waiting = passing * (1 - fastest_s / seconds) if seconds > 0 else 0.0
        if waiting < _WAITING_FEW and passing >= self.limit:
            self.limit = min(self.limit + 1, _MOST)
        elif waiting > _WAITING_MANY:
            self.limit = max(self.limit - 1, _FEWEST)
