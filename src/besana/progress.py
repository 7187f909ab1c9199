"""Progress: bars for people who wait, and a note on what runs for who looks at the workspace."""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

_NOTED_EVERY_S = 1.0

_noted = contextvars.ContextVar["_Note | None"]("progress_noted", default=None)
_shown = contextvars.ContextVar[bool | None]("progress_shown", default=None)


@contextlib.contextmanager
def progress_shown(shown: bool) -> Iterator[None]:
    """Force progress bars on or off inside the block; otherwise a terminal decides."""
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


@contextlib.contextmanager
def progress_noted(folder: Path, stage: str) -> Iterator[None]:
    """Keep a file in a folder that says what runs and how far it is; gone with the block.

    Args:
        folder: As `.temporary` of a workspace.
        stage: What runs.
    """
    note = _Note(folder / f"running-{stage}-{os.getpid()}.json", stage)
    token = _noted.set(note)
    try:
        yield
    finally:
        _noted.reset(token)
        note.end()


def running(folder: Path) -> list[dict[str, Any]]:
    """Read what runs: stage, step, when it began, how many items are done and of how many.

    What was killed has left its file; on this machine that is seen and it is left out.
    """
    found = []
    for path in sorted(folder.glob("running-*.json")):
        try:
            record = json.loads(path.read_bytes())
            if record["host"] != socket.gethostname() or _is_alive(record["process"]):
                found.append(record)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # just being replaced, or not ours
    return found


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class _Note:
    """A file about one running stage; where it cannot be written the stage goes on without."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path = path
        self._facts: dict[str, Any] = {
            "stage": stage,
            "step": stage,
            "started_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "process": os.getpid(),
            "host": socket.gethostname(),
            "done": 0,
            "total": None,
        }
        self._write()

    def begin(self, step: str, total: int | None) -> None:
        self._facts |= {"step": step, "done": 0, "total": total}
        self._write()

    def advance(self, count: int) -> None:
        self._facts["done"] += count
        if time.monotonic() - self._written >= _NOTED_EVERY_S:
            self._write()

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _write(self) -> None:
        self._written = time.monotonic()
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(self._facts))
            fresh.replace(self._path)


@contextlib.contextmanager
def track(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error while the block runs.

    Args:
        title: What is being done, as `clean`.
        total: How many items there are; None when nobody knows.

    Yields:
        A function that advances the bar by a number of items.
    """
    note = _noted.get()
    if note is not None:
        note.begin(title, total)
    advance = note.advance if note is not None else lambda _count: None
    wanted = _shown.get()
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield advance
        return
    with _bar() as bar:
        task = bar.add_task(title, total=total)

        def both(count: int) -> None:
            bar.advance(task, count)
            advance(count)

        yield both


@contextlib.contextmanager
def track_bytes(title: str, files: int, size_bytes: int) -> Iterator[Callable[[int, int], None]]:
    """Show files, bytes, rate and time left while the block runs.

    Args:
        title: What is being done, as `frames`.
        files: How many files there are.
        size_bytes: Their bytes together.

    Yields:
        A function that is told files and bytes as they are done.
    """
    wanted = _shown.get()
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda _files, _bytes: None
        return
    with _byte_bar() as bar:
        task = bar.add_task(title, total=size_bytes, files=0, all_files=files)
        done = 0

        def advance(more: int, sent: int) -> None:
            nonlocal done
            done += more
            bar.update(task, advance=sent, files=done)

        yield advance


def _byte_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[files]:,}/{task.fields[all_files]:,} files"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    )


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    )
