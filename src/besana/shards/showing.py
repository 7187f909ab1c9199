"""Show how far an epoch is, and what it is bound by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def epoch_bar(epoch: int, batches: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on standard error while the block runs.

    Args:
        epoch: Number of the epoch.
        batches: How many batches it has.

    Yields:
        A function that counts one batch more and says how it goes.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"epoch {epoch}", total=batches, said="")
        yield lambda said: bar.update(task, advance=1, said=said)
