"""An engine that works in the test's own process, where starting workers would take longest."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from besana.engines import Engine
from besana.engines.base import Item, Summary


class Inline(Engine):
    """Run one partition after the other."""

    workers = 1
    peak_memory_bytes = 0

    def map(
        self,
        function: Callable[[Sequence[Item]], Summary],
        partitions: Iterable[Sequence[Item]],
        *,
        on_death: Callable[[Item], Summary] | None = None,
    ) -> Iterator[Summary]:
        """Yield the summaries in order; nothing can die but the process itself."""
        for partition in partitions:
            yield function(partition)
