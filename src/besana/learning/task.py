"""What a training works on, and who is told how it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from besana.learning.recipe import Epoch
from besana.learning.settings import TrainSettings
from besana.shards.datasets import Dataset
from besana.storage import Storage

if TYPE_CHECKING:
    from besana.learning.team import Team
    from besana.shards.manifest import Manifest, Positions


@dataclass(frozen=True)
class Task:
    """What a training works on.

    Attributes:
        settings: How to train.
        dataset: What to learn.
        shards: Where the shards lie.
        embeddings: Where vectors lie, by backbone.
        temporary: Scratch space.
        checkpoints: Where this run's checkpoints lie.
        device: Where to compute.
        team: The trainers that torchrun started; None when besana starts its own.
        cluster: Whether Spark starts them.
    """

    settings: TrainSettings
    dataset: Dataset
    shards: Storage
    embeddings: Storage
    temporary: Path
    checkpoints: Path
    device: str
    team: Team | None = None
    cluster: bool = False

    @cached_property
    def manifest(self) -> Manifest:
        """The dataset's index."""
        return self.dataset.manifest()

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


@dataclass(frozen=True)
class Job:
    """What a trainer in another process needs; small, because bytes stay where they are.

    Attributes:
        task: What to work on; its manifest is read anew.
        positions: The training samples.
        checkpoints: Where checkpoints lie; trainers begin from the newest.
        validated: Whether the validation split is judged after each epoch.
    """

    task: Task
    positions: Positions
    checkpoints: Path
    validated: bool


class Told(NamedTuple):
    """What a team tells in the end, beside its last checkpoint.

    Attributes:
        notes: Sentences about what was lost or could not be used.
        sent_bytes: What all trainers sent each other since they last began.
        messages: In how many messages.
    """

    notes: list[str]
    sent_bytes: int
    messages: int
