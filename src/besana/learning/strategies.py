"""The three strategies: probe, finetune and scratch, from a dataset to a trained network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from besana.errors import NotReadyError
from besana.learning.checkpoint import Checkpoints
from besana.learning.frozen import build_for, frozen_features
from besana.learning.judging import judge, targets_of
from besana.learning.losses import Scores, class_weights, score
from besana.learning.probe import PENALTIES, Probe, Samples, fit_probe, put_into
from besana.learning.recipe import Epoch, Outcome, Recipe, Watch
from besana.learning.settings import TrainSettings
from besana.learning.thresholds import best_thresholds
from besana.learning.training import Training
from besana.models.model import classes_hash
from besana.models.network import Built
from besana.shards.augment import Augment
from besana.shards.datasets import Dataset
from besana.shards.loader import Loader
from besana.shards.memory import usable_processors
from besana.storage import Storage

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions


Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """What a training works on.

    Attributes:
        settings: How to train.
        dataset: What to learn.
        manifest: Its index.
        shards: Where the shards lie.
        embeddings: Where vectors lie, by backbone.
        temporary: Scratch space.
        checkpoints: Where this run's checkpoints lie.
        device: Where to compute.
    """

    settings: TrainSettings
    dataset: Dataset
    manifest: Manifest
    shards: Storage
    embeddings: Storage
    temporary: Path
    checkpoints: Path
    device: str

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.dataset.classes)

    def positions(self, split: str) -> Positions:
        """Samples of a split; none when the dataset has no such split."""
        if split not in self.manifest.splits:
            return np.empty(0, np.int64)
        return self.manifest.select(split)


@dataclass(frozen=True)
class Listener:
    """Who is told how a training goes.

    Attributes:
        begin: Called with what begins and how many samples it will go through.
        advance: Called with a number of samples that are done.
        epoch: Called after each epoch.
        step: Called after each step with its number and loss.
    """

    begin: Callable[[str, int], None] = lambda _what, _total: None
    advance: Callable[[int], None] = lambda _count: None
    epoch: Callable[[Epoch], None] = lambda _epoch: None
    step: Callable[[int, Any], None] = lambda _step, _loss: None


@dataclass
class Trained:
    """A trained network and what is to be told about it.

    Attributes:
        built: The network with its preprocessing and the origin of its weights.
        history: Epochs; none for a probe.
        losses: Penalty to cross-validated log loss; of a probe only.
        metrics: Figures by name, snake_case.
        folds: One entry a fold of the dataset: its number, its samples and their scores.
        thresholds: Probability from which each class holds, when several may.
        notes: Sentences about what was skipped or switched off.
    """

    built: Built
    history: list[Epoch] = field(default_factory=list)
    losses: dict[float, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    folds: list[dict[str, float]] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def train(task: Task, listener: Listener | None = None) -> Trained:
    """Train by the strategy of the settings.

    Raises:
        ConfigError: If the backbone or its weights do not fit.
        NotFoundError: If weights are not there and cannot be fetched.
        NotReadyError: If the dataset has nothing to train on.
    """
    if not len(task.positions("train")):
        raise NotReadyError(f"Dataset {task.dataset.place} has no training sample.", "Label more.")
    listener = listener or Listener()
    torch.set_num_threads(task.settings.threads or usable_processors())
    built = build_for(task.settings, task.dataset)
    trained = Trained(built)
    if task.settings.strategy == "probe":
        _train_probe(task, trained, listener)
    else:
        _train_loop(task, trained, listener)
    _add_validation(task, trained)
    return trained


def _train_probe(task: Task, trained: Trained, listener: Listener) -> None:
    probe = _probe(task, trained, task.positions("train"), listener)
    trained.losses = probe.losses
    trained.metrics["penalty"] = probe.penalty
    _add_scores(trained.metrics, "grouped_folds", probe.grouped)
    _add_scores(trained.metrics, "random_folds", probe.random)
    if probe.unseen is not None:
        _add_thresholds(task, trained, *probe.unseen)


def _probe(task: Task, trained: Trained, positions: Positions, listener: Listener) -> Probe:
    """Fit a probe on a network's body and make it the network's classifier."""
    built, settings = trained.built, task.settings
    listener.begin("embed", len(positions))
    path = task.temporary / f"features-{task.checkpoints.parent.name}.f16"
    try:
        features, notes = frozen_features(
            settings,
            built,
            task.manifest,
            positions,
            shards=task.shards,
            embeddings=task.embeddings,
            path=path,
            device=task.device,
            advance=listener.advance,
        )
        samples = Samples(
            features,
            targets_of(task.manifest, positions, task.classes),
            np.asarray(task.manifest.column("group"))[positions],
            task.manifest.fold[positions],
            task.dataset.kind,
        )
        probe = fit_probe(
            samples,
            balance=settings.class_balance,
            penalties=settings.penalties or PENALTIES,
            seed=settings.seed,
        )
    finally:
        path.unlink(missing_ok=True)
    put_into(built.network, probe.linear)
    trained.notes += [*notes, *probe.notes]
    return probe


def _train_loop(task: Task, trained: Trained, listener: Listener) -> None:
    if task.settings.folds:
        _train_folds(task, trained, listener)
    positions = task.positions("train")
    if task.settings.weights_origin != "random":
        # A probe first: a random classifier would tear at the pretrained weights (Kumar et al.,
        # 2022, "Fine-tuning can distort pretrained features").
        _probe(task, trained, positions, listener)
    outcome = _loop(task, trained.built, positions, task.checkpoints, listener, validated=True)
    trained.built = replace(trained.built, network=outcome.network)
    trained.history = outcome.history
    trained.notes += outcome.notes
    trained.metrics["best_epoch"] = outcome.best_epoch
    if outcome.stopped_early:
        trained.notes.append(f"Stopped after epoch {len(outcome.history)}: no better validation.")


def _loop(
    task: Task,
    built: Built,
    positions: Positions,
    checkpoints: Path,
    listener: Listener,
    *,
    validated: bool,
) -> Outcome:
    settings, targets = task.settings, targets_of(task.manifest, positions, task.classes)
    recipe = _recipe(task, len(positions), validated=validated)
    training = Training(
        built.network,
        built.preprocessing,
        recipe,
        weights=class_weights(targets, settings.class_balance),
        samples=len(positions),
        device=task.device,
    )
    listener.begin(settings.strategy, recipe.epochs * len(positions))
    with _loader(task, built, positions) as loader:
        outcome = training.run(
            loader,
            Checkpoints(checkpoints, _identity(task)),
            validate=_validation(task, built) if validated else None,
            checkpoint_s=60 * settings.checkpoint_minutes,
            watch=Watch(step=listener.step, epoch=listener.epoch, samples=listener.advance),
        )
        outcome.notes.extend(loader.dropped())
    return outcome


def _loader(task: Task, built: Built, positions: Positions) -> Loader:
    settings = task.settings
    return Loader(
        task.manifest,
        None,
        settings.batch(len(positions)),
        built.preprocessing.size_px,
        task.shards,
        positions=positions,
        seed=settings.seed,
        shuffle="global" if task.shards.local_path("x") else "block",
        augment=_augment(settings),
        threads=settings.threads or None,
        on_error="substitute",
    )


def _augment(settings: TrainSettings) -> Augment | None:
    if settings.augment == "none":
        return None
    turned = settings.augment == "turned"
    return Augment(
        crop_area_share=(settings.least_crop_share, 1.0),
        flip_vertical_share=0.5 if turned else 0.0,
        quarter_turns=turned,
        brightness=settings.light,
        contrast=settings.light,
        saturation=settings.light,
    )


def _recipe(task: Task, samples: int, *, validated: bool) -> Recipe:
    settings = task.settings
    return Recipe(
        epochs=settings.passes(samples),
        learning_rate=settings.rate,
        head_factor=settings.head_rate_factor,
        layer_decay=settings.layer_decay,
        weight_decay=settings.weight_decay,
        warmup_share=settings.warmup_share,
        label_smoothing=settings.label_smoothing,
        average_share=settings.averaged_share,
        average_decay=settings.highest_decay,
        patience_epochs=settings.patience_epochs if validated else 0,
        kind=task.dataset.kind,
        seed=settings.seed,
        precision=settings.precision,
        grey_share=settings.appearance_share(settings.colourless_share),
        blur_share=settings.appearance_share(settings.blurred_share),
    )


def _identity(task: Task) -> dict[str, str]:
    return {
        "classes": classes_hash(task.dataset.classes),
        "dataset": task.dataset.fingerprint,
        "settings": task.settings.identity(),
    }


def _validation(task: Task, built: Built) -> Callable[[nn.Module], Scores] | None:
    positions = task.positions("validation")
    if not len(positions):
        return None
    targets = targets_of(task.manifest, positions, task.classes)

    def validate(network: nn.Module) -> Scores:
        return _judged(task, network, built, positions, targets)

    return validate


def _judged(
    task: Task, network: nn.Module, built: Built, positions: Positions, targets: Floats
) -> Scores:
    probability, truth = _unseen(task, network, built, positions, targets)
    return score(probability, truth, kind=task.dataset.kind)


def _unseen(
    task: Task, network: nn.Module, built: Built, positions: Positions, targets: Floats
) -> tuple[Floats, Floats]:
    """Judge samples; returns probabilities and truth of those that could be read."""
    probability = judge(
        network, built.preprocessing, task.dataset.kind, task.manifest, positions, task.shards
    )
    usable = ~np.isnan(probability).any(axis=1)
    return probability[usable], targets[usable]


def _train_folds(task: Task, trained: Trained, listener: Listener) -> None:
    """Train once for each fold and score it on what it did not see."""
    numbers = sorted(set(task.manifest.fold[task.manifest.fold >= 0].tolist()))
    if len(numbers) < 2:
        trained.notes.append("The dataset has no folds: run besana split with --folds 5.")
        return
    trained.folds = [_train_fold(task, number, listener) for number in numbers]
    for name in Scores._fields:
        values = [fold[name] for fold in trained.folds]
        trained.metrics[f"folds_{name}"] = float(np.mean(values))
        trained.metrics[f"folds_{name}_deviation"] = float(np.std(values))


def _train_fold(task: Task, number: int, listener: Listener) -> dict[str, float]:
    seen, held = (task.manifest.select(None, (number, part)) for part in ("train", "validation"))
    built = build_for(task.settings, task.dataset)
    fold = Trained(built)
    if task.settings.weights_origin != "random":
        _probe(task, fold, seen, listener)
    checkpoints = task.checkpoints.with_name(f"checkpoints-fold-{number}")
    outcome = _loop(task, built, seen, checkpoints, listener, validated=False)
    targets = targets_of(task.manifest, held, task.classes)
    scores = _judged(task, outcome.network, built, held, targets)
    return {"fold": number, "train_samples": len(seen), "samples": len(held), **scores._asdict()}


def _add_validation(task: Task, trained: Trained) -> None:
    positions = task.positions("validation")
    if not len(positions):
        return
    network = trained.built.network.to(task.device)
    targets = targets_of(task.manifest, positions, task.classes)
    probability, truth = _unseen(task, network, trained.built, positions, targets)
    _add_scores(trained.metrics, "validation", score(probability, truth, kind=task.dataset.kind))
    if not trained.thresholds:
        _add_thresholds(task, trained, probability, truth)


def _add_thresholds(task: Task, trained: Trained, probability: Floats, truth: Floats) -> None:
    if task.dataset.kind == "multi":
        trained.thresholds = best_thresholds(probability, truth, task.dataset.classes)


def _add_scores(metrics: dict[str, float], prefix: str, scores: Scores | None) -> None:
    if scores is not None:
        metrics.update({f"{prefix}_{name}": value for name, value in scores._asdict().items()})
