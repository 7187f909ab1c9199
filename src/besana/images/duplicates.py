"""Tell which frames repeat an earlier one: the same bytes, the same burst, the same picture."""

from __future__ import annotations

import datetime as dt
from collections import deque
from dataclasses import dataclass, field

from besana.images.judge import Issue


@dataclass
class Bursts:
    """Find frames of one fixed camera that repeat a frame of moments ago.

    All frames of a fixed camera look alike to a perceptual hash. So only neighbours in time
    count, and a chain of them cannot grow: each is compared with frames that repeat nothing.

    Attributes:
        window_s: Seconds between a frame and one that it may repeat.
        max_bits: Bits in which two hashes may differ.
    """

    window_s: float
    max_bits: int
    _kept: deque[tuple[dt.datetime, int, str]] = field(default_factory=deque)

    def repeated(
        self, captured_at: dt.datetime, perceptual_hash: int, frame_id: str
    ) -> Issue | None:
        """Take the next frame in time order; return its issue if it repeats one.

        Args:
            captured_at: When it was captured.
            perceptual_hash: Its hash, signed.
            frame_id: Its id.
        """
        # A clock may also jump back: then what was kept is as far away as after a long pause.
        while self._kept and abs((captured_at - self._kept[0][0]).total_seconds()) > self.window_s:
            self._kept.popleft()
        for _, earlier_hash, earlier_id in self._kept:
            bits = ((perceptual_hash ^ earlier_hash) & (2**64 - 1)).bit_count()
            if bits <= self.max_bits:
                return Issue("near_duplicate", float(bits), earlier_id)
        self._kept.append((captured_at, perceptual_hash, frame_id))
        return None
