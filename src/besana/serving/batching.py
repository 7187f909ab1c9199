"""Judge pictures of several requests together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from besana.models.onnx_model import OnnxModel
from besana.serving.errors import DrainingError, TooLateError
from besana.serving.handing import together, under_way
from besana.serving.turns import Turns


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model says about the pictures of one request.

    Attributes:
        probability: (n, classes).
        embedding: (n, features).
        batch: Pictures that were judged together.
    """

    probability: NDArray[np.float32]
    embedding: NDArray[np.float32]
    batch: int


@dataclass(eq=False)
class _Job:
    images: NDArray[np.uint8]
    deadline: float
    answer: Future[Judged] = field(default_factory=under_way)


class Batcher:
    """Threads that judge what waits, in batches, each batch on one core.

    While batches run, the next one gathers. Judges that have nothing to do share what waits, also
    the pictures of one request.

    Args:
        model: Runs the batches, several at the same time.
        batch_size: Most pictures at a time.
        turns: Says when a batch may run.
        judges: Batches that run at the same time.
    """

    def __init__(self, model: OnnxModel, *, batch_size: int, turns: Turns, judges: int = 1) -> None:
        self._model, self._batch_size, self._turns = model, batch_size, turns
        self._jobs: deque[_Job] = deque()
        self._came = threading.Condition()
        self._closed = False
        self._queued = self._idle = self._gathering = 0
        self._threads = [
            threading.Thread(target=self._work, name="batcher", daemon=True) for _ in range(judges)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, images: NDArray[np.uint8], deadline: float) -> Future[Judged]:
        """Let pictures of the model's size be judged.

        Args:
            images: (n, size, size, channels).
            deadline: Of `time.monotonic`, after which nobody wants the answer.

        Raises:
            DrainingError: If the batcher is closed.
        """
        with self._came:
            if self._closed:
                raise DrainingError("This version is being replaced.")
            parts = 1 if self._queued else min(self._idle, len(images))
            jobs = [_Job(part, deadline) for part in _split(images, parts)]
            self._jobs.extend(jobs)
            self._queued += len(images)
            if self._is_more:
                self._came.notify()
        return jobs[0].answer if len(jobs) == 1 else _joined([job.answer for job in jobs])

    def judge(self, frames: Sequence[NDArray[np.uint8]]) -> list[Judged]:
        """Judge some blocks of pictures together, in this thread and at once.

        Args:
            frames: Each (n, size, size, channels).

        Returns:
            One answer a block.
        """
        images = frames[0] if len(frames) == 1 else np.concatenate(frames)
        probability, embedding = self._run(images)
        answers, at = [], 0
        for frame in frames:
            part = slice(at, at + len(frame))
            at += len(frame)
            answers.append(Judged(probability[part], embedding[part], len(images)))
        return answers

    def close(self) -> None:
        """Finish what waits, then end the threads; nothing new is taken."""
        with self._came:
            self._closed = True
            self._came.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while self._gather():
            with together(), self._turns.taken():
                with self._came:
                    batch = self._take()
                now = time.monotonic()
                for job in batch:
                    if job.deadline <= now:
                        job.answer.set_exception(TooLateError("It waited longer than it may."))
                self._answer([job for job in batch if job.deadline > now])

    @property
    def _is_more(self) -> bool:
        """Whether pictures wait that nobody gathers into a batch."""
        return self._queued > self._gathering * self._batch_size

    def _gather(self) -> bool:
        """Wait for a batch of work; tell whether there is any, or the batcher is closed."""
        with self._came:
            self._idle += 1
            while not (self._is_more or self._closed):
                self._came.wait()
            self._idle -= 1
            if not self._is_more:
                return False
            self._gathering += 1
            return True

    def _take(self) -> list[_Job]:
        """Take a batch, and leave their share to judges that have nothing to do."""
        self._gathering -= 1
        most = min(self._batch_size, -(-self._queued // (1 + self._idle)))
        batch, size = list[_Job](), 0
        while self._jobs and (not batch or size + len(self._jobs[0].images) <= most):
            batch.append(self._jobs.popleft())
            size += len(batch[-1].images)
        self._queued -= size
        if self._is_more:
            self._came.notify()
        return batch

    def _answer(self, jobs: Sequence[_Job]) -> None:
        try:
            answers = self.judge([job.images for job in jobs]) if jobs else []
        except Exception as error:  # noqa: BLE001  # whoever waits hears of it
            for job in jobs:
                job.answer.set_exception(error)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.answer.set_result(answer)

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


def _split(images: NDArray[np.uint8], parts: int) -> list[NDArray[np.uint8]]:
    return [images] if parts < 2 else np.array_split(images, parts)


def _joined(parts: Sequence[Future[Judged]]) -> Future[Judged]:
    """Answer when all parts of one request are answered."""
    whole: Future[Judged] = under_way()
    answered = count(1)

    def done(_: Future[Judged]) -> None:
        if next(answered) < len(parts):
            return
        error = next((error for part in parts if (error := part.exception())), None)
        if error is not None:
            whole.set_exception(error)
        else:
            whole.set_result(_whole([part.result() for part in parts]))

    for part in parts:
        part.add_done_callback(done)
    return whole


def _whole(parts: Sequence[Judged]) -> Judged:
    return Judged(
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.embedding for part in parts]),
        max(part.batch for part in parts),
    )
