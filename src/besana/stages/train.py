"""Train a classifier on a dataset: probe, finetune or scratch.

Reads: datasets/<name>/<version>, shards
Writes: runs/<id>, embeddings
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from besana import __version__
from besana.console import percent
from besana.engines import Engine
from besana.engines.spark import SparkEngine
from besana.errors import ConfigError
from besana.learning.ranks import started_by_torchrun
from besana.learning.runs import Run, fold_table, start_run
from besana.learning.settings import TrainSettings
from besana.progress import track
from besana.shards.datasets import Dataset, open_dataset
from besana.web.report_page import open_report
from besana.workspace import Plot, Report, Table, Text, Workspace

if TYPE_CHECKING:
    from besana.learning.recipe import Epoch
    from besana.learning.strategies import Trained
    from besana.registry import Curve

EXAMPLE = "besana train farm --strategy finetune --backbone timm/resnet18"


class Config(TrainSettings):
    """Settings of `train`."""


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Train on the last version of a dataset, or go on with a training that was interrupted.

    The same settings on the same dataset are the same run: one that is finished is not done again.

    Args:
        workspace: Where dataset and shards are.
        config: Settings; None means those of the workspace.
        engine: Spark for trainers as tasks of Spark, where `parallel` asks for several.

    Raises:
        NotReadyError: If there is no dataset.
        ConfigError: If backbone, weights and dataset do not fit each other.
        NotFoundError: If weights are not there and cannot be fetched.
    """
    config = config or workspace.settings("train", Config)
    settings = _located(workspace, config)
    if (started := started_by_torchrun()) > 1:
        settings = _shared(settings, started)
    dataset = open_dataset(workspace, *_name_and_version(settings.dataset))
    if dataset.kind == "single" and len(dataset.classes) < 2:
        raise ConfigError(
            f"All samples of dataset {dataset.place} are '{dataset.classes[0]}': nothing to learn.",
            "Label samples of another class, or check [split] classes.",
        )
    training = start_run(workspace, settings, dataset)
    with open_report(workspace, "train", config) as report:
        if training.record["state"] == "unfinished":
            on_cluster = isinstance(engine, SparkEngine)
            _train(workspace, settings, dataset, training, report, on_cluster=on_cluster)
        elif started_by_torchrun() > 1:
            _dismiss(settings)
        if not training.is_finished:
            _log(workspace, settings, training)
        _describe(report, training)
    return report


def _located(workspace: Workspace, config: Config) -> Config:
    """Find a weights file that is named from the workspace."""
    path = Path(config.weights)
    if path.suffix != ".safetensors" or path.is_absolute() or path.exists():
        return config
    return config.model_copy(update={"weights": str(workspace.path / path)})


def _shared(settings: Config, trainers: int) -> Config:
    """Take as many trainers as torchrun started."""
    if settings.parallel == "single":
        raise ConfigError(
            f"torchrun started {trainers} trainers, but one is to train alone.",
            "Add --parallel ddp.",
        )
    return settings.model_copy(update={"trainers": trainers})


def attend(config: Config) -> None:
    """Train as one of torchrun's trainers, but not the first, which runs the stage."""
    from besana.learning.trainer import attend as attend_team
    from besana.models.model import device_name

    attend_team(device_name(config.device))


def _dismiss(config: Config) -> None:
    """Tell torchrun's other trainers that there is nothing to do."""
    from besana.learning.trainer import leading
    from besana.models.model import device_name

    with leading(device_name(config.device)):
        pass


def _name_and_version(dataset: str) -> tuple[str, int | None]:
    name, slash, version = dataset.partition("/")
    if slash and not version.isdigit():
        raise ConfigError(f"'{dataset}' is not a dataset.", "Write its name, or name/version.")
    return name, int(version) if slash else None


def _train(
    workspace: Workspace,
    settings: Config,
    dataset: Dataset,
    training: Run,
    report: Report,
    *,
    on_cluster: bool,
) -> None:
    from besana.learning.strategies import train
    from besana.learning.task import Listener, Task
    from besana.learning.trainer import leading
    from besana.models.model import device_name

    device = device_name(settings.device)
    task = Task(
        settings=settings,
        dataset=dataset,
        shards=workspace.shards,
        embeddings=workspace.embeddings,
        temporary=workspace.temporary,
        checkpoints=training.checkpoints,
        device=device,
        cluster=on_cluster,
    )
    samples = len(task.positions("train"))
    report.count_in(samples)
    history = _History(training)
    with _Bars() as bars, leading(device) as team:
        trained = train(replace(task, team=team), Listener(bars.begin, bars.advance, history.add))
    _save(training, dataset, settings, trained)
    training.update(
        state="trained",
        history=[epoch.record() for epoch in trained.history],
        losses=sorted(trained.losses.items()),
        metrics=trained.metrics,
        folds=trained.folds,
        notes=trained.notes,
        train_samples=samples,
        seconds=history.seconds,
        trained_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )
    _remove_checkpoints(training)
    report.count_out(samples)


