"""What a loader did, and what it was bound by."""

from __future__ import annotations

import time
from typing import Any

from besana.shards.feeding import Feed
from besana.shards.options import MemoryPlan

_WAITS = 0.1
"""Share of the time that a consumer waits before it is no longer the bound."""


class Clock:
    """Measure how long the consumer waited, and how long everything took.

    Attributes:
        batches: Batches handed out.
        seconds: Seconds from batch to batch.
        waited_s: Those of them that the consumer waited.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.seconds = 0.0
        self._waited_before_s = self._waited_s = 0.0
        self._last_s: float | None = None

    @property
    def waited_s(self) -> float:
        """Seconds that the consumer waited."""
        return self._waited_before_s + self._waited_s

    def begin(self) -> None:
        """Begin a loop: what the consumer did before is not counted."""
        self._last_s = None

    def tick(self, started_s: float, waited_s: float) -> None:
        """Take the time after a batch.

        Args:
            started_s: When it was asked for.
            waited_s: Seconds waited in this pass so far.
        """
        now = time.perf_counter()
        self.seconds += now - (self._last_s or started_s)
        self._last_s = now
        self._waited_s = waited_s

    def end_pass(self) -> None:
        """Keep what was waited in a pass that ends."""
        self._waited_before_s, self._waited_s = self.waited_s, 0.0


def report(clock: Clock, feed: Feed, memory: MemoryPlan) -> dict[str, Any]:
    """Give the figures by name, as plain JSON values."""
    costs, fetched = feed.costs, feed.fetched
    seconds = clock.seconds
    waited_share = clock.waited_s / seconds if seconds else 0.0
    slower = "reading" if costs.read_s > costs.decode_s else "decoding"
    return {
        "pictures": costs.pictures,
        "batches": clock.batches,
        "seconds": seconds,
        "pictures_per_s": costs.pictures / seconds if seconds else 0.0,
        "waited_s": clock.waited_s,
        "read_s": costs.read_s,
        "decode_s": costs.decode_s,
        "read_bytes": costs.read_bytes,
        "native_pictures": costs.native,
        "requests": fetched.requests,
        "fetched_bytes": fetched.fetched_bytes,
        "cached_ranges": fetched.cached.hits,
        "cached_bytes": fetched.cached.hit_bytes,
        "cache_errors": fetched.cached.errors,
        "dropped": len(costs.dropped),
        "threads": memory.threads,
        "slots": memory.slots,
        "staged": memory.staged,
        "extra_batches": feed.extra_batches,
        "memory_bytes": memory.total_bytes,
        "bound_by": slower if waited_share > _WAITS else "consumer",
    }
