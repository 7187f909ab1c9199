"""Decode pictures from outside in child processes that may die, and let them be judged."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from besana.engines.child import Child, packed, unpacked
from besana.errors import CorruptDataError
from besana.images.camera import Camera
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import refusal
from besana.serving.errors import OverloadedError, TooLateError
from besana.serving.handing import together, under_way
from besana.serving.pictures import Prepared, Wanted, prepare
from besana.serving.turns import Turns

T = TypeVar("T")
Judge: TypeAlias = Callable[[Sequence[NDArray[np.uint8]]], Sequence[T]]

# Pictures that one message takes to a child: few and small, so that none waits long for others.
# Of those that wait all are taken that are small, and half of larger ones.
_TOGETHER, _SMALL_BYTES, _TOGETHER_BYTES = 16, 1 << 16, 1 << 20


@dataclass(frozen=True, eq=False)
class How:
    """How frames of one camera are decoded, cut and scaled for one model.

    Attributes:
        camera: Lens and regions.
        wanted: What the model takes.
        bounds: What a picture may be and may cost.
        with_quality: Whether to measure it too.
    """

    camera: Camera
    wanted: Wanted
    bounds: Bounds
    with_quality: bool

    @cached_property
    def line(self) -> bytes:
        """Write it for the child, which reads each line once."""
        about = {
            "camera": self.camera.model_dump_json(),
            "wanted": vars(self.wanted),
            "bounds": self.bounds.model_dump(),
            "with_quality": self.with_quality,
        }
        return json.dumps(about).encode()


@lru_cache(maxsize=256)
def _how(line: bytes) -> How:
    about = json.loads(line)
    return How(
        Camera.model_validate_json(about["camera"]),
        Wanted(**about["wanted"]),
        Bounds(**about["bounds"]),
        about["with_quality"],
    )


@dataclass(frozen=True)
class DecodeJob:
    """One frame to decode, cut and scale.

    Attributes:
        files: Band to the bytes of its file.
        how: The same for most of a camera's frames.
    """

    files: Mapping[str, bytes]
    how: How

    def packed(self) -> bytes:
        """Write the job as bytes, for the child."""
        files = [part for band, data in self.files.items() for part in (band.encode(), data)]
        return packed([self.how.line, *files])

    @classmethod
    def of(cls, message: bytes) -> Self:
        """Read what `packed` wrote."""
        line, *files = unpacked(message)
        bands = [band.decode() for band in files[::2]]
        return cls(dict(zip(bands, files[1::2], strict=True)), _how(line))


def decode(jobs: Sequence[bytes]) -> bytes:
    """Do some jobs, each within its bounds; runs in a child process.

    Returns:
        What was made of each, packed: a line of JSON; then the pixels, if there are any.
    """
    made = []
    for how, group in groupby(map(DecodeJob.of, jobs), key=lambda job: job.how):
        with guarded(how.bounds) as start:
            for job in group:
                start()
                made.append(_decoded(job))
    return packed(made)


def _decoded(job: DecodeJob) -> bytes:
    how = job.how
    limits, with_quality = how.bounds.limits(), how.with_quality
    made = attempt(
        lambda: prepare(job.files, how.camera, how.wanted, limits, with_quality=with_quality)
    )
    if isinstance(made, CorruptDataError):
        return _line({"refused": [made.problem, made.hint, made.reason]})
    about = {"regions": made.regions, "shape": made.images.shape, "quality": made.quality}
    return b"".join([_line(about), made.images.data])


def _line(about: dict[str, Any]) -> bytes:
    return json.dumps(about).encode() + b"\n"


def _read(answer: bytes) -> Prepared:
    """Read what a child made of one job.

    Raises:
        CorruptDataError: If it refused the frame.
    """
    end = answer.index(b"\n")
    about = json.loads(answer[:end])
    if "refused" in about:
        raise CorruptDataError(*about["refused"])
    images = np.frombuffer(answer, np.uint8, offset=end + 1).reshape(about["shape"])
    return Prepared(about["regions"], images, about["quality"])


class Decoders:
    """A few child processes, and a thread each that feeds one and judges what it decoded.

    A frame is decoded and judged in one turn, on one core, with nobody else in between.

    Args:
        children: How many pictures are decoded at the same time.
        most_waiting: Pictures that may wait; further ones are refused at once.
        turns: Says when a child may compute.
        module: What each child runs.
    """

    def __init__(
        self,
        children: int,
        most_waiting: int,
        turns: Turns,
        module: str = "besana.serving.decoder_child",
    ) -> None:
        self._most_waiting, self._turns = most_waiting, turns
        self._jobs: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._children = [Child(module) for _ in range(children)]
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
        self, job: DecodeJob, deadline: float, judge: Judge[T]
    ) -> Future[tuple[Prepared, T]]:
        """Let a frame be decoded and then judged, without coming back in between.

        Args:
            job: What to decode.
            deadline: Of `time.monotonic`, after which nobody wants the answer.
            judge: Takes the pictures of frames that were decoded together, a block each, and
                gives one answer a block; called in a thread of the decoders.

        Raises:
            OverloadedError: If too many wait.
        """
        if self.waiting >= self._most_waiting:
            raise OverloadedError(f"{self.waiting} pictures wait already.")
        one = _Waiting(job, deadline, judge)
        self._jobs.put(one)
        return one.answer

    def close(self) -> None:
        """Finish what waits and end the children."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.close()

    def _work(self, child: Child) -> None:
        child.start()
        is_open = True
        while is_open:
            first = self._jobs.get()
            if first is None:
                return
            with together(), self._turns.taken():
                group, is_open = self._group(first)
                for judge, frames in groupby(_decoded_by(child, group), lambda one: one[0].judge):
                    _judge(judge, list(frames))

    def _group(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Take small pictures that wait together, so that the child is woken once for them.

        Returns:
            What to decode, and whether more may come.
        """
        group, size_bytes = [first], first.size_bytes
        share = self._jobs.qsize() // len(self._children)
        while size_bytes < _TOGETHER_BYTES:
            most = share if size_bytes < _SMALL_BYTES else share // 2
            if len(group) > min(most, _TOGETHER - 1):
                break
            try:
                found = self._jobs.get_nowait()
            except queue.Empty:
                break
            if found is None:
                return group, False
            group.append(found)
            size_bytes += found.size_bytes
        return group, True


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A job, until when it is wanted, who judges it, and who waits for it."""

    job: DecodeJob
    deadline: float
    judge: Judge[Any]
    answer: Future[Any] = field(default_factory=under_way)

    @property
    def is_late(self) -> bool:
        return self.deadline <= time.monotonic()

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.job.files.values()))


