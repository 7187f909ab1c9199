"""What is let in: what will be answered soon, by how fast those before it were answered."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

#: Seconds without a refusal, or with no more requests than can be answered in them, after which
#: callers hold back again; less than they are told to wait.
CALM_S = 0.5

# While callers do not hold back, an answer may take so many times as long as one that nobody is
# before, so that the next request is there when the judge is free; or take so many seconds with
# its wait, since small pictures cost less when a few come together.
_STRETCH, _SOON_S = 1.25, 0.014
# So many times as much is answered when more may wait and come together.
_TOGETHER = 1.2
# Of what was known, each answer leaves so much; it counts as so many times as long at most, since
# a single slow one (the first of a new kind, a disk) says little of those that follow.
_KEPT, _SLOWEST = 0.95, 4.0


class Admission:
    """Counts what is under way, and says what comes on top of it.

    A burst may wait: cameras send at the full minute. Once something was refused, callers send
    more than can be judged, and whatever waits would only make every answer late; so next to
    nothing may wait until, for half a second, nothing was refused or no more came than is judged.

    Args:
        most: Pictures that may be under way.
        requests: Requests that may be under way while callers do not hold back.
        burst_s: Seconds that a request may wait for those before it.
        each_s: Seconds that a picture takes, until some were judged.
        clock: Tells seconds.
    """

    def __init__(
        self,
        *,
        most: int,
        requests: int,
        burst_s: float,
        each_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._few, self._burst_s, self._clock = most, requests, burst_s, clock
        self._lock = threading.Lock()
        self._busy_s, self._judged, self._answered = each_s, 1.0, 1.0
        self._alone_s = each_s
        self._alone_since: float | None = None
        self._refused_at = -math.inf
        self._came, self._counted_since = 0, clock()
        self._since = self._done_at = 0.0
        self._requests = 0
        self.under_way = 0

    @property
    def each_s(self) -> float:
        """Seconds that a picture takes, of those answered of late."""
        return self._busy_s / self._judged

    @property
    def is_pressed(self) -> bool:
        """Whether something was refused of late."""
        return self._clock() - self._refused_at < CALM_S

    @property
    def retry_s(self) -> int:
        """Whole seconds in which what is under way will be done, 1 to 30."""
        return int(min(30, max(1, round(self.under_way * self.each_s))))

    def take(self, pictures: int) -> bool:
        """Let a request in, or tell that it has to be refused."""
        with self._lock:
            if self._is_full(pictures):
                return False
            now = self._clock()
            self._alone_since = None if self._requests else now
            if not self._requests:
                self._since = now
            self._requests += 1
            self.under_way += pictures
            self._done_at = max(now, self._done_at) + pictures * self.each_s
            return True

    def give_back(self, pictures: int) -> None:
        """Note that a request has been answered."""
        with self._lock:
            now = self._clock()
            spent_s = min(now - self._since, _SLOWEST * pictures * self.each_s)
            self._busy_s = _KEPT * self._busy_s + spent_s
            self._judged = _KEPT * self._judged + pictures
            self._answered = _KEPT * self._answered + 1
            self._since = now
            if self._alone_since is not None:
                took_s = min(now - self._alone_since, _SLOWEST * self._alone_s)
                self._alone_s = _KEPT * self._alone_s + (1 - _KEPT) * took_s
                self._alone_since = None
            self._requests -= 1
            self.under_way -= pictures
            self._done_at = now + self.under_way * self.each_s

    def refuses(self, inside: int) -> bool:
        """Tell whether a request of unknown size has to be refused.

        Args:
            inside: Requests that were let in so far, judged or still read.
        """
        with self._lock:
            self._count()
            return self._is_full(1, inside)

    def _count(self) -> None:
        """Count a request that comes, and forget refusals once what comes can be answered.

        A server that was disturbed for a moment would otherwise refuse some for long, since it
        answers less while few may wait than it does otherwise.
        """
        now = self._clock()
        if (counted_s := now - self._counted_since) >= CALM_S:
            if self._came * self._busy_s / self._answered <= _TOGETHER * counted_s:
                self._refused_at = -math.inf
            self._came, self._counted_since = 0, now
        self._came += 1

    def _is_full(self, pictures: int, inside: int = 0) -> bool:
        """Tell whether so many pictures are too many now, and remember it."""
        if not self._requests and inside < self._most:
            return False
        now, pressed = self._clock(), self.is_pressed
        allowed_s = self._burst_s
        if pressed:
            usual_s = self._busy_s / self._answered
            allowed_s = max(_SOON_S, _STRETCH * self._alone_s) - usual_s
        full = (
            self._done_at - now > allowed_s
            or self.under_way + pictures > self._most
            or inside >= self._most
            or (pressed and self._requests >= self._few)
        )
        if full:
            if not pressed:
                self._came, self._counted_since = 0, now
            self._refused_at = now
        return full
