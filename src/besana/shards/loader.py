"""Stream batches of pictures from TFRecord shards to whoever trains or predicts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from besana.config import parse
from besana.errors import BesanaError, ConfigError
from besana.shards.augment import Augment, Fit
from besana.shards.cache import BlockCache
from besana.shards.feeding import Feed, Feeding, ThreadFeed
from besana.shards.jobs import Batch
from besana.shards.manifest import Fold, Manifest, Positions, open_manifest
from besana.shards.native import library
from besana.shards.options import (
    LoaderSettings,
    Shuffle,
    common_channels,
    defaults_for_machine,
    plan_memory,
)
from besana.shards.order import same_group_share
from besana.shards.process_feed import Order, ProcessFeed
from besana.shards.showing import epoch_bar
from besana.shards.source import Source
from besana.shards.state import Place, identify, read_state, write_state
from besana.shards.stats import Clock, report
from besana.shards.stream import Span, Tail, span_of
from besana.storage import Storage, open_storage

__all__ = ["Batch", "Loader"]


class Loader:
    """Iterate over batches of a dataset; each `for` loop is one epoch.

    Order and augmentation are a pure function of (seed, epoch): threads, ranks and machines
    change nothing. Every record is checked against its CRC32C. Memory stays under
    `memory_bytes`, however many samples there are; besides come the index (about 40 bytes a
    sample) and the order.

    Args:
        manifest: The index: a manifest or its path.
        split: Split to use; None for all samples.
        fold: `(k, "train")` or `(k, "validation")` of a k-fold split.
        positions: Samples to use instead of a split, as positions in the manifest.
        batch_size: Samples of a batch, all ranks together.
        size: Side of the pictures in px, or (height, width).
        shards: Where the shards lie; None for the manifest's own folder.
        seed: Chooses order and augmentation.
        shuffle: `global` for a uniform permutation, `block` to read neighbours together (best
            from a bucket), `none` for the manifest's order.
        tail: What becomes of samples that fill no batch: `drop` them, `carry` them into the next
            epoch, or `pad` the last batch and mark it in `valid`. None pads when the order is
            not shuffled, else drops.
        rank: Which of the ranks this loader serves.
        ranks: How many loaders share each batch; the number must divide `batch_size`.
        threads: Threads that decode; None for one a processor.
        memory_bytes: Most memory for buffers; None for a quarter of what the control group
            allows, at most 2 GiB.
        augment: How training pictures vary; None for the whole picture.
        fit: `stretch` squeezes pictures to the size, `crop` keeps their shape and cuts.
        dtype: `uint8`, `uint16`, or `float32` from 0 to 1, less `mean`, divided by `std`.
        mean: Of float32 pixels, one value or one a channel.
        std: Of float32 pixels, one value or one a channel.
        on_error: `raise` stops at a corrupt record and names it; `substitute` takes another
            sample in its place, or marks it invalid where batches are padded.
        max_dropped_share: Share of samples that may be corrupt before the epoch stops.
        block_bytes: Bytes of a block of neighbours, for `shuffle="block"`.
        window_blocks: Blocks that are mixed with each other, for `shuffle="block"`.
        watchdog_s: Seconds without any picture after which to stop instead of hang.
        cache: Folder to keep what is read from a bucket; None for none.
        cache_bytes: Most bytes of all processes in that folder.
        process: Whether to fill batches in a process of its own, so that the loop that trains has
            its interpreter to itself. Same order, same batches.
        progress: Whether to show a bar on standard error.
        native: Whether the native library makes what it can: pixels are at most one level apart.
            None where it is installed, False for Python alone, True for an error without it.

    Attributes:
        epoch: The epoch that the current or next `for` loop goes through.
        settings: All settings, checked.
        memory: What is allocated.

    Raises:
        ConfigError: If a setting is out of range or does not fit the samples.
        NotFoundError: If there is no such manifest or split.
        MissingExtraError: If the native library is wished and not installed.
        MemoryLimitError: If even two batches, for float32 three, do not fit in the memory allowed.
    """

    def __init__(
        self,
        manifest: Manifest | str | Path,
        split: str | None = "train",
        batch_size: int = 64,
        size: int | tuple[int, int] = 224,
        shards: Storage | str | Path | None = None,
        *,
        fold: Fold | None = None,
        positions: npt.ArrayLike | None = None,
        seed: int = 0,
        shuffle: Shuffle = "global",
        tail: Tail | None = None,
        rank: int = 0,
        ranks: int = 1,
        threads: int | None = None,
        memory_bytes: int | None = None,
        augment: Augment | None = None,
        fit: Fit = "stretch",
        dtype: Literal["uint8", "uint16", "float32"] = "uint8",
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        on_error: Literal["raise", "substitute"] = "raise",
        max_dropped_share: float = 0.001,
        block_bytes: int = 2 << 20,
        window_blocks: int = 32,
        watchdog_s: float = 120.0,
        cache: str | Path | None = None,
        cache_bytes: int = 10 << 30,
        process: bool = False,
        progress: bool = False,
        native: bool | None = None,
    ) -> None:
        options = {
            "batch_size": batch_size,
            "size": (size, size) if isinstance(size, int) else size,
            "seed": seed,
            "shuffle": shuffle,
            "tail": tail or ("pad" if shuffle == "none" else "drop"),
            "rank": rank,
            "ranks": ranks,
            "fit": fit,
            "dtype": dtype,
            "mean": mean,
            "std": std,
            "on_error": on_error,
            "max_dropped_share": max_dropped_share,
            "block_bytes": block_bytes,
            "window_blocks": window_blocks,
            "watchdog_s": watchdog_s,
            "cache_bytes": cache_bytes,
            "native": native,
        }
        wished = {"threads": threads, "memory_bytes": memory_bytes}
        options |= defaults_for_machine() | {k: v for k, v in wished.items() if v is not None}
        self.settings = parse(LoaderSettings, options, where="Loader")
        self.manifest = manifest if isinstance(manifest, Manifest) else open_manifest(manifest)
        self.positions = self._select(split, fold, positions)
        self._augment = augment
        self._check()
        library(native)
        self._channels = common_channels(self.settings, self.manifest, self.positions)
        given = self.manifest.storage if shards is None else shards
        self._shards = given if isinstance(given, Storage) else open_storage(given)
        self._cache = None if cache is None else (str(cache), cache_bytes)
        self._source = Source(self.settings, self.manifest, self.positions, self._shards)
        self.memory = plan_memory(
            self.settings,
            self.manifest,
            self.positions,
            channels=self._channels,
            augment=augment,
            local=self._source.local,
            process=process,
        )
        self._fingerprint = identify(self.manifest, self.positions)
        self._stream = self._source.stream
        self._feed = self._open_feed(process=process)
        self._pass: Feeding | None = None
        self._progress = progress
        self._loops = 0
        self._clock = Clock()
        self._closed = False
        self.epoch = 0
        self._start = self._consumed = 0

    def __len__(self) -> int:
        """Count the batches of the current epoch, from its start."""
        return self._span(self._start).batches(self.settings.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Start the current epoch, or go on where a loaded state stopped."""
        self._end_pass()
        self._consumed = self._start
        self._loops += 1
        self._clock.begin()
        return _Iteration(self, self._loops)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all threads and give the memory back; batches that are still held stay good."""
        self._closed = True
        self._end_pass()
        self._feed.close()

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the current one is left as it is, also if resumed."""
        if epoch != self.epoch:
            self._end_pass()
            self.epoch = epoch
            self._start = self._consumed = epoch * self._stream.count

    def state_dict(self) -> dict[str, Any]:
        """Give the place in the stream after the last batch handed out, as plain JSON values.

        A loader with another batch size, number of ranks or threads can go on from it.
        """
        epoch, consumed = self.epoch, self._consumed
        if self._span(consumed).batches(self.settings.batch_size) == 0:
            epoch, consumed = epoch + 1, self._start_after(consumed)
        place = Place(epoch, consumed - epoch * self._stream.count)
        return write_state(self.settings, self._fingerprint, place)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, before or after `iter()`: no sample is lost or repeated.

        Raises:
            ConfigError: If the state belongs to other samples or another order.
        """
        count = self._stream.count
        place = read_state(state, self.settings, self._fingerprint, count)
        self._end_pass()
        self.epoch = place.epoch
        self._start = self._consumed = place.epoch * count + place.next_sample

    def stats(self) -> dict[str, Any]:
        """Tell what the loader did so far and what it was bound by."""
        return report(self._clock, self._feed, self.memory)

    def dropped(self) -> list[str]:
        """Name the records that could not be used so far."""
        return [*self._feed.costs.dropped]

    def mixing(self, groups: npt.NDArray[Any]) -> tuple[float, float]:
        """Measure how likely two samples of a batch are of one group in the current epoch.

        Args:
            groups: Camera, group or shard of each sample of the manifest.

        Returns:
            The share of pairs in this order, and in the manifest's order.
        """
        chosen, batch_size = groups[self.positions], self.settings.batch_size
        order = self._source.order(self.epoch).order
        return (
            same_group_share(order, chosen, batch_size),
            same_group_share(np.arange(len(chosen)), chosen, batch_size),
        )

    def _next(self, loop: int) -> Batch | None:
        if self._closed or loop != self._loops:
            raise BesanaError(
                "The loader was closed, or another loop over it has begun.",
                "Use one loader for each loop that runs at the same time.",
            )
        started = time.perf_counter()
        try:
            if self._pass is None:
                self._pass = self._feed.open_pass(self._span(self._consumed))
            batch = self._pass.next()
        except BaseException:
            self._end_pass()
            raise
        self._clock.tick(started, self._pass.waited_s)
        if batch is None:
            self._finish_epoch()
            return None
        self._consumed = self._pass.consumed
        self._clock.batches += 1
        return batch

    def _finish_epoch(self) -> None:
        self._end_pass()
        self._start = self._consumed = self._start_after(self._consumed)
        self.epoch += 1

    def _start_after(self, consumed: int) -> int:
        """Tell where the epoch after this one starts in the stream."""
        if self.settings.tail == "carry":
            return consumed
        return (self.epoch + 1) * self._stream.count

    def _span(self, start: int) -> Span:
        settings = self.settings
        return span_of(self.epoch, start, self._stream.count, settings.batch_size, settings.tail)

    def _open_feed(self, *, process: bool) -> Feed:
        if process:
            place = self.manifest.storage, self.manifest.key
            return ProcessFeed(
                Order(
                    self.settings,
                    place,
                    self.manifest.fingerprint,
                    self.positions,
                    self._shards,
                    self._cache,
                    self.memory,
                    self._channels,
                    self._augment,
                    torch="torch" in sys.modules,
                )
            )
        if self._cache is not None and not self._source.local:
            self._source.use_cache(BlockCache(*self._cache))
        return ThreadFeed(
            self.settings,
            self.manifest,
            self.positions,
            self._source,
            self.memory,
            self._channels,
            self._augment,
        )

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._clock.end_pass()
            self._pass.close()
            self._pass = None

    def _select(
        self, split: str | None, fold: Fold | None, positions: npt.ArrayLike | None
    ) -> Positions:
        small: npt.DTypeLike = np.int32 if len(self.manifest) < 1 << 31 else np.int64
        if positions is None:
            return self.manifest.select(split, fold).astype(small)
        chosen = np.asarray(positions).astype(small)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self.manifest)):
            raise ConfigError(f"Positions are not within 0 to {len(self.manifest) - 1}.")
        return chosen

    def _check(self) -> None:
        settings, count = self.settings, len(self.positions)
        if not count:
            raise ConfigError("There are no samples to load.", "Run: besana split")
        if settings.tail != "pad" and count < settings.batch_size:
            raise ConfigError(
                f"{count} samples do not fill a batch of {settings.batch_size}.",
                'Take a smaller batch_size, or tail="pad".',
            )
        turns = self._augment is not None and self._augment.quarter_turns
        if turns and settings.size[0] != settings.size[1]:
            raise ConfigError(f"Quarter turns need square pictures, not {settings.size} px.")


class _Iteration(Iterator[Batch]):
    """One loop over a loader."""

    def __init__(self, loader: Loader, loop: int) -> None:
        self._loader: Loader | None = loader
        self._loop = loop
        self._bar = ExitStack()
        self._show: Callable[[str], None] | None = None
        if loader._progress:
            self._show = self._bar.enter_context(epoch_bar(loader.epoch, len(loader)))

    def __next__(self) -> Batch:
        loader = self._loader
        try:
            batch = None if loader is None else loader._next(self._loop)
        except BaseException:
            self._bar.close()
            raise
        if loader is None or batch is None:
            self._loader = None
            self._bar.close()
            raise StopIteration
        if self._show is not None:
            said = loader.stats()
            self._show(f"{said['pictures_per_s']:,.0f} pictures/s, bound by {said['bound_by']}")
        return batch
