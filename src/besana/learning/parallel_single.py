"""Single: one trainer, alone."""

from __future__ import annotations

from typing_extensions import override

from besana.learning.learner import Learner, Learnt
from besana.learning.recipe import Batch


class Single(Learner):
    """Do one optimiser step a batch."""

    @override
    def learn(self, batch: Batch, rate: float, step: int, *, due: bool) -> Learnt | None:
        images, truth, count = self._part(batch)
        if count == 0:
            return None
        value = self._loss(self._scores(self.network, images), truth)
        self._backward(value)
        self._descend(rate)
        self._follow(step)
        self.total += value.detach() * count
        return Learnt(value.detach(), count, due)
