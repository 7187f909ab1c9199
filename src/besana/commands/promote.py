"""Make a version of a model the champion.

Reads: the registry, models/<name>/<version>
Writes: the registry, models/<name>/<version>/onnx
"""

from __future__ import annotations

import typer
from pydantic import Field

from besana.config import Settings
from besana.registry import (
    CHALLENGER,
    CHAMPION,
    EXPORT_TAG,
    Registry,
    Version,
    open_registry,
)
from besana.workspace import Workspace

EXAMPLE = "besana promote farm 3"
ARGUMENTS = ("farm", "version")


class Config(Settings):
    """Which version."""

    version: str = Field(default=CHALLENGER, description="A number, or challenger.")
    export: bool = Field(
        default=True,
        description="Export it first when the present champion is exported, so that servers"
        " can follow.",
    )
    model: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the model.",
    )
    tracking_uri: str = Field(
        default="",
        description="MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )


def run(workspace: Workspace, config: Config) -> Version:
    """Promote a version; servers load it at their next look into the registry.

    Raises:
        NotReadyError: If there is no such version.
    """
    registry = open_registry(workspace, config.tracking_uri)
    version = registry.version(config.model, config.version)
    if config.export:
        _export(workspace, registry, version)
    registry.set_alias(version, CHAMPION)
    if CHALLENGER in version.aliases:
        registry.remove_alias(config.model, CHALLENGER)
    typer.echo(f"{version.model}/{version.number} is champion.")
    return registry.version(config.model, str(version.number))


def _export(workspace: Workspace, registry: Registry, version: Version) -> None:
    """Export a version in the precisions of the champion, where that is exported."""
    champion = registry.champion(version.model)
    if champion is None or not champion.tags.get(EXPORT_TAG) or version.tags.get(EXPORT_TAG):
        return
    from besana.learning.exporting import export_folder, export_version
    from besana.models.onnx_model import read_certificate

    made = read_certificate(export_folder(workspace, champion)).exports
    export_version(workspace, registry, version, tuple(made))
