"""How much may be under way: a queue for bursts, next to none while callers do not hold back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds without a refusal after which callers hold back again.
CALM_S = 1.0

# So many requests are let in however large they are, so that one is read while one is judged.
_FEWEST_REQUESTS = 2


class Admission:
    """Counts what is under way, and says what comes on top of it.

    A burst may fill the queue: cameras send at the full minute, and wait. Once something was
    refused, callers send more than can be judged, and a full queue would only make every answer
    late; so the queue stays short until nothing was refused for a second.

    Args:
        most: Pictures that may be under way.
        least: Pictures that may be under way while callers do not hold back.
        clock: Tells seconds.
    """

    def __init__(
        self, *, most: int, least: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self._least, self._clock = most, min(least, most), clock
        self._lock = threading.Lock()
        self._refused_at = -CALM_S
        self._requests = 0
        self.under_way = 0

    @property
    def is_pressed(self) -> bool:
        """Whether something was refused in the last second."""
        return self._clock() - self._refused_at < CALM_S

    def take(self, pictures: int) -> bool:
        """Let a request in, or tell that it has to be refused."""
        with self._lock:
            pressed = self.is_pressed
            allowed = self._least if pressed else self.most
            fewest = _FEWEST_REQUESTS if pressed else 1
            if self._requests >= fewest and self.under_way + pictures > allowed:
                self._refused_at = self._clock()
                return False
            self._requests += 1
            self.under_way += pictures
            return True

    def give_back(self, pictures: int) -> None:
        """Note that a request has been answered."""
        with self._lock:
            self._requests -= 1
            self.under_way -= pictures

    def refuses(self, inside: int) -> bool:
        """Tell whether a request of unknown size has to be refused.

        Args:
            inside: Requests that were let in so far, judged or still read.
        """
        pressed = self.is_pressed
        if pressed and inside < _FEWEST_REQUESTS:
            return False
        allowed = self._least if pressed else self.most
        if max(inside, self.under_way) < allowed:
            return False
        self._refused_at = self._clock()
        return True
