"""Make the champion before the present one champion again.

Reads: the registry
Writes: the registry
"""

from __future__ import annotations

import typer
from pydantic import Field

from besana.config import Settings
from besana.registry import Version, open_registry
from besana.workspace import Workspace

EXAMPLE = "besana rollback farm"


class Config(Settings):
    """Which model."""

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
    """Roll back by one champion; servers load it at their next look into the registry.

    Raises:
        NotReadyError: If there was no champion before this one.
    """
    version = open_registry(workspace, config.tracking_uri).roll_back(config.model)
    typer.echo(f"{version.model}/{version.number} is champion again.")
    return version