def _decoded_by(
    child: Child, group: Sequence[_Waiting]
) -> Iterator[tuple[_Waiting, Prepared | Exception]]:
    """Decode what is still wanted, and give what is wanted then."""
    late = TooLateError("It waited longer than it may.")
    in_time = [one for one in group if not one.is_late]
    yield from ((one, late) for one in group if one not in in_time)
    made = _ask(child, [one.job for one in in_time])
    for one, found in zip(in_time, made, strict=True):
        yield one, late if one.is_late else found


def _ask(child: Child, jobs: Sequence[DecodeJob]) -> list[Prepared | Exception]:
    """Let a child decode some pictures; when it dies of one, each is tried by itself."""
    if not jobs:
        return []
    wall_s = sum(job.how.bounds.decode_wall_s for job in jobs) + 5.0
    try:
        answer = child.ask([job.packed() for job in jobs], wall_s)
        answers = [] if answer is None else unpacked(answer)
    except Exception as error:  # noqa: BLE001  # whoever waits hears of it
        return [error] * len(jobs)
    if len(answers) == len(jobs):
        return [_made(made) for made in answers]
    if len(jobs) == 1:
        return [refusal("decoder_died", "a picture whose decoding ended its process")]
    return [made for job in jobs for made in _ask(child, [job])]


def _made(answer: bytes) -> Prepared | Exception:
    try:
        return _read(answer)
    except Exception as error:  # noqa: BLE001  # what a child says may be anything
        return error


def _judge(judge: Judge[Any], frames: Sequence[tuple[_Waiting, Prepared | Exception]]) -> None:
    """Let frames be judged together; whatever goes wrong ends up in their answers."""
    good = [(one, made) for one, made in frames if isinstance(made, Prepared)]
    for one, made in frames:
        if isinstance(made, Exception):
            one.answer.set_exception(made)
    try:
        answers = judge([made.images for _, made in good]) if good else []
    except Exception as error:  # noqa: BLE001  # whoever waits hears of it
        for one, _ in good:
            one.answer.set_exception(error)
        return
    for (one, made), answer in zip(good, answers, strict=True):
        one.answer.set_result((made, answer))
