"""Local SGD: each trainer learns by itself for some steps, then all average their weights."""

from __future__ import annotations

from typing import Any

import torch
from typing_extensions import override

from besana.learning import optimiser
from besana.learning.flat import flat, spread
from besana.learning.learner import Learner, Learnt
from besana.learning.recipe import Batch


class LocalSgd(Learner):
    """Average weights, batch statistics and AdamW's moments every `sync_steps` steps.

    Periodic averaging (Stich, 2019, "Local SGD converges fast and communicates little"); moments
    are averaged too (Yu, Jin and Yang, 2019), so that trainers are equal when they have met.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._alone_steps = 0
        self._alone_loss = torch.zeros_like(self.total)
        self._last_step = 0

    @override
    def learn(self, batch: Batch, rate: float, step: int, *, due: bool) -> Learnt | None:
        self._draws.begin_step(step)
        images, truth, count = self._part(batch)
        value = self._loss(self._scores(self.network, images), truth)
        self._backward(value * min(count, 1))
        self._descend(rate)
        self._alone_loss += value.detach() * count
        self._alone_steps += 1
        self._last_step = step
        saves = False
        if self._alone_steps >= self.recipe.sync_steps:
            self._meet()
            saves = self.team.agrees(due, self.device)
        return Learnt(value.detach(), len(batch.valid) * self.team.ranks, saves)

    @override
    def settle(self) -> None:
        if self._alone_steps:
            self._meet()

    def _meet(self) -> None:
        moments = optimiser.tensors(self._optimiser)
        state = self.network.state_dict()
        held = [value for value in (*state.values(), *moments.values()) if _is_averaged(value)]
        spread(self.team.sum(flat(held)) / self.team.ranks, held)
        self._follow(self._last_step, self._alone_steps)
        self.total += self.team.sum(self._alone_loss)
        self._alone_loss.zero_()
        self._alone_steps = 0


def _is_averaged(value: torch.Tensor) -> bool:
    """Leave out counts: batches seen and AdamW's steps, which are the same everywhere."""
    return value.dtype.is_floating_point and value.ndim > 0
