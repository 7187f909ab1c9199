"""Search settings of a training: rate, epochs, backbone, variation of pictures.

Reads: datasets/<name>/<version>, shards
Writes: runs/tune-<study>.db, embeddings, tracking of every finished trial
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from besana import pipeline
from besana.config import Settings, parse
from besana.console import plain_console
from besana.errors import ConfigError, MissingExtraError, NotReadyError
from besana.learning.settings import TrainSettings
from besana.progress import track
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.learning.recipe import Epoch
    from besana.shards.datasets import Dataset

EXAMPLE = "besana tune farm --strategy finetune --trials 20"

_STARTUP_TRIALS = 4


class Config(Settings):
    """What to search, and how long."""

    study: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Name of the search; the same name goes on with it.",
    )
    strategy: Literal["finetune", "scratch"] = Field(
        default="finetune", description="Strategy of the trainings."
    )
    trials: int = Field(
        default=20, ge=1, le=10_000, description="Trials of the study, those of earlier runs too."
    )
    minutes: float = Field(
        default=0.0, ge=0, description="Minutes after which no further trial begins; 0: no limit."
    )
    backbone: list[str] = Field(
        default=[], description="Networks to choose from; empty: the one of [train]."
    )
    lowest_rate: float = Field(default=1e-4, gt=0, le=1, description="Lowest learning rate.")
    highest_rate: float = Field(default=1e-2, gt=0, le=1, description="Highest learning rate.")
    epochs: list[int] = Field(
        default=[], description="Numbers of epochs to choose from; empty: as [train] says."
    )
    augment: list[Literal["none", "fixed", "turned"]] = Field(
        default=["none", "fixed", "turned"], description="Variations of pictures to choose from."
    )
    seed: int = Field(default=0, ge=0, description="Another seed, another search.")


def run(workspace: Workspace, config: Config) -> dict[str, Any]:
    """Train trial after trial, stop those that are worse than the middle, print the best.

    Each trial is scored by the balanced accuracy on the validation split, whose groups do not
    cross into train; the test split is never looked at. A search that was killed goes on.

    Returns:
        The settings of the best trial.

    Raises:
        ConfigError: If the search space is empty.
        MissingExtraError: If optuna is not installed.
        NotReadyError: If there is no dataset, or it has no validation split, or nothing ended.
    """
    from besana.shards.datasets import open_dataset

    if config.lowest_rate > config.highest_rate:
        raise ConfigError("lowest_rate is above highest_rate.", "Exchange them.")
    base = _base(workspace, config)
    name, _, version = base.dataset.partition("/")
    dataset = open_dataset(workspace, name, int(version) if version else None)
    study = _open_study(workspace, config, dataset)
    _search(workspace, config, base, dataset, study)
    say = plain_console().print
    ended = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    pruned = sum(trial.state.name == "PRUNED" for trial in study.trials)
    if not ended:
        raise NotReadyError("No trial came to its end.", "Raise --trials or --minutes.")
    say(f"{len(ended)} trials ended, {pruned} were stopped early.")
    say(f"Best balanced accuracy on the validation split: {study.best_value:.3f}")
    say("Write in besana.toml:\n[train]")
    best = {"strategy": config.strategy, **study.best_params}
    for key, value in best.items():
        say(f"{key} = {value!r}".replace("'", '"'))
    return best


def _base(workspace: Workspace, config: Config) -> TrainSettings:
    """Take `[train]` as it is, with the strategy of the search."""
    own = pipeline.stage_settings(workspace, "train", {"strategy": config.strategy})
    return parse(TrainSettings, own.model_dump(), where="[train]")


def _open_study(workspace: Workspace, config: Config, dataset: Dataset) -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("Tuning needs optuna.", 'Run: pip install "besana[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{workspace.runs / f'tune-{config.study}.db'}",
        study_name=f"{config.study} on {dataset.place}, {config.strategy}",
        sampler=optuna.samplers.TPESampler(seed=config.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=1),
        direction="maximize",
        load_if_exists=True,
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        # A run that was killed left it behind: the same settings are tried again.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _search(
    workspace: Workspace, config: Config, base: TrainSettings, dataset: Dataset, study: Any
) -> None:
    import optuna

    ends = time.monotonic() + config.minutes * 60 if config.minutes else float("inf")
    done = sum(trial.state.is_finished() and trial.state.name != "FAIL" for trial in study.trials)
    with track("tune", max(config.trials - done, 0)) as advance:
        while done < config.trials and time.monotonic() < ends:
            trial = study.ask()
            settings = base.model_copy(update=_suggest(trial, config))
            try:
                value = _train(workspace, settings, dataset, trial)
            except optuna.TrialPruned:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, value)
            done += 1
            advance(1)


def _suggest(trial: Any, config: Config) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "learning_rate": trial.suggest_float(
            "learning_rate", config.lowest_rate, config.highest_rate, log=True
        )
    }
    for name in ("backbone", "epochs", "augment"):
        choices = getattr(config, name)
        if choices:
            chosen[name] = trial.suggest_categorical(name, choices)
    return chosen


def _train(workspace: Workspace, settings: TrainSettings, dataset: Dataset, trial: Any) -> float:
    """Train one trial and give its score; its checkpoints are removed.

    Raises:
        optuna.TrialPruned: If it is worse than the middle of the others at the same epoch.
    """
    from besana.learning.strategies import train
    from besana.learning.task import Listener, Task
    from besana.models.model import device_name

    folder = workspace.runs / "tune" / f"{trial.number}"
    task = Task(
        settings=settings,
        dataset=dataset,
        shards=workspace.shards,
        embeddings=workspace.embeddings,
        temporary=workspace.temporary,
        checkpoints=folder / "checkpoints",
        device=device_name(settings.device),
    )
    if not len(task.positions("validation")):
        raise NotReadyError(f"{dataset.place} has no validation split.", "Run: besana split")
    try:
        trained = train(task, Listener(epoch=lambda epoch: _report(trial, epoch)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _log(workspace, settings, trial, trained.metrics)
    return float(trained.metrics["validation_balanced_accuracy"])


def _report(trial: Any, epoch: Epoch) -> None:
    import optuna

    if epoch.validation is not None:
        trial.report(epoch.validation.balanced_accuracy, epoch.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned


def _log(
    workspace: Workspace, settings: TrainSettings, trial: Any, metrics: dict[str, float]
) -> None:
    from besana.registry import open_registry

    study = trial.study.study_name
    open_registry(workspace, settings.tracking_uri).log_run(
        f"{settings.experiment or workspace.name}-tune",
        f"{study} trial {trial.number}",
        parameters={**trial.params, "study": study},
        metrics=metrics,
    )
