"""How much memory and how many processors this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_LARGEST_DEFAULT = 2 << 30
_DEFAULT_SHARE = 0.25


def allowed_bytes() -> int:
    """Tell how much memory the control group, else the machine, allows."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_number(path) for path in _limit_files()]
    return min([machine, *(limit for limit in limits if limit)])


def default_budget_bytes() -> int:
    """Tell how much memory a loader takes unless told: a quarter of it, at most 2 GiB."""
    return min(int(allowed_bytes() * _DEFAULT_SHARE), _LARGEST_DEFAULT)


def usable_processors() -> int:
    """Count the processors this process may run on, as affinity and control group allow."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    if quota == "max":
        return count
    return max(1, min(count, -(-int(quota) // int(period))))


def _limit_files() -> list[Path]:
    """List the files that may hold a limit: this process's group, its parents, version 1."""
    root = Path("/sys/fs/cgroup")
    files = [root / "memory/memory.limit_in_bytes", root / "memory.max"]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return files
    for line in lines:
        own = line.rpartition(":")[2].strip("/")
        while own:
            files.append(root / own / "memory.max")
            own = own.rpartition("/")[0]
    return files


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
