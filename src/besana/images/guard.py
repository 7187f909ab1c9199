"""Let a picture cost a worker at most so much memory and time, or else its life."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def guarded(*, memory_bytes: int, cpu_s: int, wall_s: int) -> Iterator[Callable[[], None]]:
    """Bound what each picture inside the block may cost this process.

    Too much memory makes allocations fail. Too much time ends the process at once by the
    kernel's own hand, so that no loop inside a decoder can outlive it; the engine then finds the
    picture and goes on with a fresh worker.

    Args:
        memory_bytes: Address space on top of what the process has now.
        cpu_s: Seconds of processor time a picture, above 0.
        wall_s: Seconds a picture, above 0.

    Yields:
        A function to call before each picture.
    """
    cores = resource.getrlimit(resource.RLIMIT_CORE)
    space = resource.getrlimit(resource.RLIMIT_AS)
    time = resource.getrlimit(resource.RLIMIT_CPU)
    clock = _Alarm()

    def start() -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        spent_s = int(usage.ru_utime + usage.ru_stime) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (_within(spent_s + cpu_s, time[1]), time[1]))
        clock.set(wall_s)

    resource.setrlimit(resource.RLIMIT_CORE, (0, cores[1]))
    allowed = _within(_address_space_bytes() + memory_bytes, space[1])
    resource.setrlimit(resource.RLIMIT_AS, (allowed, space[1]))
    try:
        yield start
    finally:
        clock.set(0)
        resource.setrlimit(resource.RLIMIT_AS, space)
        resource.setrlimit(resource.RLIMIT_CPU, time)
        resource.setrlimit(resource.RLIMIT_CORE, cores)


class _Alarm:
    """The process's alarm clock, whose ringing nobody catches; silent outside the main thread."""

    def __init__(self) -> None:
        self._works = threading.current_thread() is threading.main_thread()
        if self._works:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def set(self, seconds: int) -> None:
        if self._works:
            signal.alarm(seconds)


def _address_space_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _within(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
