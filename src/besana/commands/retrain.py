"""Train a model anew when that is due, and let it take over only when it is shown to be better.

Reads: drift, labels, predictions, the champion and its dataset
Writes: wishes, retrainings, datasets, runs, models, the registry
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from besana import pipeline
from besana.config import Settings
from besana.console import plain_console
from besana.engines import Engine
from besana.errors import ConfigError, NotReadyError
from besana.storage import open_storage
from besana.watching import retraining as rows
from besana.watching.retraining import Retraining
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.registry import Registry, Version
    from besana.shards.datasets import Dataset

EXAMPLE = "besana retrain farm --new-labels 300 --policy approve"

_WISHES = "wishes.csv"


class Config(Settings):
    """Settings of `retrain`."""

    model: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the model.",
    )
    now: bool = Field(default=False, description="Retrain whether it is due or not.")
    new_labels: int = Field(
        default=500,
        ge=0,
        description="Label events since the champion's dataset that make it due; 0: none do.",
    )
    every_days: float = Field(
        default=0, ge=0, description="Age of the champion's dataset that makes it due; 0: none."
    )
    ask: int = Field(
        default=200, ge=0, description="Samples to ask people to label first; 0: none."
    )
    answered_share: float = Field(
        default=0.8, ge=0, le=1, description="Share of them that has to be labelled to go on."
    )
    tested_share: float = Field(
        default=0.3,
        ge=0,
        le=0.9,
        description="Share of new blocks of time that joins the test set.",
    )
    validation_share: float = Field(
        default=0.1, ge=0, le=0.5, description="Share of new blocks to validate on."
    )
    train: dict[str, Any] = Field(
        default={}, description="Settings of the stage `train` for this retraining, as JSON."
    )
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = Field(
        default="accuracy", description="What the gate compares on the test set."
    )
    margin: float = Field(
        default=0.01, ge=0, le=1, description="How much worse on all samples does not matter."
    )
    part_margin: float = Field(
        default=0.05, ge=0, le=1, description="How much worse on one camera or light does not."
    )
    error: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Probability of promoting without a gain, all looks at a test set together.",
    )
    policy: Literal["approve", "auto"] = Field(
        default="approve", description="Who has the last word after the gate: a person, or nobody."
    )
    approve: bool = Field(default=False, description="Let the model that waits take over.")
    reject: bool = Field(default=False, description="Keep the champion; the model that waits goes.")
    tracking_uri: str = Field(
        default="",
        description="MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )


def run(workspace: Workspace, config: Config, engine: Engine | None = None) -> Retraining | None:
    """Begin a retraining when one is due, or go on with the one that was begun.

    Each step is written down when it is done, so a killed retraining continues with the same
    command. It waits for people twice: for labels, and for approval.

    Args:
        workspace: Where the model is.
        config: Settings.
        engine: Where stages run.

    Returns:
        How far it is; None when none is due.

    Raises:
        NotReadyError: If there is no champion.
        ConfigError: If it shall be approved and rejected.
    """
    from besana.catalog.watch import create_tables
    from besana.registry import open_registry

    if config.approve and config.reject:
        raise ConfigError("A model cannot be approved and rejected.", "Choose one.")
    create_tables(workspace.catalog)
    job = _Job(workspace, config, open_registry(workspace, config.tracking_uri), engine)
    current = rows.last_retraining(workspace.catalog, config.model)
    if config.approve or config.reject:
        return job.settle(current)
    if current is None or current.is_over:
        current = job.begin()
    return job.walk(current) if current else None


class _Job:
    """Walks a retraining from step to step."""

    def __init__(
        self, workspace: Workspace, config: Config, registry: Registry, engine: Engine | None
    ) -> None:
        self._workspace, self._config = workspace, config
        self._registry, self._engine = registry, engine
        self._say = plain_console().print
        self._steps: Mapping[str, Callable[[Retraining], Retraining]] = {
            "labels": self._labels,
            "split": self._split,
            "train": self._train,
            "evaluate": self._evaluate,
            "register": self._register,
            "gate": self._gate,
        }

    def begin(self) -> Retraining | None:
        """Begin one when it is due."""
        champion = self._champion()
        dataset = self._dataset(champion.tags["dataset"])
        reason = rows.why_due(
            self._workspace,
            champion.model,
            champion.number,
            dataset,
            new_labels=self._config.new_labels,
            every_days=self._config.every_days,
        )
        if not reason and not self._config.now:
            self._say(f"No retraining of {champion.model} is due.")
            return None
        facts = {"champion": champion.number, "before": dataset.place}
        return rows.start(self._workspace.catalog, champion.model, reason or "asked", facts)

    def walk(self, one: Retraining) -> Retraining:
        """Take step after step until it is over or waits for people."""
        while one.state in self._steps:
            self._say(f"Retraining {one.number} ({one.reason}): {one.state}")
            moved = self._steps[one.state](one)
            if moved.state == one.state:
                return moved
            one = moved
        self._say(f"Retraining {one.number}: {one.state}. {one.facts.get('why', '')}".strip())
        return one

    def settle(self, one: Retraining | None) -> Retraining | None:
        """Do what a person decided about the model that waits; nothing when none does."""
        if one is None or one.state != "approval":
            self._say("No retrained model waits for approval.")
            return one
        if self._config.approve:
            return self._promote(one, "A person approved it.")
        self._registry.remove_alias(one.model, "challenger")
        return self._move(one, "kept", why="A person rejected it.")

    def _labels(self, one: Retraining) -> Retraining:
        """Ask for labels, and go on when enough of them are there."""
        from besana.watching.wishes import answered, make_wishes, write_wishes

        catalog = self._workspace.catalog
        if self._config.ask:
            made = make_wishes(
                catalog,
                one.number,
                model=one.model,
                version=one.facts["champion"],
                since=self._trained_until(one),
                count=self._config.ask,
            )
            if made:
                write_wishes(catalog, one.number, open_storage(self._workspace.reports), _WISHES)
        asked, there = answered(catalog, one.number)
        if there < self._config.answered_share * asked:
            path = self._workspace.reports / _WISHES
            self._say(f"{there} of {asked} wished labels are there. Label them: {path}")
            return one
        return self._move(one, "split", asked=asked, answered=there)

    def _split(self, one: Retraining) -> Retraining:
        from besana.watching.renewal import renew

        dataset, new = renew(
            self._workspace,
            self._dataset(one.facts["before"]),
            tested_share=self._config.tested_share,
            validation_share=self._config.validation_share,
        )
        if not new and dataset.place == one.facts["before"]:
            return self._move(one, "kept", why="There are no new labels.")
        return self._move(one, "train", dataset=dataset.place)

    def _train(self, one: Retraining) -> Retraining:
        report = self._stage("train", {**self._config.train, "dataset": one.facts["dataset"]})
        return self._move(one, "evaluate", run=report.facts["run"])

    def _evaluate(self, one: Retraining) -> Retraining:
        report = self._stage("evaluate", {"run": one.facts["run"]})
        return self._move(one, "register", accuracy_share=report.facts["accuracy_share"])

    def _register(self, one: Retraining) -> Retraining:
        from besana.learning.lineage import note_version

        self._stage("register", {"name": one.model, "run": one.facts["run"], "promote": "never"})
        made = next(v for v in self._registry.versions(one.model) if v.run == one.facts["run"])
        for version in (self._registry.version(one.model, str(one.facts["champion"])), made):
            note_version(self._workspace, version, self._dataset(version.tags["dataset"]))
        return self._move(one, "gate", version=made.number)

    def _gate(self, one: Retraining) -> Retraining:
        from besana.learning.promotion import Terms
        from besana.models.model import load_model

        folder = self._workspace.models.below(one.model)
        models = [
            load_model(folder.below(str(one.facts[name]))) for name in ("champion", "version")
        ]
        config = self._config
        terms = Terms(
            config.metric,
            config.margin,
            config.part_margin,
            config.error,
            1 + rows.looks_at_test_set(self._workspace.catalog, one.model),
        )
        before, after = (self._dataset(one.facts[name]) for name in ("before", "dataset"))
        decision = rows.compare_on_test(self._workspace, before, after, models, terms)
        one = self._move(one, one.state, decision=decision.record(), look=terms.look)
        if decision.promotes:
            if config.policy == "auto":
                return self._promote(one, "The gate shows a gain and no harm.")
            return self._move(one, "approval", why="The gate shows a gain and no harm.")
        self._registry.remove_alias(one.model, "challenger")
        parts = ", ".join(decision.harmed)
        why = f"Not shown to be as good: {parts}." if parts else "No gain is shown."
        return self._move(one, "kept", why=why)

    def _promote(self, one: Retraining, why: str) -> Retraining:
        version = self._registry.version(one.model, str(one.facts["version"]))
        self._registry.set_alias(version, "champion")
        self._registry.remove_alias(one.model, "challenger")
        self._say(f"{one.model}/{version.number} is champion. Next: besana run --from predict")
        return self._move(one, "promoted", why=why)

    def _move(self, one: Retraining, state: str, **facts: Any) -> Retraining:
        return rows.advance(self._workspace.catalog, one, state, **facts)

    def _stage(self, name: str, overrides: Mapping[str, Any]) -> Any:
        if self._config.tracking_uri and name != "evaluate":
            overrides = {**overrides, "tracking_uri": self._config.tracking_uri}
        return pipeline.run_stage(self._workspace, name, overrides, self._engine)

    def _champion(self) -> Version:
        champion = self._registry.champion(self._config.model)
        if champion is None or "dataset" not in champion.tags:
            raise NotReadyError(
                f"Model '{self._config.model}' has no champion to retrain.",
                "Run: besana run --from split",
            )
        return champion

    def _dataset(self, place: str) -> Dataset:
        from besana.shards.datasets import open_dataset

        name, _, version = place.partition("/")
        return open_dataset(self._workspace, name, int(version))

    def _trained_until(self, one: Retraining) -> dt.datetime:
        at: Any = self._dataset(one.facts["before"]).manifest().column("captured_at")
        at = at[~np.isnat(at)]
        if not len(at):
            return dt.datetime.fromtimestamp(0, dt.UTC)
        return dt.datetime.fromtimestamp(int(at.max().astype("datetime64[s]").astype(int)), dt.UTC)