class _History:
    """Keeps the epochs of an unfinished run in its `run.json`, for people who look."""

    def __init__(self, training: Run) -> None:
        self._training = training
        self._before_s: float = training.record.get("seconds", 0.0)
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds that the run took so far, earlier attempts included."""
        return round(self._before_s + time.monotonic() - self._started, 3)

    def add(self, epoch: Epoch) -> None:
        earlier = self._training.record["history"][: epoch.epoch]
        self._training.update(history=[*earlier, epoch.record()], seconds=self.seconds)


class _Bars(contextlib.ExitStack):
    """One progress bar after the other."""

    _bar: Callable[[int], None]

    def begin(self, what: str, total: int) -> None:
        self.close()
        self._bar = self.enter_context(track(what, total))

    def advance(self, count: int) -> None:
        self._bar(count)


def _save(training: Run, dataset: Dataset, settings: Config, trained: Trained) -> None:
    import timm
    import torch

    from besana.models.model import Card, save_model

    origin = trained.built.weights
    card = Card(
        backbone=settings.backbone_name,
        backbone_options=settings.backbone_options,
        preprocessing=trained.built.preprocessing,
        classes=list(dataset.classes),
        kind=dataset.kind,
        thresholds=trained.thresholds,
        dataset={
            "name": dataset.name,
            "version": dataset.version,
            "hash": dataset.hash,
            "sample_px": min(dataset.size_px),
        },
        recipe=dataset.recipe,
        lineage={
            "run": training.id,
            "strategy": settings.strategy,
            "weights": origin.source,
            "weights_sha256": origin.sha256,
            "besana": __version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    )
    save_model(training.model, trained.built.network, card)


def _remove_checkpoints(training: Run) -> None:
    from besana.learning.checkpoint import Checkpoints

    for folder in training.folder.glob("checkpoints*"):
        Checkpoints(folder).clear()
        folder.rmdir()


def _log(workspace: Workspace, settings: Config, training: Run) -> None:
    from besana.registry import open_registry

    record = training.record
    dataset = record["dataset"]
    mlflow_run = open_registry(workspace, settings.tracking_uri).log_run(
        settings.experiment or workspace.name,
        training.id,
        parameters={**record["settings"], "dataset": f"{dataset['name']}/{dataset['version']}"},
        metrics={**record["metrics"], "train_seconds": record["seconds"]},
        curves=_curves(record),
        tags={"dataset.hash": dataset["hash"], "strategy": settings.strategy},
        artifacts=[training.model / "model.json"],
    )
    training.update(state="finished", mlflow_run=mlflow_run)


def _curves(record: dict[str, Any]) -> list[Curve]:
    from besana.registry import Curve

    history = record["history"]
    if not history:
        return []
    steps = [epoch["epoch"] for epoch in history]
    curves = [
        Curve(name, steps, [epoch[name] for epoch in history])
        for name in ("train_loss", "learning_rate", "seconds")
    ]
    if all(epoch["validation"] for epoch in history):
        curves += [
            Curve(f"validation_{name}", steps, [epoch["validation"][i] for epoch in history])
            for i, name in enumerate(("loss", "accuracy", "balanced_accuracy"))
        ]
    return curves


def _describe(report: Report, training: Run) -> None:
    record = training.record
    report.fact("run", training.id)
    report.fact("strategy", record["strategy"])
    report.fact("dataset", f"{record['dataset']['name']}/{record['dataset']['version']}")
    report.fact("train_samples", record["train_samples"])
    report.fact("train_s", record["seconds"])
    for name, value in record["metrics"].items():
        report.fact(name, value)
    for way, prefix in _MEASURED.items():
        if f"{prefix}_accuracy" in record["metrics"]:
            report.result(f"accuracy {percent(record['metrics'][f'{prefix}_accuracy'])} {way}")
    _add_promise(report, record["metrics"])
    if record.get("folds"):
        report.add(fold_table(record["folds"]))
    _add_plots(report, record)
    for note in record["notes"][:50]:
        report.add(Text("Note", note))
    report.files["run.json"] = training.folder / "run.json"
    report.files["model.json"] = training.model / "model.json"


def _add_promise(report: Report, metrics: dict[str, float]) -> None:
    """Put what cross-validation over groups says beside what a random one would have."""
    if "random_folds_accuracy" not in metrics:
        return
    report.add(
        Table(
            "What a random split would have promised",
            (
                "Cross-validation on the training samples",
                "accuracy_share",
                "balanced_accuracy_share",
                "log_loss",
            ),
            [
                (name, *(round(metrics[f"{key}_{m}"], 4) for m in _SCORES))
                for name, key in (("by groups", "grouped_folds"), ("at random", "random_folds"))
            ],
            "Folds drawn at random put near-duplicates on both sides; only the first row says"
            " anything about frames to come.",
        )
    )


_SCORES = ("accuracy", "balanced_accuracy", "loss")
_MEASURED = {"in folds of whole groups": "grouped_folds", "on the validation split": "validation"}


def _add_plots(report: Report, record: dict[str, Any]) -> None:
    from besana.web.curves import Line, draw_lines

    by_name = {curve.name: curve for curve in _curves(record)}
    for title, names in (
        ("Loss", ("train_loss", "validation_loss")),
        ("Validation", ("validation_accuracy", "validation_balanced_accuracy")),
        ("Learning rate", ("learning_rate",)),
    ):
        lines = [Line(n, by_name[n].steps, by_name[n].values) for n in names if n in by_name]
        if lines:
            best = record["metrics"].get("best_epoch")
            report.add(Plot(title, draw_lines(lines, "Epoch", mark_x=best)))
    if len(record["losses"]) > 1:
        penalties, losses = zip(*record["losses"], strict=True)
        line = Line("log_loss", penalties, losses)
        drawn = draw_lines([line], "Penalty", mark_x=record["metrics"]["penalty"], logarithmic=True)
        report.add(Plot("Cross-validated loss by strength of the regularisation", drawn))
