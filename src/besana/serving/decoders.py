"""Decode pictures from outside in child processes that may die, and never more than may wait."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np

from besana.engines.child import Child
from besana.errors import BesanaError, CorruptDataError
from besana.images.camera import Camera
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import refusal
from besana.serving.batching import under_way
from besana.serving.errors import OverloadedError, TooLateError
from besana.serving.pictures import Prepared, Wanted, prepare

T = TypeVar("T")


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

    def parts(self) -> list[bytes]:
        """Write the job as bytes, for the child."""
        about = {
            "bands": list(self.files),
            "camera": self.camera.model_dump_json(),
            "wanted": vars(self.wanted),
            "bounds": self.bounds.model_dump(),
            "with_quality": self.with_quality,
        }
        return [json.dumps(about).encode(), *self.files.values()]

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Self:
        """Read what `parts` wrote."""
        about = json.loads(parts[0])
        return cls(
            dict(zip(about["bands"], parts[1:], strict=True)),
            Camera.model_validate_json(about["camera"]),
            Wanted(**about["wanted"]),
            Bounds(**about["bounds"]),
            about["with_quality"],
        )


def decode(parts: Sequence[bytes]) -> bytes:
    """Do a job within its bounds; runs in a child process.

    Returns:
        A line of JSON; then the pixels, if there are any.
    """
    job = DecodeJob.of(parts)
    with guarded(job.bounds) as start:
        start()
        made = attempt(
            partial(
                prepare,
                job.files,
                job.camera,
                job.wanted,
                job.bounds.limits(),
                with_quality=job.with_quality,
            )
        )
    if isinstance(made, CorruptDataError):
        return _line({"refused": [made.problem, made.hint, made.reason]})
    about = {"regions": made.regions, "shape": made.images.shape, "quality": made.quality}
    return _line(about) + made.images.tobytes()


def _line(about: dict[str, Any]) -> bytes:
    return json.dumps(about).encode() + b"\n"


def _read(answer: bytes | None) -> Prepared:
    """Read what a child answered.

    Raises:
        CorruptDataError: If it refused the frame, or died of it.
    """
    if answer is None:
        raise refusal("decoder_died", "a picture whose decoding ended its process")
    line, _, pixels = answer.partition(b"\n")
    about = json.loads(line)
    if "refused" in about:
        raise CorruptDataError(*about["refused"])
    images = np.frombuffer(pixels, np.uint8).reshape(about["shape"])
    return Prepared(about["regions"], images, about["quality"])


class Decoders:
    """A few child processes and the threads that feed them.

    Args:
        children: How many pictures are decoded at the same time.
        most_waiting: Pictures that may wait; further ones are refused at once.
    """

    def __init__(self, children: int, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._jobs: queue.SimpleQueue[tuple[DecodeJob, float, _Onward] | None]
        self._jobs = queue.SimpleQueue()
        self._children = [Child("besana.serving.decoder_child") for _ in range(children)]
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

    def submit(
        self, job: DecodeJob, deadline: float, judge: Callable[[Prepared], Future[T]]
    ) -> Future[tuple[Prepared, T]]:
        """Let a frame be decoded and then judged, without coming back in between.

        Args:
            job: What to decode.
            deadline: Of `time.monotonic`, after which nobody wants the answer.
            judge: Takes the frame on; called in a thread of the decoders.

        Raises:
            OverloadedError: If too many wait.
        """
        if self.waiting >= self._most_waiting:
            raise OverloadedError(f"{self.waiting} pictures wait already.")
        answer: Future[tuple[Prepared, T]] = under_way()
        self._jobs.put((job, deadline, partial(_go_on, answer, judge)))
        return answer

    def close(self) -> None:
        """Finish what waits and end the children."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.close()

    def _work(self, child: Child) -> None:
        while (item := self._jobs.get()) is not None:
            job, deadline, go_on = item
            if time.monotonic() > deadline:
                go_on(TooLateError("It waited longer than it may."))
                continue
            try:
                made = _read(child.ask(job.parts(), job.bounds.decode_wall_s + 5.0))
            except Exception as error:  # noqa: BLE001  # whoever waits hears of it
                go_on(error)
            else:
                go_on(made)


_Onward = Callable[[Prepared | Exception], None]


def _go_on(
    answer: Future[tuple[Prepared, T]],
    judge: Callable[[Prepared], Future[T]],
    made: Prepared | Exception,
) -> None:
    """Let what was decoded be judged; whatever goes wrong ends up in the answer."""
    if isinstance(made, Exception):
        answer.set_exception(made)
        return

    def done(judged: Future[T]) -> None:
        error = judged.exception()
        if error is None:
            answer.set_result((made, judged.result()))
        else:
            answer.set_exception(error)

    try:
        judge(made).add_done_callback(done)
    except BesanaError as error:
        answer.set_exception(error)
