"""Start trainers on this machine, watch over them, and start them again when one is lost.

A trainer is a fresh interpreter that hears nothing but its job and says how it goes. One that
died closes its connection; one that is stopped falls silent. Then all are ended, and all begin
again from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import connection as mp
from pathlib import Path
from typing import Any

from besana.errors import BesanaError
from besana.learning.recipe import Watch
from besana.learning.task import Job, Told
from besana.shards.memory import usable_processors

_SILENCE_S = 30.0
_GRACE_S = 5.0
_TRIES = 3


class LostError(Exception):
    """Say which trainer was lost, and how; it becomes a note, or an error in the end."""


def train_together(job: Job, watch: Watch) -> Told:
    """Train with several trainers; the result is their last checkpoint.

    Args:
        job: What to train; its folder of checkpoints has one to begin from.
        watch: Who is told, by the first trainer; not of single steps.

    Raises:
        BesanaError: What a trainer raised; or that trainers were lost again and again.
    """
    if job.task.team is not None:
        from besana.learning.trainer import lead

        return lead(job, job.task.team, watch)
    shown = _Shown(watch)
    notes: list[str] = []
    tries, reached = 0, -1
    while True:
        try:
            told = _attempt_on_cluster(job) if job.task.cluster else _attempt(job, shown)
            return told._replace(notes=[*notes, *told.notes])
        except LostError as lost:
            step = _newest_step(job.checkpoints)
            tries, reached = (tries + 1 if step <= reached else 1), step
            if tries > _TRIES:
                raise BesanaError(
                    f"{lost} That happened {tries} times from step {step}.",
                    "Check memory and disk; run the same command again to continue.",
                ) from None
            notes.append(f"{lost} All trainers began again from step {step}.")


def _attempt(job: Job, shown: _Shown) -> Told:
    """Train from the newest checkpoint to the end, or until a trainer is lost."""
    shown.begin()
    trainers = [_Trainer(rank) for rank in range(job.task.settings.trainers)]
    try:
        _start(trainers, job)
        ends = [end for said in _messages(trainers) if (end := shown.take(*said))]
    finally:
        for trainer in trainers:
            trainer.end()
    return Told([note for end in ends for note in end.notes], *ends[0][1:])


def _attempt_on_cluster(job: Job) -> Told:
    """Train as tasks of Spark that all run at the same time, or until one is lost."""
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    from besana.learning.trainer import work_on_cluster

    SparkSession.builder.getOrCreate()
    trainers = job.task.settings.trainers
    distributor = TorchDistributor(trainers, local_mode=False, use_gpu=job.task.device == "cuda")
    try:
        answer: Any = distributor.run(work_on_cluster, job)
    except Exception as error:  # noqa: BLE001  # whatever Spark raises: a task was lost
        raise LostError(f"Spark lost a trainer: {str(error).strip()[-300:]}") from None
    if isinstance(answer, BesanaError):
        raise answer
    told: Told = answer
    return told


def _start(trainers: list[_Trainer], job: Job) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    for trainer in trainers:
        trainer.start(len(trainers), port, job)


def _messages(trainers: list[_Trainer]) -> Iterator[tuple[str, Any]]:
    """Give what trainers say, until all are done.

    Raises:
        LostError: If one died or is silent.
        BesanaError: What one raised.
    """
    running = set(trainers)
    while running:
        ready = mp.wait([trainer.connection for trainer in running], 1.0)
        for trainer in [each for each in running if each.connection in ready]:
            verb, value = trainer.hear()
            if verb == "died":
                raise trainer.lost()
            if verb in ("error", "failed"):
                raise _cause(value, [each for each in running if each is not trainer])
            if verb == "done":
                running.discard(trainer)
            yield verb, value
        for trainer in running:
            if trainer.silence_s > _SILENCE_S:
                raise LostError(f"Trainer {trainer.rank} was silent for {_SILENCE_S:.0f} s.")


def _cause(said: BesanaError | str, others: list[_Trainer]) -> Exception:
    """Tell an error of a trainer from one that the end of another one made."""
    until = time.monotonic() + _GRACE_S
    while not isinstance(said, BesanaError) and others and time.monotonic() < until:
        ready = mp.wait([trainer.connection for trainer in others], 0.2)
        for trainer in [each for each in others if each.connection in ready]:
            verb, value = trainer.hear()
            if verb == "died":
                return trainer.lost()
            if verb in ("error", "failed"):
                others.remove(trainer)
            if verb == "error":
                said = value
    if isinstance(said, BesanaError):
        return said
    error = BesanaError(f"A trainer failed: {said.strip().splitlines()[-1]}")
    error.add_note(said)
    return error


class _Trainer:
    """One process."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.connection: mp.Connection
        self._process: subprocess.Popen[bytes] | None = None
        self._heard_at = time.monotonic()
        self._done = False

    @property
    def silence_s(self) -> float:
        """Seconds since it said anything."""
        return time.monotonic() - self._heard_at

    def start(self, ranks: int, port: int, job: Job) -> None:
        ours, theirs = socket.socketpair()
        threads = max(1, (job.task.settings.threads or usable_processors()) // ranks)
        named = {"RANK": self.rank, "LOCAL_RANK": self.rank, "WORLD_SIZE": ranks}
        named |= {"LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port, "OMP_NUM_THREADS": threads}
        environment = {
            **os.environ,
            **{name: str(value) for name, value in named.items()},
            "MASTER_ADDR": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        # All of them are here: a name of this machine that nobody can resolve is no matter.
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "besana.learning.trainer_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.connection = mp.Connection(ours.detach())
        self._heard_at = time.monotonic()
        try:
            self.connection.send(job)
        except ConnectionError:
            return  # it died just now; listening finds that out

    def hear(self) -> tuple[str, Any]:
        """Take its next message; `died` when there is none to come."""
        try:
            verb, value = self.connection.recv()
        except (EOFError, ConnectionError):
            return "died", None
        self._heard_at = time.monotonic()
        self._done = verb == "done"
        return verb, value

    def lost(self) -> LostError:
        """Clear up after a death."""
        status = self._process.wait() if self._process else 0
        return LostError(f"Trainer {self.rank} died (exit status {status}).")

    def end(self) -> None:
        """End it at once, unless it has ended."""
        if self._process is None:
            return
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S if self._done else 0)
        self._process.kill()
        self._process.wait()
        self._process = None


class _Shown:
    """Tells a watch what the first trainer says; what is done again is not told twice."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._samples = self._before = 0
        self._epochs = -1

    def begin(self) -> None:
        """Count from the start again: the first thing a trainer says is how far it is."""
        self._before, self._samples = max(self._before, self._samples), 0

    def take(self, verb: str, value: Any) -> Told | None:
        """Pass one message on; returns what a trainer tells in the end."""
        if verb == "done":
            told: Told = value
            return told
        if verb == "samples":
            more = max(0, self._samples + value - max(self._before, self._samples))
            self._samples += value
            self._watch.samples(more)
        elif verb == "epoch" and value.epoch > self._epochs:
            self._epochs = value.epoch
            self._watch.epoch(value)
        return None


def _newest_step(checkpoints: Path) -> int:
    steps = [int(path.stem) for path in checkpoints.glob("*.json") if path.stem.isdigit()]
    return max(steps, default=0)
