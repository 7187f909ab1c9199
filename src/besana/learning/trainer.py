"""A trainer: one of the processes that learn a network together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch

from besana.learning.frozen import backbone_of
from besana.learning.loop import fit
from besana.learning.ranks import started_by_torchrun
from besana.learning.recipe import Watch
from besana.learning.task import Job
from besana.learning.team import Team, joined
from besana.models.network import build
from besana.shards.memory import usable_processors


def work(job: Job, team: Team, watch: Watch) -> list[str]:
    """Train as one of a team, from the newest checkpoint to the end.

    Returns:
        What could not be used; and on the first trainer, what all of them sent.
    """
    task = job.task
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
    sent = team.sum(torch.tensor([team.sent_bytes, team.messages], device=team.device))
    if team.rank:
        return outcome.notes
    figures = f"{sent[0].item() / 1e6:,.1f} MB in {int(sent[1].item()):,} messages"
    return [*outcome.notes, f"{team.ranks} trainers sent each other {figures}."]


def lead(job: Job, team: Team, watch: Watch) -> list[str]:
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
