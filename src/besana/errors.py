"""Errors that say what is wrong and what to do about it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

# What a system says of a disk, not of a mistake in a program.
_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM),
}


class BesanaError(Exception):
    """Report a problem together with the way out of it.

    Attributes:
        problem: What is wrong, with the value and its unit.
        hint: What to do, ideally the command; empty when there is nothing to do.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        # Both go into args, so that the error survives pickling on its way from a worker.
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem} {self.hint}".strip()


class ConfigError(BesanaError, ValueError):
    """A setting is unknown, missing or out of range."""


class MissingExtraError(BesanaError, ImportError):
    """An optional library is not installed."""


class NotFoundError(BesanaError, LookupError):
    """A workspace, stage, model or file is not there."""


class NotReadyError(BesanaError):
    """A stage ran before the one that feeds it."""


class StorageError(BesanaError, OSError):
    """A disk or bucket refused."""


class CorruptDataError(BesanaError, ValueError):
    """Bytes do not match their checksum, schema or format.

    Attributes:
        reason: One word for counting, as in the issue kinds (`truncated`, `damaged`, ...).
    """

    def __init__(self, problem: str, hint: str = "", reason: str = "damaged") -> None:
        super().__init__(problem, hint)
        self.args = (problem, hint, reason)
        self.reason = reason


class MemoryLimitError(BesanaError):
    """One partition would not fit in the memory allowed."""


@contextlib.contextmanager
def disk_refusals() -> Iterator[None]:
    """Turn what the system says of a disk into a `StorageError`, whatever library wrote there."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BesanaError) or error.errno not in _DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise StorageError(
            f"{where}{os.strerror(error.errno)}.", "Check the disk and its rights."
        ) from error
