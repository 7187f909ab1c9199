"""One pass over a stretch of the stream: plan batches, fill them on threads, hand them out."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from besana.errors import CorruptDataError, StorageError
from besana.images.resize import resize_alone
from besana.images.segments import Part
from besana.shards.augment import Augment, Changes, draw_changes
from besana.shards.canvas import Canvas, Direct, Staged
from besana.shards.jobs import Batch, Crew, Job, Stretch
from besana.shards.manifest import Manifest, Positions
from besana.shards.native import lay_out
from besana.shards.options import LoaderSettings, relative_aspect
from besana.shards.order import hashes, key_of
from besana.shards.pictures import Costs, PictureMaker
from besana.shards.reading import Reader, Scratch
from besana.shards.stream import Span, Stream

__all__ = ["Batch", "Pass"]

_TASK_PICTURES = 32
_STRETCH_PICTURES = 512
_AHEAD_BYTES = 1 << 20
_SUBSTITUTE = 101
_SUBSTITUTES = 8


class Pass:
    """Go once through a span of the stream.

    Args:
        settings: The loader's settings.
        manifest: Where samples lie and what they are.
        positions: The selection: manifest position of each sample.
        stream: Order of the selection.
        span: Stretch of the stream to go through.
        crew: Threads and buffers.
        reader: Gets records.
        augment: How pictures vary.
        costs: Where to add what the pass took.
    """

    def __init__(
        self,
        settings: LoaderSettings,
        manifest: Manifest,
        positions: Positions,
        stream: Stream,
        span: Span,
        crew: Crew,
        reader: Reader,
        augment: Augment | None,
        costs: Costs,
    ) -> None:
        self._settings = settings
        self._manifest = manifest
        self._positions = positions
        self._stream = stream
        self._span = span
        self._crew = crew
        self._reader = reader
        self._augment = augment
        self._costs = costs
        self._maker = PictureMaker(manifest, settings.size, crew.sound)
        self._finishing = threading.Lock()
        self._planned = span.start
        self._stretch: Stretch | None = None
        self._jobs: deque[Job] = deque()
        self._dropped_before = len(costs.dropped)
        self.consumed = span.start
        self.waited_s = 0.0

    def next(self) -> Batch | None:
        """Give the next batch; None at the end."""
        self._plan_ahead()
        if not self._jobs:
            return None
        started = time.perf_counter()
        job = self._jobs[0]
        for part in job.parts:
            self._wait(part)
            self._costs.add(part.result())
        with self._finishing:
            self._jobs.popleft()
            if not job.is_finished:
                self._finish(job, self._crew.ring.lend())
        self.waited_s += time.perf_counter() - started
        self._reader.release(job.requested)
        self._check_dropped()
        self.consumed = job.stop
        batch = job.batch
        del job
        self._plan_ahead()
        return batch

    def close(self) -> None:
        """Drop what is on its way; a forked child leaves its parent's to the parent."""
        if self._crew.workers.pid != os.getpid():
            return
        for job in self._jobs:
            for part in job.parts:
                part.cancel()
        with self._finishing:
            self._jobs.clear()
        self._reader.close()

    def _plan_ahead(self) -> None:
        while self._planned < self._span.stop:
            ring = self._crew.staging or self._crew.ring
            memory = ring.lend()
            if memory is None:
                if self._jobs:
                    return
                memory = ring.lend_extra()  # someone keeps all batches: no deadlock
            self._start(memory)

    def _start(self, memory: npt.NDArray[Any]) -> None:
        stop = min(self._planned + self._settings.batch_size, self._span.stop)
        job = self._plan(self._planned, stop, memory)
        self._planned = stop
        self._jobs.append(job)
        self._reader.request(job.requested)
        count = len(job.requested)
        step = min(_TASK_PICTURES, max(1, -(-count // self._crew.workers.count)))
        tasks = [range(first, min(first + step, count)) for first in range(0, count, step)]
        job.unmade.extend(tasks)
        job.parts = [self._crew.workers.submit(self._fill, job, rows) for rows in tasks]

    def _finish(self, job: Job, images: npt.NDArray[Any] | None) -> None:
        """Turn staged pictures into float32; without memory given, in some beyond the ring."""
        assert isinstance(job.canvas, Staged)
        assert self._crew.normal is not None
        images = self._crew.ring.lend_extra() if images is None else images
        job.canvas.finish(self._crew.normal, images)
        job.batch = replace(job.batch, images=images)
        job.is_finished = True

    def _finish_first(self) -> None:
        """Finish the next batch, in a thread that made pictures, where there is room for it."""
        if self._crew.staging is None or not self._finishing.acquire(blocking=False):
            return
        try:
            job = self._jobs[0] if self._jobs else None
            if job is None or job.unmade or job.is_finished:
                return
            images = self._crew.ring.lend()
            if images is not None:
                self._finish(job, images)
        finally:
            self._finishing.release()

    def _plan(self, start: int, stop: int, memory: npt.NDArray[Any]) -> Job:
        """Lay out this rank's part of the global batch from `start` to `stop`."""
        if self._stretch is None or stop > self._stretch.stop:
            self._stretch = self._lay_out(start)
        whole, settings = self._stretch, self._settings
        first = (start - whole.start) // settings.ranks
        here = slice(first, first + len(range(settings.rank, stop - start, settings.ranks)))
        tasks = whole.tasks[here]
        index = np.full(settings.rank_batch_size, -1, np.int64)
        index[: len(tasks)] = self._positions[whole.samples[here]]
        epoch = np.full(len(index), -1, np.int64)
        epoch[: len(tasks)] = whole.epochs[here]
        batch = Batch(memory, self._labels(index), index, index >= 0, epoch)
        canvas: Canvas = Direct(memory)
        if self._crew.staging is not None:
            canvas = Staged(memory)
        for row in range(len(tasks), len(index)):
            canvas.blank(row)
        changes = _rows(whole.changes, here)
        requested = [task.position for task in tasks]
        orders = None if whole.orders is None else whole.orders[here]
        drawn = whole.samples[here], whole.epochs[here], changes
        waits = self._crew.staging is not None
        return Job(batch, canvas, *drawn, tasks, orders, requested, stop, is_finished=not waits)

    def _lay_out(self, start: int) -> Stretch:
        """Draw the changes of a few batches from `start` on, and plan their pictures."""
        settings = self._settings
        batches = max(1, _STRETCH_PICTURES // settings.rank_batch_size)
        stop = min(start + batches * settings.batch_size, self._span.stop)
        pieces = self._stream.take(start, stop)
        mine = slice(settings.rank, None, settings.ranks)
        samples = np.concatenate([piece.samples for piece in pieces])[mine]
        epochs = np.repeat([piece.epoch for piece in pieces], [len(p.samples) for p in pieces])
        at = self._positions[samples]
        height, width = self._manifest.height_px[at], self._manifest.width_px[at]
        relative = relative_aspect(settings, height, width)
        changes = draw_changes(self._augment, samples, epochs[mine], relative, settings.seed)
        tasks = self._maker.plan(at, changes)
        orders = None if self._crew.filler is None else lay_out(self._manifest, at, tasks)
        return Stretch(start, stop, samples, epochs[mine], changes, tasks, orders)

    def _labels(self, index: Positions) -> npt.NDArray[Any]:
        several = self._manifest.labels
        if several is None:
            return np.where(index >= 0, self._manifest.label[index].astype(np.int64), -1)
        return several[index] & (index >= 0)[:, None]

    def _fill(self, job: Job, rows: range) -> Costs:
        """Fill some pictures of a batch, in a thread."""
        resize_alone()
        costs = Costs()
        scratch = self._crew.idle.pop()
        try:
            opened: list[tuple[int, Part]] = []
            held = 0
            for row in self._fill_natively(job, rows, scratch, costs):
                part = self._fill_row(job, row, scratch, costs, ahead=held < _AHEAD_BYTES)
                if part is not None:
                    opened.append((row, part))
                    held += len(part.data)
            for row, part in opened:
                self._fill_row(job, row, scratch, costs, part)
        finally:
            self._crew.idle.append(scratch)
        job.unmade.pop()
        self._finish_first()
        return costs

    def _fill_natively(
        self, job: Job, rows: range, scratch: Scratch, costs: Costs
    ) -> Sequence[int]:
        """Fill what the native library can; give the rows that are left."""
        filler = self._crew.filler
        if filler is None or job.orders is None:
            return rows
        return filler.fill(job.tasks, job.orders, rows, job.canvas, self._reader, scratch, costs)

    def _fill_row(
        self,
        job: Job,
        row: int,
        scratch: Scratch,
        costs: Costs,
        part: Part | None = None,
        *,
        ahead: bool = False,
    ) -> Part | None:
        """Fill one picture.

        Args:
            job: The batch.
            row: Which of its pictures.
            scratch: This thread's buffers.
            costs: Where to add what it took.
            part: What was returned for this picture ahead.
            ahead: Whether to copy only what is needed of the record, and fill later: quicker for
                a few pictures in a row than between one picture and the next.

        Returns:
            What was copied; None when the picture is done.
        """
        for attempt in range(_SUBSTITUTES):
            task = job.tasks[row]
            try:
                if part is None:
                    record = self._maker.open(task, self._reader, scratch, costs)
                    if ahead and (found := self._maker.part(task, record)) is not None:
                        return found
                self._maker.make(task, part or record, job.canvas, row, scratch, costs)
            except CorruptDataError as error:
                message = self._describe(task.position, error)
                if self._settings.on_error == "raise":
                    raise CorruptDataError(
                        message, 'Or go on without it: on_error="substitute".', error.reason
                    ) from None
                costs.dropped.append(message)
            else:
                return None
            if self._settings.tail == "pad":
                break
            self._substitute(job, row, attempt)
            part = None
        job.canvas.blank(row)
        job.batch.labels[row] = False if job.batch.labels.ndim == 2 else -1
        job.batch.valid[row] = False
        return None

    def _substitute(self, job: Job, row: int, attempt: int) -> None:
        """Put another sample in place of a corrupt one: the same on every machine."""
        key = key_of(self._settings.seed, int(job.epochs[row]), _SUBSTITUTE, attempt)
        draw = int(hashes(key, job.samples[row : row + 1])[0])
        job.batch.index[row] = self._positions[draw % len(self._positions)]
        job.batch.labels[row] = self._labels(job.batch.index[row : row + 1])[0]
        here = slice(row, row + 1)
        job.tasks[row] = self._maker.plan(job.batch.index[here], _rows(job.changes, here))[0]

    def _describe(self, position: int, error: CorruptDataError) -> str:
        place = self._manifest.location(position)
        name = self._manifest.sample_ids([position])[0]
        return (
            f"Sample '{name}' in '{place.shard}' at byte {place.offset_bytes} "
            f"(position {position}) cannot be used: {error.problem}"
        )

    def _check_dropped(self) -> None:
        dropped = self._costs.dropped[self._dropped_before :]
        allowed = self._settings.max_dropped_share * len(self._positions) / self._settings.ranks
        if len(dropped) > allowed:
            shown = "\n".join(dropped[:20])
            raise CorruptDataError(
                f"{len(dropped)} of {len(self._positions)} samples cannot be used, more than the "
                f"share of {self._settings.max_dropped_share} allowed:\n{shown}\n",
                "Run besana prepare with --check, then split; or raise max_dropped_share.",
            )

    def _wait(self, part: Future[Costs]) -> None:
        """Wait for some pictures; raise when nothing moves for too long."""
        moved_at, moved = time.monotonic(), -1
        while not wait([part], min(1.0, self._settings.watchdog_s)).done:
            done = sum(scratch.done for scratch in self._crew.scratches)
            if done != moved:
                moved_at, moved = time.monotonic(), done
            elif time.monotonic() - moved_at >= self._settings.watchdog_s:
                raise StorageError(
                    f"No picture was ready for {self._settings.watchdog_s:g} s: {self._depths()}.",
                    "Check the disk or the network, or raise watchdog_s.",
                )

    def _depths(self) -> str:
        doing = ", ".join(scratch.doing for scratch in self._crew.scratches)
        return (
            f"{len(self._jobs)} batches under way, {self._crew.workers.queued} tasks queued, "
            f"threads: {doing}"
        )


def _rows(changes: Changes, rows: slice) -> Changes:
    """Take the changes of some pictures."""
    return Changes._make(None if part is None else part[rows] for part in changes)
