"""Hybrid: each trainer has a part of the pictures for the body, and of the classes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from besana.learning import optimiser
from besana.learning.flat import flat, spread
from besana.learning.learner import Learner, Learnt, part, prefixed
from besana.learning.parallel_ddp import call_the_roll
from besana.learning.recipe import Batch
from besana.learning.shared_norm import share_norms
from besana.learning.team import Team
from besana.models.network import features, linear_head


class Hybrid(Learner):
    """Convolutions data-parallel, classifier tensor-parallel (Krizhevsky, 2014).

    Every trainer gets the vectors of the whole batch, computes the scores of its own classes, and
    gets the other scores: the gradient of the classifier is never sent. The step is that of one
    trainer with the whole batch, but for rounding.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._whole = copy.deepcopy(self.average)
        share_norms(self.network, self.team)
        self._slices = _Slices(self.network, self.team)
        for network in (self.network, self.average):
            self._slices.cut(linear_head(network))
        self._optimiser = optimiser.create(self.network, self.recipe)
        self._head = list(linear_head(self.network).parameters())
        own = {id(parameter) for parameter in self._head}
        self._body = [p for p in self.network.parameters() if id(p) not in own]

    @override
    def learn(self, batch: Batch, rate: float, step: int, *, due: bool) -> Learnt | None:
        self._draws.begin_step(step)
        images, truth, count = self._part(batch)
        with self._autocast():
            vectors = features(self.network, self._inputs(images)).float()
        used = torch.full((len(images),), float(count > 0), device=self.device)
        everyones = self._padded(vectors, truth, used, len(batch.valid))
        vectors, truth, used = (gathered.flatten(0, 1) for gathered in everyones)
        scores = _GatherClasses.apply(
            linear_head(self.network)(vectors), self._slices.sizes, self.team
        )
        value = self._loss(scores[used > 0], truth[used > 0])
        learnt, _ = call_the_roll(self.team, value.detach(), count, due=due)
        self._backward(value)
        self._sum_body()
        self._bound()
        self._step(rate)
        self._follow(step)
        self.total += learnt.loss * learnt.samples
        return learnt

    @override
    def judged(self) -> nn.Module:
        self._whole.load_state_dict(self._slices.gathered(self.average.state_dict()))
        return self._whole

    @override
    def tensors(self) -> dict[str, torch.Tensor]:
        plain = super().tensors()
        for name in ("network", "average"):
            plain |= prefixed(name, self._slices.gathered(part(name, plain)))
        states = optimiser.tensors(self._optimiser)
        return plain | prefixed("optimiser", self._slices.gathered(states, self._numbers()))

    @override
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        own = dict(tensors)
        for name in ("network", "average"):
            own |= prefixed(name, self._slices.own(part(name, tensors)))
        states = self._slices.own(part("optimiser", tensors), self._numbers())
        super().load(own | prefixed("optimiser", states))

    def _padded(
        self, vectors: torch.Tensor, truth: torch.Tensor, used: torch.Tensor, rows: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gather what all trainers have; parts with unusable pictures are filled up."""
        missing = rows - len(vectors)
        if missing:
            vectors, truth = (
                nn.functional.pad(each, (0, 0, 0, missing)) for each in (vectors, truth)
            )
            used = nn.functional.pad(used, (0, missing))
        gathered: torch.Tensor = _GatherSamples.apply(vectors, self.team)
        return gathered, self.team.gather(truth), self.team.gather(used)

    def _sum_body(self) -> None:
        gradients = [own.grad for own in self._body if own.grad is not None]
        spread(self.team.sum(flat(gradients)), gradients)

    def _bound(self) -> None:
        """Bound the length of the whole gradient, of which each has a part."""
        body, head = (_squares(each) for each in (self._body, self._head))
        length = (body + self.team.sum(head)).sqrt()
        factor = (self.recipe.clip_norm / (length + 1e-6)).clamp(max=1.0)
        for parameter in (*self._body, *self._head):
            if parameter.grad is not None:
                parameter.grad.mul_(factor)

    def _numbers(self) -> set[str]:
        """Find the classifier's parameters by their numbers in the optimiser."""
        own = {id(parameter) for parameter in self._head}
        groups = self._optimiser.param_groups
        ordered = [parameter for group in groups for parameter in group["params"]]
        return {str(number) for number, each in enumerate(ordered) if id(each) in own}


class _Slices:
    """Which classes each trainer has: as many as the next one, or one more."""

    def __init__(self, network: nn.Module, team: Team) -> None:
        head = linear_head(network)
        names = [name for name, module in network.named_modules() if module is head]
        self._names = {f"{names[0]}.weight", f"{names[0]}.bias"}
        self._team = team
        least, more = divmod(head.out_features, team.ranks)
        self.sizes = [least + (rank < more) for rank in range(team.ranks)]

    def cut(self, head: nn.Linear) -> None:
        """Leave a classifier its own classes only."""
        for name, whole in list(head.named_parameters()):
            own = nn.Parameter(self._own(whole.detach()), requires_grad=whole.requires_grad)
            setattr(head, name, own)
        head.out_features = self.sizes[self._team.rank]

    def gathered(
        self, tensors: Mapping[str, torch.Tensor], names: set[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Put the classes of all trainers together again."""
        return {
            name: self._whole(value) if self._is_cut(name, value, names) else value
            for name, value in tensors.items()
        }

    def own(
        self, tensors: Mapping[str, torch.Tensor], names: set[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Take this trainer's classes."""
        return {
            name: self._own(value) if self._is_cut(name, value, names) else value
            for name, value in tensors.items()
        }

    def _is_cut(self, name: str, value: torch.Tensor, names: set[str] | None) -> bool:
        if names is None:
            return name in self._names
        return name.partition("/")[0] in names and value.ndim > 0

    def _own(self, whole: torch.Tensor) -> torch.Tensor:
        return torch.split(whole, self.sizes)[self._team.rank].clone()

    def _whole(self, own: torch.Tensor) -> torch.Tensor:
        filled = own.new_zeros((max(self.sizes), *own.shape[1:]))
        filled[: len(own)] = own
        parts = zip(self._team.gather(filled), self.sizes, strict=True)
        return torch.cat([part[:size] for part, size in parts])


class _GatherSamples(torch.autograd.Function):
    """Give all trainers the vectors of all; gradients of own vectors come back from all."""

    @staticmethod
    def forward(context: Any, own: torch.Tensor, team: Team) -> torch.Tensor:
        """Gather, (ranks, samples, features)."""
        context.team = team
        return team.gather(own)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Add up what each trainer's classes say about own vectors."""
        return context.team.sum(gradient.contiguous())[context.team.rank], None


class _GatherClasses(torch.autograd.Function):
    """Give all trainers the scores of all classes, (samples, classes)."""

    @staticmethod
    def forward(context: Any, own: torch.Tensor, sizes: list[int], team: Team) -> torch.Tensor:
        """Gather."""
        context.own = slice(sum(sizes[: team.rank]), sum(sizes[: team.rank + 1]))
        filled = own.new_zeros((len(own), max(sizes)))
        filled[:, : own.shape[1]] = own
        parts = zip(team.gather(filled), sizes, strict=True)
        return torch.cat([part[:, :size] for part, size in parts], dim=1)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Take the columns of own classes: every trainer has the whole loss."""
        return gradient[:, context.own].contiguous(), None, None


def _squares(parameters: list[nn.Parameter]) -> torch.Tensor:
    norms = [parameter.grad.norm() for parameter in parameters if parameter.grad is not None]
    return torch.stack(norms).square().sum()
