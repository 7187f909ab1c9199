"""The three strategies: probe, finetune and scratch, from a dataset to a trained network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from besana.errors import ConfigError, NotReadyError
from besana.learning.checkpoint import Checkpoints
from besana.learning.embeddings import manifest_keys
from besana.learning.feature_file import gather
from besana.learning.frozen import build_for, frozen_vectors
from besana.learning.judging import targets_of
from besana.learning.launch import train_together
from besana.learning.loop import Floats, fit, identity, training_of, unseen
from besana.learning.losses import Scores, score
from besana.learning.probe import PENALTIES, Features, Probe, Samples, fit_probe, put_into
from besana.learning.recipe import Epoch, Outcome, Watch
from besana.learning.settings import TrainSettings
from besana.learning.task import Job, Listener, Task
from besana.learning.thresholds import best_thresholds
from besana.models.network import Built
from besana.shards.memory import usable_processors

if TYPE_CHECKING:
    from besana.shards.manifest import Positions


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
        if task.settings.parallel != "single":
            raise ConfigError(
                "A probe is fitted by one trainer.", "Leave parallel out, or take finetune."
            )
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
    settings = task.settings
    listener.begin("embed", len(positions))
    group = np.asarray(task.manifest.column("group"))[positions]
    with _features(task, trained, positions, group, listener) as features:
        samples = Samples(
            features,
            targets_of(task.manifest, positions, task.classes),
            group,
            task.manifest.fold[positions],
            task.dataset.kind,
        )
        probe = fit_probe(
            samples,
            balance=settings.class_balance,
            penalties=settings.penalties or PENALTIES,
            seed=settings.seed,
        )
    put_into(trained.built.network, probe.linear)
    trained.notes += probe.notes
    return probe


@contextlib.contextmanager
def _features(
    task: Task,
    trained: Trained,
    positions: Positions,
    group: NDArray[np.integer],
    listener: Listener,
) -> Iterator[Features]:
    """Give samples' vectors: in a file that goes with the block, or in the store for Spark."""
    stored, notes = frozen_vectors(
        task.settings,
        trained.built,
        task.manifest,
        positions,
        shards=task.shards,
        embeddings=task.embeddings,
        device=task.device,
        advance=listener.advance,
    )
    trained.notes += notes
    if task.cluster and task.settings.strategy == "probe":
        from besana.learning.cluster_head import StoredFeatures

        keys = manifest_keys(task.manifest, positions)
        yield StoredFeatures(stored, keys, group, task.settings.seed)
        return
    path = task.temporary / f"features-{task.checkpoints.parent.name}.f16"
    try:
        yield gather(stored, task.manifest, positions, path)
    finally:
        path.unlink(missing_ok=True)


def _train_loop(task: Task, trained: Trained, listener: Listener) -> None:
    if task.settings.folds:
        _train_folds(task, trained, listener)
    positions = task.positions("train")
    if task.settings.weights_origin != "random":
        # A probe first: a random classifier would tear at the pretrained weights (Kumar et al.,
        # 2022, "Fine-tuning can distort pretrained features").
        _probe(task, trained, positions, listener)
    outcome = run_loop(task, trained.built, positions, task.checkpoints, listener, validated=True)
    trained.built = replace(trained.built, network=outcome.network)
    trained.history = outcome.history
    trained.notes += outcome.notes
    trained.metrics["best_epoch"] = outcome.best_epoch
    if task.settings.parallel != "single":
        trained.metrics["trainers"] = task.settings.trainers
        trained.metrics["sent_bytes"] = outcome.sent_bytes
    if outcome.stopped_early:
        trained.notes.append(f"Stopped after epoch {len(outcome.history)}: no better validation.")


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
    outcome = run_loop(task, built, seen, checkpoints, listener, validated=False)
    targets = targets_of(task.manifest, held, task.classes)
    probability, truth = unseen(task, outcome.network, built, held, targets)
    scores = score(probability, truth, kind=task.dataset.kind)
    return {"fold": number, "train_samples": len(seen), "samples": len(held), **scores._asdict()}


def _add_validation(task: Task, trained: Trained) -> None:
    positions = task.positions("validation")
    if not len(positions):
        return
    network = trained.built.network.to(task.device)
    targets = targets_of(task.manifest, positions, task.classes)
    probability, truth = unseen(task, network, trained.built, positions, targets)
    _add_scores(trained.metrics, "validation", score(probability, truth, kind=task.dataset.kind))
    if not trained.thresholds:
        _add_thresholds(task, trained, probability, truth)


def _add_thresholds(task: Task, trained: Trained, probability: Floats, truth: Floats) -> None:
    if task.dataset.kind == "multi":
        trained.thresholds = best_thresholds(probability, truth, task.dataset.classes)


def _add_scores(metrics: dict[str, float], prefix: str, scores: Scores | None) -> None:
    if scores is not None:
        metrics.update({f"{prefix}_{name}": value for name, value in scores._asdict().items()})


def run_loop(
    task: Task,
    built: Built,
    positions: Positions,
    checkpoints: Path,
    listener: Listener,
    *,
    validated: bool,
) -> Outcome:
    """Train a network, from the newest checkpoint if there is one.

    Args:
        task: What to work on.
        built: The network to begin with.
        positions: The training samples.
        checkpoints: Where checkpoints lie.
        listener: Who is told.
        validated: Whether to judge the validation split after each epoch.

    Raises:
        ConfigError: If trainers cannot share a batch.
        BesanaError: If training diverged, or trainers were lost again and again.
    """
    settings = task.settings
    listener.begin(settings.strategy, settings.passes(len(positions)) * len(positions))
    watch = Watch(step=listener.step, epoch=listener.epoch, samples=listener.advance)
    if settings.parallel == "single":
        return fit(task, built, positions, checkpoints, watch, validated=validated)
    _check_shares(settings, len(positions))
    training = training_of(task, built, positions, validated=validated)
    place = Checkpoints(checkpoints, identity(task))
    training.begin(place)
    told = train_together(Job(task, positions, checkpoints, validated), watch)
    outcome = training.finish(place)
    outcome.notes.extend(told.notes)
    return replace(outcome, sent_bytes=told.sent_bytes)


def _check_shares(settings: TrainSettings, samples: int) -> None:
    batch = settings.batch(samples)
    if batch % settings.trainers:
        raise ConfigError(
            f"{settings.trainers} trainers cannot share a batch of {batch} samples.",
            f"Set batch_size to a multiple of {settings.trainers}.",
        )
