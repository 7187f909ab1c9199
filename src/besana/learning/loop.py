"""Train one network on some samples, alone or with others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from besana.learning.checkpoint import Checkpoints
from besana.learning.judging import judge, targets_of
from besana.learning.losses import Scores, class_weights, score
from besana.learning.recipe import Outcome, Recipe, Watch
from besana.learning.settings import TrainSettings
from besana.learning.task import Task
from besana.learning.team import Team
from besana.learning.training import Training
from besana.models.model import classes_hash
from besana.models.network import Built
from besana.shards.augment import Augment
from besana.shards.loader import Loader
from besana.shards.memory import usable_processors

if TYPE_CHECKING:
    from besana.shards.manifest import Positions

Floats = NDArray[np.float32]


def fit(
    task: Task,
    built: Built,
    positions: Positions,
    checkpoints: Path,
    watch: Watch,
    *,
    validated: bool,
    team: Team | None = None,
) -> Outcome:
    """Train in this process: alone, or as one of a team."""
    training = training_of(task, built, positions, validated=validated, team=team)
    with _loader(task, built, positions, team or Team()) as loader:
        outcome = training.run(
            loader,
            Checkpoints(checkpoints, identity(task)),
            validate=_validation(task, built, team or Team()) if validated else None,
            checkpoint_s=60 * task.settings.checkpoint_minutes,
            watch=watch,
        )
        outcome.notes.extend(loader.dropped())
    return outcome


def training_of(
    task: Task, built: Built, positions: Positions, *, validated: bool, team: Team | None = None
) -> Training:
    """Make what trains a network on samples, alone or as one of a team."""
    targets = targets_of(task.manifest, positions, task.classes)
    return Training(
        built.network,
        built.preprocessing,
        _recipe(task, len(positions), validated=validated),
        weights=class_weights(targets, task.settings.class_balance),
        samples=len(positions),
        device=team.device if team else task.device,
        team=team,
    )


def _loader(task: Task, built: Built, positions: Positions, team: Team) -> Loader:
    settings = task.settings
    threads = settings.threads or usable_processors()
    return Loader(
        task.manifest,
        None,
        settings.batch(len(positions)),
        built.preprocessing.size_px,
        task.shards,
        positions=positions,
        seed=settings.seed,
        shuffle="global" if task.shards.local_path("x") else "block",
        rank=team.rank,
        ranks=team.ranks,
        augment=_augment(settings),
        threads=max(1, threads // team.neighbours),
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
        parallel=settings.parallel,
        sync_steps=settings.sync_steps,
        staleness=settings.staleness,
    )


def identity(task: Task) -> dict[str, str]:
    """Give what has to be equal for a checkpoint to fit."""
    return {
        "classes": classes_hash(task.dataset.classes),
        "dataset": task.dataset.fingerprint,
        "settings": task.settings.identity(),
    }


def _validation(task: Task, built: Built, team: Team) -> Callable[[nn.Module], Scores] | None:
    """Judge the validation split, each trainer its part; all get the same scores."""
    positions = task.positions("validation")
    if not len(positions):
        return None
    targets = targets_of(task.manifest, positions, task.classes)

    def validate(network: nn.Module) -> Scores:
        probability, truth = unseen(task, network, built, positions, targets, team)
        return score(probability, truth, kind=task.dataset.kind)

    return validate


def unseen(
    task: Task,
    network: nn.Module,
    built: Built,
    positions: Positions,
    targets: Floats,
    team: Team | None = None,
) -> tuple[Floats, Floats]:
    """Judge samples; returns probabilities and truth of those that could be read."""
    team = team or Team()
    whole = np.zeros(targets.shape, np.float32)
    own = slice(team.rank, None, team.ranks)
    if len(positions[own]):
        whole[own] = judge(
            network,
            built.preprocessing,
            task.dataset.kind,
            task.manifest,
            positions[own],
            task.shards,
        )
    if team.ranks > 1:
        whole = team.sum(torch.from_numpy(whole).to(team.device)).cpu().numpy()
    usable = ~np.isnan(whole).any(axis=1)
    return whole[usable], targets[usable]
