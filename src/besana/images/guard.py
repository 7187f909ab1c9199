"""Let a picture cost a worker at most so much memory and time, or else its life."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from pydantic import Field

from besana.config import Settings
from besana.errors import BesanaError, CorruptDataError, NotFoundError
from besana.images.header import Limits, refusal

T = TypeVar("T")


class Bounds(Settings):
    """What a picture may be, and what decoding it may cost."""

    max_pixels: int = Field(
        default=40_000_000, ge=1, description="Pictures above this many pixels are kept out."
    )
    max_file_bytes: int = Field(
        default=50_000_000, ge=1, description="Files above this size are kept out."
    )
    min_side_px: int = Field(default=8, ge=1, description="Shortest side of a usable picture.")
    max_aspect: float = Field(default=50.0, ge=1, description="Largest ratio of the sides.")
    allow_missing_eoi: bool = Field(
        default=False, description="Accept JPEG files that lack only their last two bytes."
    )
    decode_memory_bytes: int = Field(
        default=1_000_000_000, ge=64_000_000, description="Memory that one picture may cost."
    )
    decode_cpu_s: int = Field(
        default=10, ge=1, description="Seconds of processor time that one picture may cost."
    )
    decode_wall_s: int = Field(default=30, ge=1, description="Seconds that one picture may take.")

    def bounds(self) -> Bounds:
        """Return these settings alone, where they are part of a stage's."""
        return Bounds(**self.model_dump(include=set(Bounds.model_fields)))

    def limits(self) -> Limits:
        """Return what is decoded at all."""
        return Limits(
            file_bytes=self.max_file_bytes,
            pixels=self.max_pixels,
            side_px=self.min_side_px,
            aspect=self.max_aspect,
            allow_missing_eoi=self.allow_missing_eoi,
        )


@contextlib.contextmanager
def guarded(bounds: Bounds) -> Iterator[Callable[[], None]]:
    """Bound what each picture inside the block may cost this process.

    Too much memory makes allocations fail. Too much time ends the process at once by the
    kernel's own hand, so that no loop inside a decoder can outlive it; the engine then finds the
    picture and goes on with a fresh worker.

    Args:
        bounds: Memory is on top of what the process has now.

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
        resource.setrlimit(
            resource.RLIMIT_CPU, (_within(spent_s + bounds.decode_cpu_s, time[1]), time[1])
        )
        clock.set(bounds.decode_wall_s)

    resource.setrlimit(resource.RLIMIT_CORE, (0, cores[1]))
    allowed = _within(_address_space_bytes() + bounds.decode_memory_bytes, space[1])
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


def attempt(work: Callable[[], T]) -> T | CorruptDataError:
    """Do something with one picture; what goes wrong with it comes back as data.

    Errors of the run (a disk, a setting) are raised.
    """
    try:
        return work()
    except CorruptDataError as error:
        return error
    except NotFoundError as error:
        return refusal("missing", str(error))
    except MemoryError:
        return refusal("decoder_died", "it needs more memory than one picture may take")
    except BesanaError:
        raise
    except Exception as error:  # noqa: BLE001  # the guard around one image
        return refusal("damaged", f"{type(error).__name__}: {error}")
