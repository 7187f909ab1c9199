"""What every engine promises: a function over partitions, summaries back, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Summary = TypeVar("Summary")


class Engine(ABC):
    """Run a function over partitions of small items; the bytes they name stay where they are.

    Attributes:
        workers: How many partitions run at the same time.
        peak_memory_bytes: The largest resident memory of one worker so far; 0 before the first.
    """

    workers: int
    peak_memory_bytes: int

    @abstractmethod
    def map(
        self,
        function: Callable[[Sequence[Item]], Summary],
        partitions: Iterable[Sequence[Item]],
        *,
        on_death: Callable[[Item], Summary] | None = None,
    ) -> Iterator[Summary]:
        """Run `function` once for each partition and yield the summaries in any order.

        Partitions are drawn when a worker is free for them, so a work list may be endless. The
        first exception of a function stops all workers and is raised here. A partition may run
        twice (a worker died, a cluster speculated), so its writes must be whole or nothing and
        named by the partition.

        Args:
            function: A function of a module, or a `functools.partial` of one.
            partitions: Sequences of picklable items.
            on_death: Gives the summary of the one item whose worker process died; a partition
                whose worker died is halved until that item is found. Without it a death is an
                error.

        Raises:
            BesanaError: If a worker died and there is no `on_death`.
        """
