"""Settings of a training; light to import, as every stage's settings are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from besana.config import Settings
from besana.storage import read_regular

Strategy = Literal["probe", "finetune", "scratch"]
Parallel = Literal["single", "ddp", "local-sgd", "delayed", "hybrid"]

#: What a strategy uses where its settings are left empty.
_BACKBONES = {
    "probe": "timm/mobilenetv2_100",
    "finetune": "timm/mobilenetv2_100",
    "scratch": "besana/small",
}
_SIZES_PX = {"probe": 0, "finetune": 0, "scratch": 64}
_RATES = {"probe": 0.0, "finetune": 1e-3, "scratch": 4e-3}
_HEAD_FACTORS = {"probe": 1.0, "finetune": 3.0, "scratch": 1.0}
_APPEARANCES = {"probe": 0.0, "finetune": 0.5, "scratch": 0.0}
_LIGHTS = {"probe": 0.0, "finetune": 0.5, "scratch": 0.4}
_AVERAGE_SHARES = {"probe": 0.0, "finetune": 0.5, "scratch": 1 / 9}
_AVERAGE_DECAYS = {"probe": 0.0, "finetune": 0.999, "scratch": 0.99}
_BATCHES = {"probe": 64, "finetune": 32, "scratch": 64}

#: Samples that a training sees in all its epochs, and the fewest and most epochs.
_LENGTHS = {"probe": (0, 0, 0), "finetune": (4_500, 3, 12), "scratch": (40_000, 5, 60)}

#: Settings that say how a training runs, not what it learns.
_WITHOUT_EFFECT = ("threads", "device", "checkpoint_minutes", "tracking_uri", "experiment")

#: Settings of several trainers, and in which ways of learning together they change the result.
_WITH_EFFECT_IN: dict[str, tuple[Parallel, ...]] = {
    "parallel": ("ddp", "local-sgd", "delayed", "hybrid"),
    "trainers": ("local-sgd", "delayed"),
    "sync_steps": ("local-sgd",),
    "staleness": ("delayed",),
}


class TrainSettings(Settings):
    """Settings of `train`."""

    dataset: str = Field(
        default="default", description="Dataset to train on: its name, or name/version."
    )
    strategy: Strategy = Field(
        default="probe",
        description="probe: a linear classifier on a frozen backbone; finetune: the whole"
        " network, from pretrained weights; scratch: from random weights.",
    )
    backbone: str = Field(
        default="",
        description="Network: timm/<name> or besana/small; empty: the strategy's own"
        f" ({_BACKBONES['probe']}, scratch: {_BACKBONES['scratch']}).",
    )
    weights: str = Field(
        default="",
        description="pretrained (timm's, fetched once), random, or a .safetensors file; empty:"
        " pretrained, for scratch random.",
    )
    backbone_options: dict[str, Any] = Field(
        default={}, description="Further arguments of the network, as {pad_type = 'same'}."
    )
    input_mean: list[float] = Field(
        default=[], description="Mean of each band, 0 to 255; empty: the network's own."
    )
    input_std: list[float] = Field(
        default=[], description="Deviation of each band, 0 to 255; empty: the network's own."
    )
    size_px: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Height and width of the network's input; 0: the network's own, for scratch"
        f" {_SIZES_PX['scratch']}.",
    )
    epochs: int = Field(
        default=0, ge=0, description="Passes over the samples; 0: as many as the dataset needs."
    )
    batch_size: int = Field(default=0, ge=0, description="Samples a step; 0: the strategy's own.")
    learning_rate: float = Field(
        default=0.0, ge=0, le=1, description="Highest learning rate; 0: the strategy's own."
    )
    head_factor: float | None = Field(
        default=None,
        gt=0,
        description="Learning rate of the classifier over the body's; empty: the strategy's own.",
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="Learning rate of each block over the next one's."
    )
    weight_decay: float = Field(default=0.05, ge=0, le=1, description="AdamW's weight decay.")
    warmup_share: float = Field(
        default=0.15, ge=0, le=0.9, description="Share of the training with a rising rate."
    )
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="Share of each label spread over all classes."
    )
    class_balance: Literal["none", "inverse_sqrt", "inverse"] = Field(
        default="inverse_sqrt", description="How much more a sample of a rare class counts."
    )
    average_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of the steps so far that the averaged weights cover; empty: 0.5 for"
        " finetune, else a ninth.",
    )
    average_decay: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Highest decay a step of the averaged weights; empty: 0.999 for finetune,"
        " else 0.99.",
    )
    patience_epochs: int = Field(
        default=5,
        ge=0,
        description="Epochs without a better validation until training stops; 0: never.",
    )
    augment: Literal["none", "fixed", "turned"] = Field(
        default="fixed",
        description="How pictures vary: fixed: crops, mirrored, light; turned: also any quarter"
        " turn, for drones and cameras that look straight down.",
    )
    least_crop_share: float = Field(
        default=0.6, gt=0, le=1, description="Smallest share of the picture that a crop keeps."
    )
    light_change: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest change of brightness, contrast and colour; empty: 0.5 for finetune,"
        " else 0.4.",
    )
    colourless_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the pictures turned to grey; empty: 0.5 for finetune, else 0.",
    )
    blurred_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the pictures that are blurred; empty: 0.5 for finetune, else 0.",
    )
    penalties: list[float] = Field(
        default=[], description="Probe: strengths of the regularisation to try; empty: nine."
    )
    parallel: Parallel = Field(
        default="single",
        description="How several trainers learn one network: single: one alone; ddp: gradients are"
        " averaged at each step; local-sgd: weights are averaged now and then; delayed: trainers"
        " take turns with late gradients; hybrid: ddp with the classifier cut by classes.",
    )
    trainers: int = Field(
        default=2,
        ge=1,
        le=4096,
        description="Processes that learn together, each on a GPU of its own where there are"
        " enough; under torchrun as many as it starts.",
    )
    sync_steps: int = Field(
        default=8, ge=1, description="local-sgd: steps from one averaging of weights to the next."
    )
    staleness: int = Field(
        default=1, ge=0, le=64, description="delayed: turns of others that a gradient may miss."
    )
    folds: bool = Field(
        default=False, description="Also train once for each fold of the dataset and score it."
    )
    seed: int = Field(default=0, ge=0, description="Another seed, another training.")
    precision: Literal["auto", "float32"] = Field(
        default="auto", description="auto: 16 bits where a GPU gains from it."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to compute; auto: a GPU when there is one."
    )
    threads: int = Field(default=0, ge=0, le=256, description="Threads; 0: one a core.")
    checkpoint_minutes: float = Field(
        default=5.0, ge=0, description="Minutes between two checkpoints."
    )
    tracking_uri: str = Field(
        default="",
        description="MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )
    experiment: str = Field(
        default="", description="MLflow experiment; empty: the workspace's name."
    )

    @property
    def backbone_name(self) -> str:
        """Name of the network to build."""
        return self.backbone or _BACKBONES[self.strategy]

    @property
    def weights_origin(self) -> str:
        """What the network starts from."""
        return self.weights or ("random" if self.strategy == "scratch" else "pretrained")

    @property
    def input_px(self) -> int:
        """Size to ask the network for; 0 for its own."""
        return self.size_px or _SIZES_PX[self.strategy]

    @property
    def rate(self) -> float:
        """Highest learning rate."""
        return self.learning_rate or _RATES[self.strategy]

    @property
    def head_rate_factor(self) -> float:
        """Learning rate of the classifier over the body's."""
        return self.head_factor or _HEAD_FACTORS[self.strategy]

    @property
    def light(self) -> float:
        """Largest change of brightness, contrast and colour."""
        return _LIGHTS[self.strategy] if self.light_change is None else self.light_change

    @property
    def averaged_share(self) -> float:
        """Share of the steps so far that the averaged weights cover."""
        return self.average_share or _AVERAGE_SHARES[self.strategy]

    @property
    def highest_decay(self) -> float:
        """Highest decay a step of the averaged weights."""
        chosen = self.average_decay
        return _AVERAGE_DECAYS[self.strategy] if chosen is None else chosen

    def appearance_share(self, chosen: float | None) -> float:
        """Share of the pictures that lose colour or sharpness, as chosen or the strategy's own."""
        if self.augment == "none":
            return 0.0
        return _APPEARANCES[self.strategy] if chosen is None else chosen

    def batch(self, samples: int) -> int:
        """Samples a step, never more than there are."""
        return max(1, min(self.batch_size or _BATCHES[self.strategy], samples))

    def passes(self, samples: int) -> int:
        """Epochs for a dataset of so many training samples.

        >>> TrainSettings(strategy="scratch").passes(10_000)
        5
        """
        seen, fewest, most = _LENGTHS[self.strategy]
        return self.epochs or min(max(round(seen / max(samples, 1)), fewest), most)

    def identity(self) -> str:
        """Hash what the result depends on, the bytes of a weights file included."""
        idle = {name for name, ways in _WITH_EFFECT_IN.items() if self.parallel not in ways}
        values = self.model_dump(mode="json", exclude=idle.union(_WITHOUT_EFFECT))
        if self.weights_origin.endswith(".safetensors"):
            data = read_regular(Path(self.weights_origin).resolve())
            values["weights"] = hashlib.sha256(data).hexdigest()
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
