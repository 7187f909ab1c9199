"""Let a trained model through the gate: challenger or champion.

Reads: runs/<id>, datasets, shards, models
Writes: models/<name>/<version>, the registry
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from besana.config import Settings
from besana.engines import Engine
from besana.errors import NotReadyError
from besana.learning.runs import Run, open_run
from besana.shards.datasets import Dataset, open_dataset
from besana.web.report_page import open_report
from besana.workspace import Report, Table, Text, Workspace

if TYPE_CHECKING:
    from besana.learning.gate import Verdict
    from besana.registry import Registry, Version

EXAMPLE = "besana register farm --metric balanced_accuracy"

_FILES = ("weights.safetensors", "model.json")
_GATE, _SETTLED = "besana.gate", "besana.settled"


class Config(Settings):
    """Settings of `register`."""

    name: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the model that this is a version of.",
    )
    run: str = Field(default="", description="Run to register; empty: the last one trained.")
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = Field(
        default="accuracy", description="What the gate compares on the test split."
    )
    margin: float = Field(
        default=0.01, ge=0, le=1, description="How much worse does not matter, as a share."
    )
    level: float = Field(
        default=0.9, gt=0.5, lt=1, description="Level of the interval of the difference."
    )
    promote: Literal["gate", "always", "never"] = Field(
        default="gate", description="Who decides about the champion: the gate, or you."
    )
    tracking_uri: str = Field(
        default="",
        description="MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Register an evaluated run as the next version of a model, and decide who is champion.

    The first version becomes champion. A later one takes over when it is not worse on the
    frozen test set, both models judging the same samples; else it is the challenger. A run is
    registered once.

    Args:
        workspace: Where the run is.
        config: Settings; None means those of the workspace.
        engine: Not needed; here as in every stage.

    Raises:
        NotReadyError: If nothing is trained, or the run was not evaluated on its test split.
    """
    config = config or workspace.settings("register", Config)
    trained = open_run(workspace, config.run)
    evaluation = _evaluation(workspace, trained)
    from besana.registry import open_registry

    registry = open_registry(workspace, config.tracking_uri)
    with open_report(workspace, "register", config) as report:
        version = _registered(registry, config.name, trained.id)
        if version is None or _SETTLED not in version.tags:
            report.count_in()
            version = _register(workspace, config, registry, trained, evaluation, version)
            report.count_out()
        _describe(report, version, evaluation)
    return report


def _evaluation(workspace: Workspace, trained: Run) -> dict[str, Any]:
    path = trained.folder / "evaluation.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    if found.get("split") != "test":
        raise NotReadyError(
            f"Run '{trained.id}' was not evaluated on its test split.",
            f"Run: besana evaluate {workspace.word}",
        )
    return found


def _registered(registry: Registry, name: str, run: str) -> Version | None:
    return next((one for one in registry.versions(name) if one.run == run), None)


def _register(
    workspace: Workspace,
    config: Config,
    registry: Registry,
    trained: Run,
    evaluation: dict[str, Any],
    version: Version | None,
) -> Version:
    """Add the version, then its files, then its alias; each step may be repeated.

    The alias is what others follow, so it comes when everything behind it is durable.
    """
    from besana.registry import CHALLENGER, CHAMPION

    if version is None:
        verdict = _verdict(workspace, config, registry, trained)
        version = registry.register(
            config.name,
            f"{workspace.models.url}/{config.name}/{{version}}",
            run=trained.id,
            mlflow_run=trained.record.get("mlflow_run", ""),
            tags={**_tags(trained, evaluation), _GATE: json.dumps(asdict(verdict))},
        )
    place = workspace.models.below(f"{version.model}/{version.number}")
    place.write("evaluation.json", json.dumps(evaluation).encode())
    for file in _FILES:
        place.write(file, (trained.model / file).read_bytes())
    passed = json.loads(version.tags[_GATE])["passes"]
    registry.set_alias(version, CHAMPION if passed else CHALLENGER)
    if passed:
        registry.remove_alias(version.model, CHALLENGER)
    if trained.record.get("mlflow_run"):
        registry.log_metrics(trained.record["mlflow_run"], _test_metrics(evaluation))
    registry.tag(version, _SETTLED, "yes")
    return registry.version(version.model, str(version.number))


