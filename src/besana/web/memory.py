"""How much memory a stretch of work took at its highest."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """Measure the largest process since this was made: this one, or a child that has ended.

    On Linux the kernel's high-water mark of this process is set back first, so that a small
    stage after a large one in the same process does not inherit its peak.
    """

    def __init__(self) -> None:
        self._children_bytes = _largest_bytes(children=True)
        try:
            _RESET.write_text("5")
        except OSError:
            self._own = False
        else:
            self._own = True

    def read_bytes(self) -> int:
        """Give the peak resident memory in bytes."""
        children_bytes = _largest_bytes(children=True)
        # The mark of the children cannot be set back: it only counts if it has risen.
        risen_bytes = children_bytes if children_bytes > self._children_bytes else 0
        own_bytes = _high_water_bytes() if self._own else _largest_bytes(children=False)
        return max(own_bytes, risen_bytes)


def _high_water_bytes() -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return _largest_bytes(children=False)


def _largest_bytes(*, children: bool) -> int:
    import resource

    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
