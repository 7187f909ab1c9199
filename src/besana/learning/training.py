"""The training loop of finetune and scratch: exact to resume, one loop for CPU and GPU."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from besana.errors import BesanaError
from besana.learning import optimiser
from besana.learning.appearance import Appearance
from besana.learning.checkpoint import Checkpoint, Checkpoints
from besana.learning.losses import Scores, loss, one_hot
from besana.learning.recipe import Batch, Batches, Epoch, Outcome, Position, Recipe, Watch
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
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.preprocessing, self.recipe, self.samples = preprocessing, recipe, samples
        self._weights = torch.from_numpy(weights).to(self.device)
        self._appearance = Appearance(recipe.grey_share, recipe.blur_share)
        self._optimiser = optimiser.create(self.network, recipe)
        half = self.device.type == "cuda" and recipe.precision == "auto"
        wide = half and torch.cuda.is_bf16_supported()
        self._half = (torch.bfloat16 if wide else torch.float16) if half else None
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=half and not wide)
        self._best: dict[str, torch.Tensor] = {}
        self._position = Position()
        self._total = torch.zeros((), dtype=torch.float64, device=self.device)

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
            batches: The training samples, shuffled and augmented.
            checkpoints: Where to keep and find them.
            validate: Judges a network; None when there is nothing to validate on.
            checkpoint_s: Seconds between two checkpoints.
            watch: Who is told.

        Raises:
            BesanaError: If the loss is not a number any more.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.recipe.seed)
            return self._run(batches, checkpoints, validate, checkpoint_s, watch or Watch())

    def _run(
        self,
        batches: Batches,
        checkpoints: Checkpoints,
        validate: Callable[[nn.Module], Scores] | None,
        checkpoint_s: float,
        watch: Watch,
    ) -> Outcome:
        notes = self._resume(batches, checkpoints)
        patience = self.recipe.patience_epochs
        if patience and validate is None:
            notes.append("There is no validation split, so early stopping is off.")
        position, saved_at = self._position, time.monotonic()
        watch.samples(position.epoch * self.samples + position.samples)

        def save_in_time() -> None:
            nonlocal saved_at
            if time.monotonic() - saved_at >= checkpoint_s:
                self._save(batches, checkpoints)
                saved_at = time.monotonic()

        while position.epoch < self.recipe.epochs and not self._is_stale():
            self._epoch(batches, watch, save_in_time)
            self._end_epoch(validate, watch)
            save_in_time()
        # So that a finished training, killed before its model was written, is not done again.
        self._save(batches, checkpoints)
        if self._best:
            self.average.load_state_dict(self._best)
        best = position.best_epoch if self._best else position.epoch - 1
        stopped = position.epoch < self.recipe.epochs
        return Outcome(self.average, position.history, best, stopped, notes)

    def _is_stale(self) -> bool:
        patience = self.recipe.patience_epochs
        return 0 < patience <= self._position.stale_epochs

    def _epoch(self, batches: Batches, watch: Watch, save_in_time: Callable[[], None]) -> None:
        position = self._position
        if position.samples == 0:
            batches.set_epoch(position.epoch)
        if batches.epoch != position.epoch:
            return  # it was saved after the last batch of its epoch
        self.network.train()
        begun = time.monotonic() - position.seconds
        for batch in batches:
            count = int(batch.valid.sum())
            if count == 0:
                continue
            value = self._learn(batch)
            self._total += value * count
            position.step += 1
            position.samples += count
            position.seconds = time.monotonic() - begun
            watch.samples(count)
            watch.step(position.step, value)
            save_in_time()

    def _end_epoch(self, validate: Callable[[nn.Module], Scores] | None, watch: Watch) -> None:
        position = self._position
        epoch = Epoch(
            epoch=position.epoch,
            train_loss=float(self._total) / max(position.samples, 1),
            learning_rate=self._rate() * self.recipe.learning_rate,
            seconds=position.seconds,
            validation=validate(self.average) if validate else None,
        )
        if not math.isfinite(epoch.train_loss):
            raise BesanaError(
                f"The loss of epoch {epoch.epoch + 1} is {epoch.train_loss}: training diverged.",
                "Take a lower learning_rate.",
            )
        self._keep_if_best(epoch)
        position.history.append(epoch)
        position.epoch += 1
        position.samples, position.seconds = 0, 0.0
        self._total.zero_()
        watch.epoch(epoch)

    def _keep_if_best(self, epoch: Epoch) -> None:
        if epoch.validation is None:
            return
        position = self._position
        if position.best_loss is None or epoch.validation.loss < position.best_loss:
            position.best_loss, position.best_epoch = epoch.validation.loss, epoch.epoch
            position.stale_epochs = 0
            self._best = {key: value.clone() for key, value in self.average.state_dict().items()}
        else:
            position.stale_epochs += 1

    def _learn(self, batch: Batch) -> torch.Tensor:
        """Do one optimiser step; returns the batch's loss."""
        recipe = self.recipe
        pictures, targets = batch.images, batch.labels
        if not batch.valid.all():
            pictures, targets = pictures[batch.valid], targets[batch.valid]
        if targets.ndim == 1:
            targets = one_hot(targets, len(self._weights))
        images = torch.from_numpy(pictures).to(self.device)
        truth = torch.from_numpy(targets.astype(np.float32)).to(self.device)
        rate = self._rate()
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * rate
        with self._autocast():
            inputs = self._appearance.change(self.preprocessing.normalise(images))
            scores = self.network(inputs)
        value = loss(
            scores.float(),
            truth,
            kind=recipe.kind,
            weights=self._weights,
            smoothing=recipe.label_smoothing,
        )
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._follow()
        return value.detach()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._half)

    def _rate(self) -> float:
        """Give the learning rate as a share of the highest: a rise, then half a cosine."""
        position, recipe = self._position, self.recipe
        done = (position.epoch + min(position.samples / self.samples, 1.0)) / recipe.epochs
        if done < recipe.warmup_share:
            # The first step is not lost to a rate of 0.
            return max(done / recipe.warmup_share, 0.01)
        falling = (done - recipe.warmup_share) / max(1 - recipe.warmup_share, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(falling, 1.0)))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the network; counts and indices are copied."""
        covered = self.recipe.average_share * (self._position.step + 2)
        decay = min(self.recipe.average_decay, covered / (1 + covered))
        for mean, value in zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def _save(self, batches: Batches, checkpoints: Checkpoints) -> None:
        tensors = {
            **_prefixed("network", self.network.state_dict()),
            **_prefixed("average", self.average.state_dict()),
            **_prefixed("best", self._best),
            **_prefixed("optimiser", optimiser.tensors(self._optimiser)),
            **_prefixed("random", _random_state(self.device)),
            "total": self._total,
        }
        state = {
            "position": self._position.record(),
            "batches": batches.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        checkpoints.save(Checkpoint(self._position.step, tensors, state))

    def _resume(self, batches: Batches, checkpoints: Checkpoints) -> list[str]:
        """Go to the newest complete checkpoint; returns a sentence for each that was skipped."""
        found, notes = checkpoints.newest()
        if found is None:
            return notes
        self.network.load_state_dict(_part("network", found.tensors))
        self.average.load_state_dict(_part("average", found.tensors))
        self._best = {
            key: value.to(self.device) for key, value in _part("best", found.tensors).items()
        }
        optimiser.load(self._optimiser, _part("optimiser", found.tensors))
        _set_random_state(_part("random", found.tensors), self.device)
        self._total = found.tensors["total"].to(self.device)
        self._scaler.load_state_dict(found.state["scaler"])
        self._position = Position.of(found.state["position"])
        if self._position.samples:
            batches.load_state_dict(found.state["batches"])
        return notes


def _prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}/{key}": value for key, value in tensors.items()}


def _part(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
