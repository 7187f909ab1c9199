"""Decode pictures from outside in child processes that may die, and never more than may wait."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection as mp
from typing import Any

from besana.errors import BesanaError, CorruptDataError
from besana.images.camera import Camera
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import refusal
from besana.serving.errors import OverloadedError, TooLateError
from besana.serving.pictures import Prepared, Wanted, prepare

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class DecodeJob:
    """One frame to decode, cut and scale.

    Attributes:
        files: Band to the bytes of its file.
        camera: Lens and regions.
        wanted: What the model takes.
        bounds: What a picture may be and may cost.
        with_quality: Whether to measure it too.
    """

    files: Mapping[str, bytes]
    camera: Camera
    wanted: Wanted
    bounds: Bounds
    with_quality: bool


def decode_guarded(job: DecodeJob) -> Prepared | CorruptDataError:
    """Do a job within its bounds; runs in a child process."""
    with guarded(job.bounds) as start:
        start()
        return attempt(
            partial(
                prepare,
                job.files,
                job.camera,
                job.wanted,
                job.bounds.limits(),
                with_quality=job.with_quality,
            )
        )


class Decoders:
    """A few child processes and the threads that feed them.

    Args:
        children: How many pictures are decoded at the same time.
        most_waiting: Pictures that may wait; further ones are refused at once.
    """

    def __init__(self, children: int, most_waiting: int) -> None:
        self._jobs: queue.Queue[tuple[DecodeJob, float, Future[Prepared]] | None]
        self._jobs = queue.Queue(most_waiting)
        self._children = [_Child() for _ in range(children)]
        self._threads = [
            threading.Thread(target=self._work, args=(child,), name="decoder", daemon=True)
            for child in self._children
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many pictures wait."""
        return self._jobs.qsize()

    def submit(self, job: DecodeJob, deadline: float) -> Future[Prepared]:
        """Let a frame be decoded.

        Raises:
            OverloadedError: If too many wait.
        """
        answer: Future[Prepared] = Future()
        try:
            self._jobs.put_nowait((job, deadline, answer))
        except queue.Full:
            raise OverloadedError(f"{self._jobs.qsize()} pictures wait already.") from None
        return answer

    def close(self) -> None:
        """Finish what waits and end the children."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.close()

    def _work(self, child: _Child) -> None:
        while (item := self._jobs.get()) is not None:
            job, deadline, answer = item
            if time.monotonic() > deadline:
                answer.set_exception(TooLateError("It waited longer than it may."))
                continue
            try:
                outcome = child.ask(job, job.bounds.decode_wall_s + 5.0)
            except Exception as error:  # noqa: BLE001  # whoever waits hears of it
                answer.set_exception(error)
                continue
            if isinstance(outcome, Prepared):
                answer.set_result(outcome)
            else:
                answer.set_exception(outcome)


class _Child:
    """One child process, started when first needed and again after its death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: mp.Connection | None = None

    def ask(self, job: DecodeJob, wall_s: float) -> Prepared | BesanaError:
        connection = self._connection or self._start()
        try:
            connection.send(job)
            if connection.poll(wall_s):
                return connection.recv()  # type: ignore[no-any-return]  # what the child sends
        except (EOFError, OSError):
            pass
        self.close()
        return refusal("decoder_died", "a picture whose decoding ended its process")

    def _start(self) -> mp.Connection:
        ours, theirs = socket.socketpair()
        environment: dict[str, Any] = {**dict.fromkeys(_THREADS, "1"), **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "besana.serving.decoder_child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._connection = mp.Connection(ours.detach())
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process.wait()
        self._process = self._connection = None
