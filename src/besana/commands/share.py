"""Give a version a share of the requests, or let it judge in the shadow.

Reads: the registry
Writes: the registry
"""

from __future__ import annotations

import typer
from pydantic import Field

from besana.config import Settings
from besana.errors import NotReadyError
from besana.registry import CHALLENGER, CHAMPION, EXPORT_TAG, open_registry
from besana.serving.shares import PROPERTY, Shares, read_shares
from besana.workspace import Workspace

EXAMPLE = "besana share farm 4 --percent 10"
ARGUMENTS = ("farm", "version")


class Config(Settings):
    """Which version gets what."""

    version: str = Field(default=CHALLENGER, description="A number, or challenger.")
    percent: float = Field(
        default=0.0, ge=0, le=100, description="Share of the cameras that it answers; 0: none."
    )
    shadow: bool = Field(
        default=False, description="Let it judge everything beside, without answering."
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


def run(workspace: Workspace, config: Config) -> Shares:
    """Change what one version gets; servers follow at their next look into the registry.

    A camera stays with its version, so that what is said about it does not flicker.

    Raises:
        NotReadyError: If there is no such version, it is not exported, or is the champion.
        ConfigError: If the shares add up to more than 100 percent.
    """
    registry = open_registry(workspace, config.tracking_uri)
    version = registry.version(config.model, config.version)
    if CHAMPION in version.aliases:
        raise NotReadyError("The champion gets what others leave.", "Name another version.")
    wanted = config.percent or config.shadow
    if wanted and not version.tags.get(EXPORT_TAG):
        raise NotReadyError(
            f"Version {version.number} of model '{version.model}' is not exported.",
            f"Run: besana export {workspace.word} onnx --model-version {version.number}",
        )
    before = read_shares(registry.property_of(config.model, PROPERTY))
    shares = before.changed(version.number, percent=config.percent, shadow=config.shadow)
    registry.set_property(config.model, PROPERTY, shares.model_dump_json())
    rest = 100 - sum(shares.percent.values())
    parts = [f"version {number} {share:g} %" for number, share in shares.percent.items()]
    shadows = [f"version {number} in the shadow" for number in shares.shadow]
    typer.echo(", ".join([f"champion {rest:g} %", *parts, *shadows]))
    return shares
