"""Progress bars for people who wait, silent for everything else."""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

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
def track(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error while the block runs.

    Args:
        title: What is being done, as `clean`.
        total: How many items there are; None when nobody knows.

    Yields:
        A function that advances the bar by a number of items.
    """
    wanted = _shown.get()
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda _count: None
        return
    with _bar() as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)


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
