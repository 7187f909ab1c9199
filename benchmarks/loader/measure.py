"""Measure one contender in this process and print its figures as JSON.

Run by `run.py`: python measure.py CONTENDER, which tells what it is, or
python measure.py CONTENDER FOLDER DTYPE WORKERS SECONDS
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from work import Work

WARM_UP_S = 2.0


def main() -> None:
    """Tell what a contender is, or how fast it is."""
    started = time.perf_counter()
    contender: Any = importlib.import_module(f"contenders.{sys.argv[1]}")
    import_s = time.perf_counter() - started
    if len(sys.argv) == 2:
        print(json.dumps(describe(contender)), flush=True)
    else:
        _, folder, dtype, workers, seconds = sys.argv[1:]
        work = Work(Path(folder), dtype, int(workers))
        figures = measure(contender, work, float(seconds))
        print(json.dumps(figures | {"import_s": import_s}), flush=True)
    os._exit(0)  # some contenders hang when they are told to stop


def describe(contender: Any) -> dict[str, Any]:
    """Give format, settings, environment and versions."""
    return {
        "format": contender.FORMAT,
        "settings": contender.SETTINGS,
        "dtypes": contender.DTYPES,
        "environment": getattr(contender, "ENVIRONMENT", {}),
        "versions": {name: metadata.version(name) for name in contender.NEEDS},
    }


def measure(contender: Any, work: Work, seconds: float) -> dict[str, float]:
    """Warm up for an epoch, or two seconds if that is longer; then count."""
    started = time.perf_counter()
    batches = contender.stream(work)
    check(next(batches), work.dtype)
    first_s = time.perf_counter() - started
    epoch = sum(1 for _ in (work.folder / "jpeg").glob("*/*.jpg"))
    count = 0
    while count < epoch or time.perf_counter() - started < first_s + WARM_UP_S:
        count += len(next(batches))
    begun, cpu, count = time.perf_counter(), processor_s(), 0
    memory = tree_memory()
    while (passed := time.perf_counter() - begun) < seconds:
        count += len(next(batches))
    return {
        "pictures_per_s": count / passed,
        "cpu_ms": 1000 * (processor_s() - cpu) / count,
        "memory_mb": max(memory, tree_memory()) / 1e6,
        "first_s": first_s,
    }


def check(batch: Any, dtype: str) -> None:
    """Refuse a first batch of another type or shape."""
    if hasattr(batch, "shape"):
        shape = sorted(batch.shape)
        if shape != [3, 64, 224, 224] or dtype not in str(batch.dtype):
            raise SystemExit(f"a batch of {batch.shape} {batch.dtype}")


def tree() -> list[int]:
    """List this process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        found.append(waiting.pop())
        waiting += parents.get(found[-1], [])
    return found


def processor_s() -> float:
    """Add up the processor seconds of this process and all below it."""
    ticks = 0
    for process in tree():
        fields = _read(process, "stat").rpartition(")")[2].split()
        ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def tree_memory() -> int:
    """Add up the anonymous and shared memory of all processes, each page once: no mapped files."""
    lines = [line for process in tree() for line in _read(process, "smaps_rollup").splitlines()]
    held = ("Pss_Anon:", "Pss_Shmem:")
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(held))


def _read(process: int, name: str) -> str:
    try:
        return Path(f"/proc/{process}/{name}").read_text()
    except OSError:
        return ") " + "0 " * 30 if name == "stat" else ""


if __name__ == "__main__":
    main()
