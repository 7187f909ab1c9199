"""Make a version of a model the champion.

Reads: the registry
Writes: the registry
"""

from __future__ import annotations

import typer
from pydantic import Field

from besana.config import Settings
from besana.registry import CHALLENGER, CHAMPION, Version, open_registry
from besana.workspace import Workspace

EXAMPLE = "besana promote farm 3"
ARGUMENTS = ("farm", "version")


class Config(Settings):
    """Which version."""

    version: str = Field(default=CHALLENGER, description="A number, or challenger.")
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
    registry.set_alias(version, CHAMPION)
    if CHALLENGER in version.aliases:
        registry.remove_alias(config.model, CHALLENGER)
    typer.echo(f"{version.model}/{version.number} is champion.")
    return registry.version(config.model, str(version.number))
