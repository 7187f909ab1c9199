"""Delayed SGD: trainers take turns, each gradient is of weights that are some turns old."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from typing_extensions import override

from besana.learning.flat import flat, spread
from besana.learning.learner import Learner, Learnt, prefixed
from besana.learning.recipe import Batch

_FIGURES = 2


class _Turn(NamedTuple):
    """A turn whose message is here or on its way.

    Attributes:
        message: Gradients, changes of the batch statistics, loss sum and count of samples.
        arrival: What to wait for; None when it is here.
        rate: Learning rate of the turn's batch.
        step: Batches before it.
    """

    message: torch.Tensor
    arrival: Any
    rate: float
    step: int


class Delayed(Learner):
    """Let trainers update the weights one after the other, in a fixed order, without waiting.

    Each part of a batch is a turn of its own trainer, and a step of AdamW at 1 / ranks of the
    rate. The gradient of turn u is computed on the weights after turn u - 1 - `staleness`, so a
    trainer may compute while the messages of that many turns are on their way (Langford, Smola
    and Zinkevich, 2009, "Slow learners are fast"; the bound is that of Ho et al., 2013). Which
    weights that are does not depend on who is fast, so a run can be repeated and resumed. At the
    end of an epoch all turns are waited for.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._waiting: deque[_Turn] = deque()
        self._parameters = list(self.network.parameters())
        self._statistics = list(self.network.buffers())
        if self.scaler.is_enabled():
            # A scale of the loss belongs to the weights of now, not to those of some turns ago.
            self._half, self.scaler = None, torch.amp.GradScaler(enabled=False)

    @override
    def learn(self, batch: Batch, rate: float, step: int, *, due: bool) -> Learnt | None:
        self._draws.begin_step(step)
        value = torch.zeros(())
        for rank in range(self.team.ranks):
            if rank == self.team.rank:
                self._apply_all_but(self.recipe.staleness)
                message, value = self._compute(batch)
            else:
                message = torch.zeros(self._message_size(), device=self.device)
            arrival = self.team.start_broadcast(message, rank)
            self._waiting.append(_Turn(message, arrival, rate, step))
        if due:
            # What is saved is what was computed on the weights of this turn, not later ones.
            self._apply_all_but(self.recipe.staleness)
        return Learnt(value, len(batch.valid) * self.team.ranks, due)

    @override
    def settle(self) -> None:
        self._apply_all_but(0)

    @override
    def tensors(self) -> dict[str, torch.Tensor]:
        waiting: dict[str, torch.Tensor] = {}
        for number, turn in enumerate(self._waiting):
            if turn.arrival is not None:
                turn.arrival.wait()
            figures = torch.tensor([turn.rate, turn.step], dtype=torch.float64)
            waiting |= {f"{number}/message": turn.message, f"{number}/figures": figures}
        return {**super().tensors(), **prefixed("waiting", waiting)}

    @override
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().load(tensors)
        self._waiting.clear()
        while (key := f"waiting/{len(self._waiting)}") + "/message" in tensors:
            rate, step = tensors[f"{key}/figures"].tolist()
            message = tensors[f"{key}/message"].to(self.device)
            self._waiting.append(_Turn(message, None, rate, int(step)))

    def _compute(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute this trainer's turn; the network stays as it is."""
        before = [value.clone() for value in self._statistics]
        images, truth, count = self._part(batch)
        value = self._loss(self._scores(self.network, images), truth)
        self._backward(value * min(count, 1))
        value = value.detach()
        nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
        gradients = [
            torch.zeros_like(own) if own.grad is None else own.grad for own in self._parameters
        ]
        changes = []
        for statistic, old in zip(self._statistics, before, strict=True):
            changes.append(statistic - old)
            statistic.copy_(old)
        figures = value.new_tensor([float(value) * count, count])
        return flat([*gradients, *changes, figures]), value

    def _apply_all_but(self, kept: int) -> None:
        while len(self._waiting) > kept:
            turn = self._waiting.popleft()
            if turn.arrival is not None:
                turn.arrival.wait()
            self._apply(turn)

    def _apply(self, turn: _Turn) -> None:
        of_weights = sum(own.numel() for own in self._parameters)
        gradients, changes = turn.message[:of_weights], turn.message[of_weights:-_FIGURES]
        for own in self._parameters:
            own.grad = torch.zeros_like(own)
        spread(gradients, [own.grad for own in self._parameters if own.grad is not None])
        spread(changes, self._statistics, add=True)
        self._step(turn.rate / self.team.ranks)
        self._follow(turn.step, 1 / self.team.ranks)
        self.total += turn.message[-_FIGURES].double()

    def _message_size(self) -> int:
        held = (*self._parameters, *self._statistics)
        return sum(value.numel() for value in held) + _FIGURES
