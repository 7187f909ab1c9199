"""A trainer: one of the processes that learn a network together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch

from besana.errors import BesanaError, StorageError
from besana.learning.frozen import backbone_of
from besana.learning.loop import fit
from besana.learning.ranks import started_by_torchrun
from besana.learning.recipe import Watch
from besana.learning.task import Job, Told
from besana.learning.team import Team, joined
from besana.models.network import build
from besana.shards.memory import usable_processors


def work(job: Job, team: Team, watch: Watch) -> Told:
    """Train as one of a team, from the newest checkpoint to the end.

    Raises:
        StorageError: If the checkpoint to begin from cannot be seen from here.
    """
    task = job.task
    if not any(job.checkpoints.glob("*.json")):
        raise StorageError(
            f"Trainer {team.rank} finds no checkpoint in {job.checkpoints}.",
            "Put the workspace on a disk that all machines mount under the same path.",
        )
    threads = task.settings.threads or usable_processors()
    torch.set_num_threads(max(1, threads // team.neighbours))
    built = build(
        replace(backbone_of(task.settings), weights="random"),  # a checkpoint has the weights
        classes=task.classes,
        channels=task.dataset.channels,
        seed=task.settings.seed,
    )
    outcome = fit(
        task, built, job.positions, job.checkpoints, watch, validated=job.validated, team=team
    )
    figures = [team.sent_bytes, team.messages]
    sent = team.sum(torch.tensor(figures, dtype=torch.float64, device=team.device))
    return Told(outcome.notes, int(sent[0]), int(sent[1]))


def work_on_cluster(job: Job) -> Told | BesanaError:
    """Train as one of those that Spark started; an error of besana's is its answer."""
    try:
        with joined(job.task.device) as team:
            return work(job, team, Watch())
    except BesanaError as error:
        return error


def lead(job: Job, team: Team, watch: Watch) -> Told:
    """Train as the first of the trainers that torchrun started; the others attend."""
    team.share(replace(job, task=replace(job.task, team=None)))
    return work(job, team, watch)


@contextlib.contextmanager
def leading(device: str) -> Iterator[Team | None]:
    """Lead the other trainers that torchrun started, if it did; they end with the block."""
    if started_by_torchrun() < 2:
        yield None
        return
    with joined(device) as team:
        yield team
        team.share(None)


def attend(device: str) -> None:
    """Train whatever the first of torchrun's trainers says, until it says no more."""
    with joined(device) as team:
        while (job := team.share()) is not None:
            work(job, team, Watch())