def _tags(trained: Run, evaluation: dict[str, Any]) -> dict[str, str]:
    """Say what the version is and where it comes from."""
    card = json.loads((trained.model / "model.json").read_bytes())
    dataset = card["dataset"]
    return {
        "dataset": f"{dataset['name']}/{dataset['version']}",
        "dataset.hash": dataset["hash"],
        "recipe": card["recipe"],
        "strategy": trained.record["strategy"],
        "backbone": card["backbone"],
        "kind": card["kind"],
        "classes": json.dumps(card["classes"]),
        "preprocessing": json.dumps(card["preprocessing"]),
        "weights.sha256": card["weights_sha256"],
        "metrics": json.dumps(evaluation["metrics"]),
    }


def _verdict(workspace: Workspace, config: Config, registry: Registry, trained: Run) -> Verdict:
    from besana.learning.gate import Verdict

    champion = registry.champion(config.name)
    if config.promote == "never":
        return Verdict(False, "It was asked not to be promoted.")
    if config.promote == "always":
        return Verdict(True, "It was asked to be promoted.")
    if champion is None:
        return Verdict(True, "There was no champion.")
    return _compared(workspace, config, champion, trained)


def _compared(workspace: Workspace, config: Config, champion: Version, trained: Run) -> Verdict:
    """Let both models judge the test split of the challenger's dataset."""
    import numpy as np

    from besana.learning.gate import Verdict, compare, judged
    from besana.learning.judging import targets_of
    from besana.models.model import load_model

    name, number = (trained.record["dataset"][key] for key in ("name", "version"))
    dataset: Dataset = open_dataset(workspace, name, number)
    folder = workspace.models.below(f"{champion.model}/{champion.number}")
    models = [load_model(folder), load_model(trained.model)]
    if misfit := _misfit(models[0].card, dataset):
        return Verdict(False, f"It cannot be compared with the champion: {misfit}.")
    manifest = dataset.manifest()
    positions = manifest.select("test")
    said = [judged(model, dataset, manifest, positions, workspace.shards) for model in models]
    return compare(
        targets_of(manifest, positions, len(dataset.classes)) > 0,
        said[0],
        said[1],
        np.asarray(manifest.column("group"))[positions],
        kind=dataset.kind,
        metric=config.metric,
        margin=config.margin,
        level=config.level,
    )


def _misfit(card: Any, dataset: Dataset) -> str:
    """Say why a model cannot judge a dataset; empty when it can."""
    if card.kind != dataset.kind:
        return f"one class a sample against several ({card.kind}, {dataset.kind})"
    if set(card.classes) != set(dataset.classes):
        return f"its classes are {', '.join(card.classes)}"
    if card.preprocessing.channels != dataset.channels:
        return f"it takes {card.preprocessing.channels} bands"
    return ""


def _test_metrics(evaluation: dict[str, Any]) -> dict[str, float]:
    return {
        f"test_{name}": figure["value"]
        for name, figure in evaluation["metrics"].items()
        if figure["value"] is not None
    }


def _describe(report: Report, version: Version, evaluation: dict[str, Any]) -> None:
    verdict = json.loads(version.tags[_GATE])
    report.fact("model", f"{version.model}/{version.number}")
    report.fact("alias", ", ".join(version.aliases))
    report.fact("run", version.run)
    report.fact("dataset", version.tags["dataset"])
    report.add(Text("Why", verdict["reason"]))
    alias = ", ".join(version.aliases) or "without an alias"
    report.result(f"{version.model}/{version.number} is {alias}: {verdict['reason']}")
    if verdict["samples"]:
        columns = ("champion", "challenger", "difference", "low", "high", "samples", "groups")
        row = [
            round(value, 4) if isinstance(value, float) else value
            for value in (verdict[name] for name in columns)
        ]
        note = "Both models judged the test split of the challenger's dataset."
        report.add(Table("Champion and challenger on the same samples", columns, [row], note))
    rows = [
        (name, figure["value"], figure["low"], figure["high"])
        for name, figure in evaluation["metrics"].items()
    ]
    report.add(Table("Test split", ("metric", "value_share", "low_share", "high_share"), rows))
