"""DDP: each trainer has a part of every batch; gradients are summed, so all do the same step."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from besana.learning.learner import Learner, Learnt
from besana.learning.recipe import Batch
from besana.learning.shared_norm import share_norms
from besana.learning.team import Team


class Ddp(Learner):
    """Average gradients at each step (synchronous data parallelism; Li et al., 2020).

    The step is that of one trainer with the whole batch, but for rounding: batch normalisation
    sees the whole batch, and the loss is the mean over it.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        share_norms(self.network, self.team)
        self._shared = DistributedDataParallel(self.network)
        # Batch statistics are those of the whole batch on every trainer already. Set here,
        # because the argument has different names in different versions of torch.
        self._shared.broadcast_buffers = False
        self._shared.register_comm_hook(self.team, lambda team, bucket: _sum(team, bucket))

    @override
    def learn(self, batch: Batch, rate: float, step: int, *, due: bool) -> Learnt | None:
        self._draws.begin_step(step)
        images, truth, count = self._part(batch)
        value = self._loss(self._scores(self._shared, images), truth)
        learnt, share = call_the_roll(self.team, value.detach(), count, due=due)
        self._backward(value * share)
        self._descend(rate)
        self._follow(step)
        self.total += learnt.loss * learnt.samples
        return learnt


def call_the_roll(
    team: Team, value: torch.Tensor, count: int, *, due: bool
) -> tuple[Learnt, float]:
    """Tell each other losses, counts of samples, and whether a checkpoint is due.

    Returns:
        What the whole batch came to, and this trainer's share of its samples.
    """
    said = [float(value) * count, count, due]
    summed, samples, dues = team.sum(value.new_tensor(said, dtype=torch.float64)).tolist()
    loss = value.new_tensor(summed / max(samples, 1))
    return Learnt(loss, int(samples), dues > 0), count / max(samples, 1)


def _sum(team: Team, bucket: Any) -> Any:
    """Add up some gradients while others are still computed."""
    return team.start_sum(bucket.buffer()).then(lambda done: done.value()[0])
