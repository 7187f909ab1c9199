"""Judge pictures of several requests together, and never more than may wait."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from besana.models.onnx_model import OnnxModel
from besana.serving.errors import DrainingError, OverloadedError, TooLateError
from besana.serving.handing import together, under_way
from besana.serving.turns import Turns


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model says about the pictures of one request.

    Attributes:
        probability: (n, classes).
        embedding: (n, features).
        waited_s: Seconds in the queue.
        batch: Pictures that were judged together.
    """

    probability: NDArray[np.float32]
    embedding: NDArray[np.float32]
    waited_s: float
    batch: int


@dataclass(eq=False)
class _Job:
    images: NDArray[np.uint8]
    deadline: float
    answer: Future[Judged] = field(default_factory=under_way)
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """One thread that judges what waits, in batches.

    While a batch runs, the next one gathers; when nothing runs, a picture waits `wait_s` at most
    for company.

    Args:
        model: Runs the batches.
        batch_size: Most pictures at a time.
        wait_s: How long the first picture of a batch may wait for others.
        most_waiting: Pictures that may wait before optional ones are refused.
        turns: Says when a batch may run.
    """

    def __init__(
        self, model: OnnxModel, *, batch_size: int, wait_s: float, most_waiting: int, turns: Turns
    ) -> None:
        self._model, self._batch_size, self._turns = model, batch_size, turns
        self._wait_s, self._most_waiting = wait_s, most_waiting
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._asked: threading.Lock | None = None
        self._queued = 0
        self.waiting = 0
        self.per_picture_s = 0.0
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        images: NDArray[np.uint8],
        deadline: float,
        *,
        first: bool = False,
        optional: bool = False,
    ) -> Future[Judged]:
        """Let pictures of the model's size be judged.

        Args:
            images: (n, size, size, channels).
            deadline: Of `time.monotonic`, after which nobody wants the answer.
            first: Judge before others are decoded, and wait for no company.
            optional: Refuse when `most_waiting` wait already; others were admitted before.

        Raises:
            OverloadedError: If they are optional and too many wait.
            DrainingError: If the batcher is closed.
        """
        job = _Job(images, deadline)
        with self._changed:
            if self._closed:
                raise DrainingError("This version is being replaced.")
            if optional and self.waiting >= self._most_waiting:
                raise OverloadedError(f"{self.waiting} pictures wait already.", self.retry_s())
            before = self._queued
            self._jobs.append(job)
            self._queued += len(images)
            self.waiting += len(images)
            if first and not before and self._turns.all_taken:
                self._asked = self._turns.ask(first=True)
            # Who gathers a batch is woken for its first picture, and when it is whole.
            if not before or self._queued >= self._batch_size:
                self._changed.notify()
        return job.answer

    def retry_s(self) -> int:
        """Estimate in how many whole seconds what waits now will be done, 1 to 30."""
        return int(min(30, max(1, round(self.waiting * self.per_picture_s))))

    def close(self) -> None:
        """Finish what waits, then end the thread; nothing new is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._gather():
            asked, self._asked = self._asked, None
            with together(), self._turns.taken(asked):
                with self._changed:
                    batch = self._take()
                started = time.monotonic()
                in_time = [job for job in batch if job.deadline > started]
                for job in batch:
                    if job.deadline <= started:
                        job.answer.set_exception(TooLateError("It waited longer than it may."))
                if in_time:
                    self._judge(in_time, started)
            with self._changed:
                self.waiting -= sum(len(job.images) for job in batch)

    def _gather(self) -> bool:
        """Wait for a batch of work; tell whether there is any, or the batcher is closed."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if not self._jobs:
                return False
            until = self._jobs[0].since + self._wait_s
            while not (self._closed or self._asked) and self._queued < self._batch_size:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return True

    def _take(self) -> list[_Job]:
        batch = [self._jobs.popleft()]
        count = len(batch[0].images)
        while self._jobs and count + len(self._jobs[0].images) <= self._batch_size:
            batch.append(self._jobs.popleft())
            count += len(batch[-1].images)
        self._queued -= count
        return batch

    def _judge(self, jobs: Sequence[_Job], started: float) -> None:
        images = jobs[0].images if len(jobs) == 1 else np.concatenate([j.images for j in jobs])
        try:
            probability, embedding = self._run(images)
        except Exception as error:  # noqa: BLE001  # whoever waits hears of it
            for job in jobs:
                job.answer.set_exception(error)
            return
        spent = (time.monotonic() - started) / len(images)
        self.per_picture_s = (
            spent if not self.per_picture_s else 0.9 * self.per_picture_s + 0.1 * spent
        )
        at = 0
        for job in jobs:
            part = slice(at, at + len(job.images))
            at += len(job.images)
            waited = started - job.since
            job.answer.set_result(Judged(probability[part], embedding[part], waited, len(images)))

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        size = self._batch_size
        if len(images) <= size:
            answers, embedding = self._model.run(images)
            return answers.probability, embedding
        parts = [self._model.run(images[n : n + size]) for n in range(0, len(images), size)]
        return (
            np.concatenate([answers.probability for answers, _ in parts]),
            np.concatenate([embedding for _, embedding in parts]),
        )
