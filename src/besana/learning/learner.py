"""What learns: a network, its optimiser, and the average of its weights, which is the model."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from besana.learning import optimiser
from besana.learning.appearance import Appearance
from besana.learning.draws import Draws
from besana.learning.losses import loss, one_hot
from besana.learning.recipe import Batch, Recipe
from besana.learning.team import Team
from besana.models.preprocessing import Preprocessing


class Learnt(NamedTuple):
    """What a batch came to.

    Attributes:
        loss: Mean over the samples, those of all trainers where they meet at each step.
        samples: How many there were, of all trainers.
        saves: Whether all trainers give their part of a checkpoint now.
    """

    loss: torch.Tensor
    samples: int
    saves: bool


class Learner(ABC):
    """Learn from batches; how trainers share that is what the subclasses differ in.

    Args:
        network: What to train, changed in place.
        preprocessing: What happens to its pictures.
        recipe: The numbers.
        weights: (classes,) weight of each class in the loss.
        device: Where to compute.
        team: Who learns together.

    Attributes:
        network: The network.
        average: The average of its weights.
        total: Sum of the losses of the epoch's samples, as far as the trainers have met.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        recipe: Recipe,
        weights: NDArray[np.float32],
        device: torch.device,
        team: Team,
    ) -> None:
        self.device, self.team, self.recipe = device, team, recipe
        self.network = network.to(device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self._preprocessing = preprocessing
        self._weights = torch.from_numpy(weights).to(device)
        self._draws = Draws(recipe.seed, team, device)
        self._appearance = Appearance(recipe.grey_share, recipe.blur_share, self._draws.uniform)
        self._optimiser = optimiser.create(self.network, recipe)
        half = device.type == "cuda" and recipe.precision == "auto"
        wide = half and torch.cuda.is_bf16_supported()
        self._half = (torch.bfloat16 if wide else torch.float16) if half else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=half and not wide)

    @abstractmethod
    def learn(self, batch: Batch, rate: float, step: int, *, due: bool) -> Learnt | None:
        """Learn from this trainer's part of a batch.

        Args:
            batch: The part.
            rate: Learning rate as a share of the highest.
            step: Batches learnt from before.
            due: Whether this trainer wants a checkpoint after it.

        Returns:
            What it came to; None if there was nothing to learn from.
        """

    def settle(self) -> None:  # noqa: B027  # those that meet at each step have nothing to do
        """Bring all trainers to the same network, at the end of an epoch."""

    def judged(self) -> nn.Module:
        """Give the network with the averaged weights, to be judged."""
        return self.average

    def tensors(self) -> dict[str, torch.Tensor]:
        """Give this learner's part of a checkpoint; all trainers call it together."""
        return {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", self.average.state_dict()),
            **prefixed("optimiser", optimiser.tensors(self._optimiser)),
            **prefixed("random", self._draws.states()),
            "total": self.total,
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint of any learner."""
        self.network.load_state_dict(part("network", tensors))
        self.average.load_state_dict(part("average", tensors))
        optimiser.load(self._optimiser, part("optimiser", tensors))
        self._draws.load(part("random", tensors))
        self.total = tensors["total"].to(self.device)

    def _part(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Put pictures and targets on the device; returns also how many there are.

        A trainer without any usable picture computes on one all the same, and then counts none:
        the others wait for what it sends.
        """
        count = int(batch.valid.sum())
        chosen = batch.valid
        if count == 0:
            chosen = np.arange(len(batch.valid)) == 0
        pictures, targets = batch.images, batch.labels
        if not chosen.all():
            pictures, targets = pictures[chosen], targets[chosen]
        if targets.ndim == 1:
            targets = one_hot(targets, len(self._weights))
        images = torch.from_numpy(pictures).to(self.device)
        return images, torch.from_numpy(targets.astype(np.float32)).to(self.device), count

    def _inputs(self, images: torch.Tensor) -> torch.Tensor:
        return self._appearance.change(self._preprocessing.normalise(images))

    def _scores(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            scores: torch.Tensor = network(self._inputs(images))
        return scores.float()

    def _loss(self, scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return loss(
            scores,
            truth,
            kind=self.recipe.kind,
            weights=self._weights,
            smoothing=self.recipe.label_smoothing,
        )

    def _backward(self, value: torch.Tensor) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self._optimiser)

    def _descend(self, rate: float) -> None:
        """Bound the gradient and do one step."""
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self._step(rate)

    def _step(self, rate: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * rate
        self.scaler.step(self._optimiser)
        self.scaler.update()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._half)

    @torch.no_grad()
    def _follow(self, step: int, steps: float = 1) -> None:
        """Move the average towards the network; counts and indices are copied.

        Args:
            step: Batches learnt from before the last one.
            steps: Batches since the average moved.
        """
        covered = self.recipe.average_share * (step + 2)
        decay = min(self.recipe.average_decay, covered / (1 + covered)) ** steps
        for mean, value in zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put a word before each name."""
    return {f"{prefix}/{key}": value for key, value in tensors.items()}


def part(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take those with a word before their names, without it."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
