"""The training loop of finetune and scratch: exact to resume, one loop for CPU, GPU and teams."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from besana.errors import BesanaError
from besana.learning.checkpoint import Checkpoint, Checkpoints
from besana.learning.learner import Learnt, part, prefixed
from besana.learning.losses import Scores
from besana.learning.parallel import open_learner
from besana.learning.recipe import Batch, Batches, Epoch, Outcome, Position, Recipe, Watch
from besana.learning.team import Team
from besana.models.preprocessing import Preprocessing


class Training:
    """One network in training.

    Args:
        network: What to train, changed in place.
        preprocessing: What happens to its pictures.
        recipe: The numbers.
        weights: (classes,) weight of each class in the loss.
        samples: Training samples an epoch, above 0.
        device: Where to compute.
        team: Who trains together, in the recipe's way; None to train alone.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        recipe: Recipe,
        *,
        weights: NDArray[np.float32],
        samples: int,
        device: str = "cpu",
        team: Team | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.preprocessing, self.recipe, self.samples = preprocessing, recipe, samples
        self._team = team or Team()
        self._learner = open_learner(
            recipe.parallel if team else "single",
            *(self.network, preprocessing, recipe, weights, self.device, self._team),
        )
        self._best: dict[str, torch.Tensor] = {}
        self._position = Position()
        self._checkpoint_s, self._saved_at = 0.0, 0.0

    def run(
        self,
        batches: Batches,
        checkpoints: Checkpoints,
        *,
        validate: Callable[[nn.Module], Scores] | None = None,
        checkpoint_s: float = 300.0,
        watch: Watch | None = None,
    ) -> Outcome:
        """Train, from the newest complete checkpoint if there is one.

        Args:
            batches: The training samples, shuffled and augmented; this trainer's part of each.
            checkpoints: Where to keep and find them.
            validate: Judges a network, with all trainers; None when there is nothing to validate
                on.
            checkpoint_s: Seconds between two checkpoints.
            watch: Who is told.

        Raises:
            BesanaError: If the loss is not a number any more.
        """
        with self._seeded():
            notes = self._resume(checkpoints, batches)
            self._checkpoint_s, self._saved_at = checkpoint_s, time.monotonic()
            self._go_through(batches, checkpoints, validate, watch or Watch())
            return self._outcome([*notes, *self._early_stopping(validate)])

    def begin(self, checkpoints: Checkpoints) -> None:
        """Write the checkpoint that a team begins from, unless there is one to go on from."""
        if checkpoints.newest()[0] is None:
            with self._seeded():
                checkpoints.save(Checkpoint(0, self._tensors(), self._state({})))

    def finish(self, checkpoints: Checkpoints) -> Outcome:
        """Take what a team left in its last checkpoint."""
        return self._outcome(self._resume(checkpoints))

    @contextlib.contextmanager
    def _seeded(self) -> Iterator[None]:
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.recipe.seed)
            yield

    def _early_stopping(self, validate: Callable[[nn.Module], Scores] | None) -> list[str]:
        if self.recipe.patience_epochs and validate is None:
            return ["There is no validation split, so early stopping is off."]
        return []

    def _go_through(
        self,
        batches: Batches,
        checkpoints: Checkpoints,
        validate: Callable[[nn.Module], Scores] | None,
        watch: Watch,
    ) -> None:
        position = self._position
        watch.samples(position.epoch * self.samples + position.samples)
        while position.epoch < self.recipe.epochs and not self._is_stale():
            self._epoch(batches, checkpoints, watch)
            self._end_epoch(validate, watch)
            if self._team.agrees(self._is_due(), self.device):
                self._save(batches, checkpoints)
        # So that a finished training, killed before its model was written, is not done again.
        self._save(batches, checkpoints)

    def _outcome(self, notes: list[str]) -> Outcome:
        position, network = self._position, self._learner.judged()
        if self._best:
            network.load_state_dict(self._best)
        best = position.best_epoch if self._best else position.epoch - 1
        stopped = position.epoch < self.recipe.epochs
        return Outcome(network, position.history, best, stopped, notes)

    def _is_stale(self) -> bool:
        patience = self.recipe.patience_epochs
        return 0 < patience <= self._position.stale_epochs

    def _is_due(self) -> bool:
        """Tell whether it is time for a checkpoint, by the clock of the first trainer."""
        return self._team.rank == 0 and time.monotonic() - self._saved_at >= self._checkpoint_s

    def _epoch(self, batches: Batches, checkpoints: Checkpoints, watch: Watch) -> None:
        position = self._position
        if position.samples == 0:
            batches.set_epoch(position.epoch)
        if batches.epoch != position.epoch:
            return  # it was saved after the last batch of its epoch
        self.network.train()
        begun = time.monotonic() - position.seconds
        for batch in batches:
            learnt = self._learn(batch)
            if learnt is None:
                continue
            position.step += 1
            position.samples += learnt.samples
            position.seconds = time.monotonic() - begun
            watch.samples(learnt.samples)
            watch.step(position.step, learnt.loss)
            if learnt.saves:
                self._save(batches, checkpoints)

    def _learn(self, batch: Batch) -> Learnt | None:
        return self._learner.learn(batch, self._rate(), self._position.step, due=self._is_due())

    def _end_epoch(self, validate: Callable[[nn.Module], Scores] | None, watch: Watch) -> None:
        position = self._position
        self._learner.settle()
        judged = self._learner.judged()
        epoch = Epoch(
            epoch=position.epoch,
            train_loss=float(self._learner.total) / max(position.samples, 1),
            learning_rate=self._rate() * self.recipe.learning_rate,
            seconds=position.seconds,
            validation=validate(judged) if validate else None,
        )
        if not math.isfinite(epoch.train_loss):
            raise BesanaError(
                f"The loss of epoch {epoch.epoch + 1} is {epoch.train_loss}: training diverged.",
                "Take a lower learning_rate.",
            )
        self._keep_if_best(epoch, judged)
        position.history.append(epoch)
        position.epoch += 1
        position.samples, position.seconds = 0, 0.0
        self._learner.total.zero_()
        watch.epoch(epoch)

    def _keep_if_best(self, epoch: Epoch, judged: nn.Module) -> None:
        if epoch.validation is None:
            return
        position = self._position
        if position.best_loss is None or epoch.validation.loss < position.best_loss:
            position.best_loss, position.best_epoch = epoch.validation.loss, epoch.epoch
            position.stale_epochs = 0
            self._best = {key: value.clone() for key, value in judged.state_dict().items()}
        else:
            position.stale_epochs += 1

    def _rate(self) -> float:
        """Give the learning rate as a share of the highest: a rise, then half a cosine."""
        position, recipe = self._position, self.recipe
        done = (position.epoch + min(position.samples / self.samples, 1.0)) / recipe.epochs
        if done < recipe.warmup_share:
            # The first step is not lost to a rate of 0.
            return max(done / recipe.warmup_share, 0.01)
        falling = (done - recipe.warmup_share) / max(1 - recipe.warmup_share, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(falling, 1.0)))

    def _save(self, batches: Batches, checkpoints: Checkpoints) -> None:
        tensors = self._tensors()
        if self._team.rank == 0:
            state = self._state(batches.state_dict())
            checkpoints.save(Checkpoint(self._position.step, tensors, state))
        self._saved_at = time.monotonic()

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {**self._learner.tensors(), **prefixed("best", self._best)}

    def _state(self, batches: dict[str, Any]) -> dict[str, Any]:
        return {
            "position": self._position.record(),
            "batches": batches,
            "scaler": self._learner.scaler.state_dict(),
        }

    def _resume(self, checkpoints: Checkpoints, batches: Batches | None = None) -> list[str]:
        """Go to the newest complete checkpoint; returns a sentence for each that was skipped."""
        found, notes = checkpoints.newest()
        if found is None:
            return notes
        self._learner.load(found.tensors)
        self._best = _on(self.device, part("best", found.tensors))
        self._learner.scaler.load_state_dict(found.state["scaler"])
        self._position = Position.of(found.state["position"])
        if self._position.samples and batches is not None:
            batches.load_state_dict(found.state["batches"])
        return notes


def _on(device: torch.device, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.to(device) for key, value in tensors.items()}
