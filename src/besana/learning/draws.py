"""Random numbers of a training: for a whole batch, the same however many trainers share it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from besana.learning.team import Team
from besana.shards.order import key_of


class Draws:
    """Draw for this trainer's samples of a batch.

    Alone, everything comes from torch's generator. A team draws for all samples of the batch from
    a generator of its own, which is in the same state on all trainers, and each takes its part;
    torch's generator, from which dropout draws, begins anew at each step with the trainer's rank.

    Args:
        seed: What the generator begins with.
        team: Who shares batches.
        device: Where networks compute.
    """

    def __init__(self, seed: int, team: Team, device: torch.device) -> None:
        self._seed, self._team, self._device = seed, team, device
        self._generator = None if team.ranks == 1 else torch.Generator().manual_seed(seed)

    def begin_step(self, step: int) -> None:
        """Seed dropout, for a team."""
        if self._generator is not None:
            torch.manual_seed(key_of(self._seed, step, self._team.rank))

    def uniform(self, count: int) -> torch.Tensor:
        """Draw one number from 0 to 1 for each of this trainer's samples, (count,)."""
        if self._generator is None:
            return torch.rand(count)
        drawn = torch.rand(count * self._team.ranks, generator=self._generator)
        return drawn[self._team.rank :: self._team.ranks]

    def states(self) -> dict[str, torch.Tensor]:
        """Give the generators' states."""
        if self._generator is not None:
            return {"cpu": self._generator.get_state()}
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def load(self, states: Mapping[str, torch.Tensor]) -> None:
        """Go on from states, of any number of trainers."""
        if self._generator is not None:
            self._generator.set_state(states["cpu"])
            return
        torch.set_rng_state(states["cpu"])
        if self._device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self._device)
