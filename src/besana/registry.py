"""Runs, model versions, aliases and lineage; MLflow does the work and nobody else sees it.

MLflow takes seconds to import, so that happens when a registry is first used, never before.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from besana.errors import NotReadyError, StorageError
from besana.registry_client import open_client, without_warnings
from besana.workspace import Workspace

CHAMPION, CHALLENGER = "champion", "challenger"
EXPORT_TAG, EXPORT_FOLDER = "besana.export.sha256", "onnx"
"""Hash of the certificate of a version's export, and where it lies below the version's folder."""

_CHAMPIONS = "besana.champions"
_MOST_CHAMPIONS = 50
URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"

_SERVERS = ("http://", "https://", "databricks")
_OURS = "besana:"
_LONGEST_PARAMETER = 500
_BATCH = 500


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        model: Name of the line of models.
        number: 1 for the first.
        source: Where its folder lies.
        run: besana's run that made it.
        aliases: `champion`, `challenger`, or none.
        tags: Dataset hash, metrics, classes and the like, as text.
    """

    model: str
    number: int
    source: str
    run: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Curve:
    """A figure over epochs (or whatever `steps` counts)."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]


class Registry:
    """The runs and models of one MLflow store.

    Args:
        uri: `sqlite:///path`, or the address of an MLflow server.
        artifacts: Folder for artifacts when the store is a file.

    Raises:
        MissingExtraError: If MLflow is not installed.
    """

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        self.uri = uri
        self._artifacts = artifacts

    def log_run(
        self,
        experiment: str,
        name: str,
        *,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        curves: Sequence[Curve] = (),
        tags: Mapping[str, str] | None = None,
        artifacts: Sequence[Path] = (),
    ) -> str:
        """Log a training; one that was logged before under this name is not logged again.

        Args:
            experiment: Name of the experiment, made when new.
            name: besana's run id.
            parameters: Settings.
            metrics: Final figures.
            curves: Figures over epochs.
            tags: Further facts.
            artifacts: Small files to keep beside the run.

        Returns:
            MLflow's id of the run.
        """
        with self._refusals():
            place = self._experiment(experiment)
            known = self._logged(place, name)
            if known is not None:
                return known
            tags = {**(tags or {}), "besana.run": name}
            run = self._client.create_run(place, run_name=name, tags=tags)
            run_id = str(run.info.run_id)
            self._log_values(run_id, parameters, metrics, curves)
            for path in artifacts:
                self._client.log_artifact(run_id, str(path))
            self._client.set_terminated(run_id, "FINISHED")
            return run_id

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Add figures to a run that was logged before."""
        with self._refusals():
            self._log_values(run_id, {}, metrics, ())

    def register(
        self, model: str, source: str, *, run: str, mlflow_run: str, tags: Mapping[str, str]
    ) -> Version:
        """Register a model folder as the next version of a line of models.

        Args:
            model: Name of the line, made when new.
            source: Where the folder lies; `{version}` in it stands for the number.
            run: besana's run id.
            mlflow_run: MLflow's run id; empty for none.
            tags: Dataset hash, metrics, preprocessing, classes.
        """
        with self._refusals():
            if not self._is_known(model):
                self._client.create_registered_model(model)
            number = 1 + max((version.number for version in self.versions(model)), default=0)
            self._client.create_model_version(
                model,
                self._sent(source.replace("{version}", str(number))),
                run_id=mlflow_run or None,
                tags={**tags, "besana.run": run},
                await_creation_for=0,
            )
        return self.version(model, str(number))

    def versions(self, model: str) -> list[Version]:
        """List the versions of a model, the first one first; none when nobody knows it."""
        with self._refusals():
            if not self._is_known(model):
                return []
            aliases = self._client.get_registered_model(model).aliases
            found: list[Any] = []
            token = None
            while True:
                page = self._client.search_model_versions(f"name='{model}'", page_token=token)
                found.extend(page)
                token = page.token
                if not token:
                    break
        return sorted((_version(one, aliases) for one in found), key=lambda v: v.number)

    def version(self, model: str, version: str) -> Version:
        """Find one version.

        Args:
            model: Name of the line of models.
            version: A number, `champion` or `challenger`.

        Raises:
            NotReadyError: If there is none.
        """
        for found in self.versions(model):
            if version == str(found.number) or version in found.aliases:
                return found
        raise NotReadyError(
            f"No version '{version}' of model '{model}' is registered.", "Run: besana register FARM"
        )

    def champion(self, model: str) -> Version | None:
        """Find the champion of a line of models; None before the first."""
        for found in self.versions(model):
            if CHAMPION in found.aliases:
                return found
        return None

    def set_alias(self, version: Version, alias: str) -> None:
        """Point an alias to a version; it leaves the one that had it."""
        with self._refusals():
            self._client.set_registered_model_alias(version.model, alias, str(version.number))
        if alias == CHAMPION:
            before = self.champions(version.model)
            if before[-1:] != [version.number]:
                numbers = [*before, version.number][-_MOST_CHAMPIONS:]
                self.set_property(version.model, _CHAMPIONS, json.dumps(numbers))

    def champions(self, model: str) -> list[int]:
        """List the versions that were champion, the present one last."""
        return [int(number) for number in json.loads(self.property_of(model, _CHAMPIONS) or "[]")]

    def roll_back(self, model: str) -> Version:
        """Make the champion before the present one champion again.

        Raises:
            NotReadyError: If there was none.
        """
        numbers = self.champions(model)
        if len(numbers) < 2:
            raise NotReadyError(
                f"Model '{model}' had no champion before this one.", "Run: besana promote"
            )
        version = self.version(model, str(numbers[-2]))
        self.set_property(model, _CHAMPIONS, json.dumps(numbers[:-1]))
        self.set_alias(version, CHAMPION)
        return version

    def property_of(self, model: str, name: str) -> str:
        """Read a fact about a line of models; empty when nobody noted it."""
        with self._refusals():
            if not self._is_known(model):
                return ""
            return str(self._client.get_registered_model(model).tags.get(name, ""))

    def set_property(self, model: str, name: str, value: str) -> None:
        """Note a fact about a line of models."""
        with self._refusals():
            self._client.set_registered_model_tag(model, name, value)

    def tag(self, version: Version, name: str, value: str) -> None:
        """Note a fact about a version."""
        with self._refusals():
            self._client.set_model_version_tag(version.model, str(version.number), name, value)

    def remove_alias(self, model: str, alias: str) -> None:
        """Take an alias away from whichever version has it."""
        with self._refusals():
            if any(alias in found.aliases for found in self.versions(model)):
                self._client.delete_registered_model_alias(model, alias)

    def _sent(self, source: str) -> str:
        """Write a model's folder so that a server takes it.

        A server refuses paths of this machine, lest somebody reads the server's own files by them.
        """
        return f"{_OURS}{source}" if self.uri.startswith(_SERVERS) else source

    def _is_known(self, model: str) -> bool:
        return bool(self._client.search_registered_models(f"name='{model}'"))

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        location = None if self._artifacts is None else self._artifacts.absolute().as_uri()
        return str(self._client.create_experiment(name, artifact_location=location))

    def _logged(self, experiment: str, name: str) -> str | None:
        query = f"tags.\"besana.run\" = '{name}' and attributes.status = 'FINISHED'"
        runs = self._client.search_runs([experiment], query, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def _log_values(
        self,
        run_id: str,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        curves: Sequence[Curve],
    ) -> None:
        import time

        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        points = [Metric(name, float(value), now, 0) for name, value in metrics.items()]
        points += [
            Metric(curve.name, float(value), now, int(step))
            for curve in curves
            for step, value in zip(curve.steps, curve.values, strict=True)
        ]
        for start in range(0, len(points), _BATCH):
            self._client.log_batch(run_id, metrics=points[start : start + _BATCH])
        texts = {key: str(value)[:_LONGEST_PARAMETER] for key, value in parameters.items()}
        if texts:
            self._client.log_batch(run_id, params=[Param(*pair) for pair in texts.items()])

    @cached_property
    def _client(self) -> Any:
        if self._artifacts is not None:
            self._artifacts.mkdir(parents=True, exist_ok=True)
        return open_client(self.uri)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        _ = self._client
        from mlflow.exceptions import MlflowException

        try:
            with without_warnings():
                yield
        except MlflowException as error:
            line = str(error).strip().splitlines()[0].replace(self.uri, "it")
            raise StorageError(
                f"The MLflow store {_without_password(self.uri)} refused: {line}",
                f"Check the address in tracking_uri or {URI_VARIABLE}.",
            ) from None


def open_registry(workspace: Workspace, uri: str = "") -> Registry:
    """Open the registry of a workspace.

    Args:
        workspace: Its own store is the file `runs/mlflow.db`.
        uri: An MLflow server instead; empty: the environment's `MLFLOW_TRACKING_URI`, if set.
    """
    chosen = uri or os.environ.get(URI_VARIABLE, "") or f"sqlite:///{workspace.runs / DATABASE}"
    # A database says nothing about files; MLflow would put them into the current folder.
    return Registry(chosen, None if chosen.startswith(_SERVERS) else workspace.runs / "mlflow")


def _version(found: Any, aliases: Mapping[str, Any]) -> Version:
    number = int(found.version)
    return Version(
        model=found.name,
        number=number,
        source=found.source.removeprefix(_OURS),
        run=found.tags.get("besana.run", ""),
        aliases=tuple(sorted(name for name, at in aliases.items() if int(at) == number)),
        tags=dict(found.tags),
    )


def _without_password(uri: str) -> str:
    before, at, after = uri.rpartition("@")
    return f"{before.partition('://')[0]}://...@{after}" if at else after
