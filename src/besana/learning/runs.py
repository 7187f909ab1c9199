"""Runs: one folder a training, with `run.json`, its checkpoints and its model."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from besana.errors import CorruptDataError, NotReadyError
from besana.learning.settings import TrainSettings
from besana.shards.datasets import Dataset
from besana.storage import Folder
from besana.workspace import Table, Workspace

RUN = "run.json"
_FORMAT = 1


@dataclass
class Run:
    """One training.

    Attributes:
        folder: `runs/<id>`.
        record: What `run.json` holds: id, state (`unfinished`, `trained`, `finished`), strategy,
            dataset, settings, history, metrics, folds, notes, times.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def id(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """The model's folder."""
        return self.folder / "model"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints' folder."""
        return self.folder / "checkpoints"

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return str(self.record["state"]) == "finished"

    def update(self, **values: Any) -> None:
        """Change the record, durable on return."""
        self.record.update(values)
        text = json.dumps(self.record, indent=1, ensure_ascii=False)
        Folder(self.folder).write(RUN, text.encode())


def start_run(workspace: Workspace, settings: TrainSettings, dataset: Dataset) -> Run:
    """Open the run of these settings on this dataset, a new one or the one that is there.

    The name is a function of both, so the same command finds its own unfinished run.
    """
    identity = settings.identity()
    name = f"{dataset.name}-{dataset.version}-{settings.strategy}"
    folder = workspace.runs / f"{name}-{identity[:6]}{dataset.hash[:6]}"
    now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
    expected = {"identity": identity, "dataset_hash": dataset.hash}
    if (folder / RUN).exists():
        run = _read(folder / RUN)
        if {key: run.record.get(key) for key in expected} != expected:
            raise CorruptDataError(f"{folder / RUN} is of another training.", "Delete its folder.")
        run.update(asked_at=now)
        return run
    run = Run(folder, {})
    run.update(
        format=_FORMAT,
        id=folder.name,
        state="unfinished",
        strategy=settings.strategy,
        dataset={"name": dataset.name, "version": dataset.version, "hash": dataset.hash},
        settings=settings.model_dump(mode="json"),
        **expected,
        started_at=now,
        asked_at=now,
        history=[],
        metrics={},
        folds=[],
        notes=[],
    )
    return run


def open_run(workspace: Workspace, run: str = "") -> Run:
    """Open a run that has a model.

    Args:
        workspace: Where the runs are.
        run: Its id; empty for the one that was asked for last.

    Raises:
        NotReadyError: If there is no such run, or it has not got so far.
    """
    if run:
        found = _read(workspace.runs / run / RUN) if _is_name(workspace, run) else None
        if found is None or found.record["state"] == "unfinished":
            raise NotReadyError(
                f"No trained run '{run}' in '{workspace.name}'.",
                f"Run: besana train {workspace.word}",
            )
        return found
    trained = [run for run in all_runs(workspace) if run.record["state"] != "unfinished"]
    if not trained:
        raise NotReadyError(
            f"Nothing is trained in '{workspace.name}'.", f"Run: besana train {workspace.word}"
        )
    return max(trained, key=lambda run: (str(run.record["asked_at"]), run.id))


def all_runs(workspace: Workspace) -> Iterator[Run]:
    """Walk over all runs."""
    for path in sorted(workspace.runs.glob(f"*/{RUN}")):
        yield _read(path)


def fold_table(folds: Sequence[Mapping[str, Any]]) -> Table:
    """Put the folds of a training side by side.

    Args:
        folds: `run.json`'s, one or more.
    """
    keys = ("fold", "train_samples", "samples", "accuracy", "balanced_accuracy", "loss")
    return Table(
        "Folds of the dataset",
        (*keys[:3], "accuracy_share", "balanced_accuracy_share", "log_loss"),
        [[_rounded(fold[key]) for key in keys] for fold in folds],
        "One training a fold, judged on the samples of that fold, which it has not seen.",
    )


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(value, 4)


def _is_name(workspace: Workspace, run: str) -> bool:
    return Path(run).name == run and (workspace.runs / run / RUN).is_file()


def _read(path: Path) -> Run:
    try:
        record = json.loads(path.read_bytes())
        if record["format"] != _FORMAT or not isinstance(record["state"], str):
            raise ValueError(f"format {record['format']!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            f"{path} cannot be read: {error}.", "Delete the run's folder and train again."
        ) from None
    return Run(path.parent, record)
