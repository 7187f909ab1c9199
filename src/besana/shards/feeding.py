"""Who fills the batches of a loader: threads of this process."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from besana.shards.augment import Augment
from besana.shards.fetching import FetchCounts
from besana.shards.jobs import Batch, Crew
from besana.shards.manifest import Manifest, Positions
from besana.shards.native import NativeFiller, is_usable, library
from besana.shards.normal import Normal
from besana.shards.options import LoaderSettings, MemoryPlan
from besana.shards.passes import Pass
from besana.shards.pictures import Costs, Seen
from besana.shards.reading import Scratch
from besana.shards.ring import Ring
from besana.shards.source import Source
from besana.shards.stream import Span
from besana.shards.workers import Workers


class Feeding(Protocol):
    """One pass over a stretch of the stream.

    Attributes:
        consumed: Place in the stream after the last batch handed out.
        waited_s: Seconds that the consumer waited.
    """

    consumed: int
    waited_s: float

    def next(self) -> Batch | None:
        """Give the next batch; None at the end."""

    def close(self) -> None:
        """Drop what is on its way."""


class Feed(ABC):
    """Fill batches, one pass after the other.

    Attributes:
        costs: What it took so far.
    """

    costs: Costs

    @abstractmethod
    def open_pass(self, span: Span) -> Feeding:
        """Begin a pass over a stretch of the stream."""

    @property
    @abstractmethod
    def extra_batches(self) -> int:
        """Tell how many batches were made beyond the ring, because someone kept all others."""

    @property
    @abstractmethod
    def fetched(self) -> FetchCounts:
        """Tell what was read from a bucket."""

    @abstractmethod
    def close(self) -> None:
        """End threads and processes; batches that are still held stay good."""


class ThreadFeed(Feed):
    """Fill batches on threads of this process; a forked child opens its own.

    Args:
        settings: The loader's settings.
        manifest: Where samples lie and what they are.
        positions: The selection: manifest position of each sample.
        source: Order and bytes of the samples.
        memory: What to allocate.
        channels: Channels of the pictures.
        augment: How pictures vary.
        allocate: Makes the memory of a batch; None for new memory of this process.
    """

    def __init__(
        self,
        settings: LoaderSettings,
        manifest: Manifest,
        positions: Positions,
        source: Source,
        memory: MemoryPlan,
        channels: int,
        augment: Augment | None,
        allocate: Callable[[], npt.NDArray[Any]] | None = None,
    ) -> None:
        self._settings = settings
        self._manifest = manifest
        self._positions = positions
        self._source = source
        self._memory = memory
        self._channels = channels
        self._augment = augment
        self._allocate = allocate
        self._crew: Crew | None = None
        self.costs = Costs()

    @property
    @override
    def extra_batches(self) -> int:
        return self._crew.ring.extra if self._crew else 0

    @property
    @override
    def fetched(self) -> FetchCounts:
        return self._source.fetcher.counts

    @override
    def open_pass(self, span: Span) -> Pass:
        if self._crew is None or self._crew.workers.pid != os.getpid():
            self._crew = self._hire()
        return Pass(
            self._settings,
            self._manifest,
            self._positions,
            self._source.stream,
            span,
            self._crew,
            self._source.reader(span),
            self._augment,
            self.costs,
        )

    def _hire(self) -> Crew:
        memory, settings = self._memory, self._settings
        scratches = tuple(
            Scratch(memory.record_bytes, memory.pixels_bytes) for _ in range(memory.threads)
        )
        shape = (settings.rank_batch_size, *settings.size, self._channels)
        normal = staging = filler = None
        found = library(settings.native)
        if settings.dtype == "float32":
            normal = Normal(settings.mean, settings.std, settings.size[1], self._channels, found)
            staging = Ring(memory.staged, shape, np.uint8)
        seen = Seen(len(self._manifest))
        if is_usable(found, settings, self._channels):
            filler = NativeFiller(found, settings.size, self._channels, seen)
        return Crew(
            Workers(memory.threads, "besana-decode"),
            scratches,
            deque(scratches),
            Ring(memory.slots, shape, np.dtype(settings.dtype), self._allocate),
            seen,
            normal,
            staging,
            filler,
        )

    @override
    def close(self) -> None:
        crew, self._crew = self._crew, None
        if crew and crew.workers.close():
            for scratch in crew.scratches:
                scratch.close()
        self._source.close()
