"""What a training is told, and what it tells: recipe, batches, epochs, outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from besana.learning.losses import Scores

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn


class Batch(Protocol):
    """What the loop needs of a batch.

    Attributes:
        images: (b, height, width, channels) uint8.
        labels: (b,) class numbers, or (b, classes) bool when several may hold.
        valid: (b,) bool, False for what is not to be learnt from.
    """

    @property
    def images(self) -> NDArray[np.uint8]:
        """Pictures."""

    @property
    def labels(self) -> NDArray[Any]:
        """Truth."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Whether to learn from it."""


class Batches(Protocol):
    """What the loop needs of a loader; `besana.shards.loader.Loader` is one.

    Attributes:
        epoch: The epoch that the next iteration goes through.
    """

    epoch: int

    def __iter__(self) -> Iterator[Batch]:
        """Go through one epoch, from its start or from a loaded state."""

    def set_epoch(self, epoch: int) -> None:
        """Begin the next iteration at this epoch's first sample."""

    def state_dict(self) -> dict[str, Any]:
        """Give the place in the order, as JSON values."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on at a place that `state_dict` gave."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training.

    Attributes:
        epochs: Passes over the training samples.
        learning_rate: Highest learning rate of the body; the classifier's is `head_factor` times
            that, and each earlier block's `layer_decay` times the later one's.
        head_factor: See above.
        layer_decay: See above; 1 for the same rate everywhere.
        weight_decay: AdamW's, for matrices and kernels only.
        warmup_share: Share of the training in which the learning rate rises; then it falls as
            half a cosine to 0.
        label_smoothing: Share of each label that is spread over all classes.
        average_share: Share of the steps so far that the average of the weights, which is the
            model, mostly covers: 1 for the plain mean of all, less to forget the start
            (Shamir and Zhang, 2013, polynomial-decay averaging, with eta = 1 / share - 1).
        average_decay: Highest decay a step of that average, which bounds it in long trainings.
        patience_epochs: Epochs without a better validation until it stops; 0 for never.
        clip_norm: Longest gradient.
        kind: `single` or `multi`.
        seed: What dropout and the like are drawn from.
        precision: `auto` computes in 16 bits on a GPU; `float32` does not.
        grey_share: Share of the pictures that lose their colour.
        blur_share: Share of the pictures that lose sharpness.
        parallel: How trainers learn together, a name in `PARALLEL`.
        sync_steps: Steps until trainers average their weights, for `local-sgd`.
        staleness: Turns that a gradient may be late, for `delayed`.
    """

    epochs: int
    learning_rate: float
    head_factor: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    warmup_share: float = 0.1
    label_smoothing: float = 0.1
    average_share: float = 1 / 9
    average_decay: float = 0.99
    patience_epochs: int = 0
    clip_norm: float = 1.0
    kind: str = "single"
    seed: int = 0
    precision: str = "auto"
    grey_share: float = 0.0
    blur_share: float = 0.0
    parallel: str = "single"
    sync_steps: int = 8
    staleness: int = 1


@dataclass
class Epoch:
    """What one pass over the training samples came to; the scores need a validation split."""

    epoch: int
    train_loss: float
    learning_rate: float
    seconds: float
    validation: Scores | None = None

    def record(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return asdict(self) | {"validation": self.validation and list(self.validation)}

    @staticmethod
    def of(record: Mapping[str, Any]) -> Epoch:
        """Read it from JSON values."""
        scores = record["validation"]
        return Epoch(**{**record, "validation": Scores(*scores) if scores else None})


@dataclass
class Position:
    """Where a training is: everything that is neither a tensor nor the loader's."""

    step: int = 0
    epoch: int = 0
    samples: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_epoch: int = -1
    stale_epochs: int = 0
    history: list[Epoch] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return vars(self) | {"history": [epoch.record() for epoch in self.history]}

    @staticmethod
    def of(record: Mapping[str, Any]) -> Position:
        """Read it from JSON values."""
        return Position(**{**record, "history": [Epoch.of(e) for e in record["history"]]})


@dataclass(frozen=True)
class Watch:
    """Who is told what happens.

    Attributes:
        step: Called after each step with its number and loss (a tensor on the device).
        epoch: Called after each epoch.
        samples: Called with the number of samples that were learnt from.
    """

    step: Callable[[int, torch.Tensor], None] = lambda _step, _loss: None
    epoch: Callable[[Epoch], None] = lambda _epoch: None
    samples: Callable[[int], None] = lambda _count: None


@dataclass(frozen=True)
class Outcome:
    """What a training leaves.

    Attributes:
        network: The network with the averaged weights of the best epoch.
        history: Its epochs.
        best_epoch: The one it is from, from 0.
        stopped_early: Whether the validation stopped it.
        notes: Sentences about what was skipped or switched off.
        sent_bytes: What trainers sent each other; 0 for one alone.
    """

    network: nn.Module
    history: list[Epoch]
    best_epoch: int
    stopped_early: bool
    notes: list[str]
    sent_bytes: int = 0
