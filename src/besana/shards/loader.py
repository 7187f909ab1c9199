"""Stream batches of pictures from TFRecord shards to whoever trains or predicts."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from besana.config import parse
from besana.errors import BesanaError, ConfigError
from besana.shards.augment import Augment, Fit
from besana.shards.manifest import Fold, Manifest, Positions, open_manifest
from besana.shards.options import (
    LoaderSettings,
    Shuffle,
    common_channels,
    defaults_for_machine,
    plan_memory,
)
from besana.shards.order import same_group_share
from besana.shards.passes import Batch, Crew, Pass
from besana.shards.pictures import Costs
from besana.shards.reading import Scratch
from besana.shards.ring import Ring
from besana.shards.source import Source
from besana.shards.stream import Span, Tail, span_of
from besana.shards.workers import Workers
from besana.storage import Storage

__all__ = ["Batch", "Loader"]

_STATE_VERSION = 1


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

    Attributes:
        epoch: The epoch that the current or next `for` loop goes through.
        settings: All settings, checked.
        memory: What is allocated.

    Raises:
        ConfigError: If a setting is out of range or does not fit the samples.
        NotFoundError: If there is no such manifest or split.
        MemoryLimitError: If even two batches do not fit in the memory allowed.
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
    ) -> None:
        given = {
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
        }
        wished = {"threads": threads, "memory_bytes": memory_bytes}
        given |= defaults_for_machine() | {k: v for k, v in wished.items() if v is not None}
        self.settings = parse(LoaderSettings, given, where="Loader")
        self.manifest = manifest if isinstance(manifest, Manifest) else open_manifest(manifest)
        self.positions = self._select(split, fold, positions)
        self._augment = augment
        self._check()
        self._channels = common_channels(self.settings, self.manifest, self.positions)
        self._source = Source(
            self.settings,
            self.manifest,
            self.positions,
            self.manifest.storage if shards is None else shards,
        )
        self.memory = plan_memory(
            self.settings,
            self.manifest,
            self.positions,
            channels=self._channels,
            augment=augment,
            local=self._source.local,
        )
        chosen = hashlib.sha256(np.ascontiguousarray(self.positions, "<i8").data).hexdigest()
        self._fingerprint = f"{self.manifest.fingerprint[:32]}-{chosen[:32]}"
        self._stream = self._source.stream
        self._crew: Crew | None = None
        self._pass: Pass | None = None
        self._loops = self._batches = 0
        self._last_s: float | None = None
        self._costs = Costs()
        self._waited_s = self._seconds = 0.0
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
        self._last_s = None
        return _Iteration(self, self._loops)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all threads and give the memory back; batches that are still held stay good."""
        self._closed = True
        self._end_pass()
        crew, self._crew = self._crew, None
        if crew and crew.workers.close():
            for scratch in crew.scratches:
                scratch.close()
        self._source.close()

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
        names = ["seed", "shuffle"]
        if self.settings.shuffle == "block":
            names += ["block_bytes", "window_blocks"]
        return {
            "version": _STATE_VERSION,
            "fingerprint": self._fingerprint,
            **{name: getattr(self.settings, name) for name in names},
            "epoch": epoch,
            "next_sample": consumed - epoch * self._stream.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, before or after `iter()`: no sample is lost or repeated.

        Raises:
            ConfigError: If the state belongs to other samples or another order.
        """
        mine = self.state_dict()
        for name, value in mine.items():
            if name not in ("epoch", "next_sample") and state.get(name) != value:
                what = "other samples" if name == "fingerprint" else f"{name} {state.get(name)!r}"
                raise ConfigError(
                    f"The state of the loader is for {what}, not {value!r}.",
                    "Give the same dataset, split and settings, or start anew.",
                )
        place = state.get("epoch"), state.get("next_sample")
        if not (isinstance(place[0], int) and isinstance(place[1], int) and place[0] >= 0):
            raise ConfigError("The state of the loader has no valid place.", "Start anew.")
        self._end_pass()
        self.epoch = place[0]
        self._start = self._consumed = place[0] * self._stream.count + place[1]

    def stats(self) -> dict[str, Any]:
        """Tell what the loader did so far and what it was bound by."""
        costs, seconds = self._costs, self._seconds
        waited_share = self._waited_s / seconds if seconds else 0.0
        slower = "reading" if costs.read_s > costs.decode_s else "decoding"
        return {
            "pictures": costs.pictures,
            "batches": self._batches,
            "seconds": seconds,
            "pictures_per_s": costs.pictures / seconds if seconds else 0.0,
            "waited_s": self._waited_s,
            "read_s": costs.read_s,
            "decode_s": costs.decode_s,
            "read_bytes": costs.read_bytes,
            "dropped": len(costs.dropped),
            "threads": self.memory.threads,
            "slots": self.memory.slots,
            "extra_batches": self._crew.ring.extra if self._crew else 0,
            "memory_bytes": self.memory.total_bytes,
            "bound_by": slower if waited_share > 0.1 else "consumer",
        }

    def dropped(self) -> list[str]:
        """Name the records that could not be used so far."""
        return [*self._costs.dropped]

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
                self._pass = self._open_pass()
            batch = self._pass.next()
        except BaseException:
            self._end_pass()
            raise
        now = time.perf_counter()
        self._seconds += now - (self._last_s or started)
        self._last_s = now
        if batch is None:
            self._finish_epoch()
            return None
        self._consumed = self._pass.consumed
        self._batches += 1
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

    def _open_pass(self) -> Pass:
        if self._crew is None or self._crew.workers.pid != os.getpid():
            self._crew = self._hire()
        span = self._span(self._consumed)
        return Pass(
            self.settings,
            self.manifest,
            self.positions,
            self._stream,
            span,
            self._crew,
            self._source.reader(span),
            self._augment,
            self._costs,
        )

    def _hire(self) -> Crew:
        memory, settings = self.memory, self.settings
        scratches = tuple(
            Scratch(memory.record_bytes, memory.pixels_bytes) for _ in range(memory.threads)
        )
        shape = (settings.rank_batch_size, *settings.size, self._channels)
        return Crew(
            Workers(memory.threads, "besana-decode"),
            scratches,
            deque(scratches),
            Ring(memory.slots, shape, settings.dtype),
        )

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._waited_s += self._pass.waited_s
            self._pass.close()
            self._pass = None

    def _select(
        self, split: str | None, fold: Fold | None, positions: npt.ArrayLike | None
    ) -> Positions:
        if positions is None:
            return self.manifest.select(split, fold)
        chosen = np.asarray(positions, np.int64)
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

    def __next__(self) -> Batch:
        batch = None if self._loader is None else self._loader._next(self._loop)
        if batch is None:
            self._loader = None
            raise StopIteration
        return batch
