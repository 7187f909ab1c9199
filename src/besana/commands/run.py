"""Walk the stages from one to another.

Reads: what the first stage reads
Writes: what every stage on the way writes
"""

from __future__ import annotations

from pydantic import Field

from besana import pipeline
from besana.config import Settings
from besana.engines import Engine
from besana.workspace import Report, Workspace

EXAMPLE = "besana run farm --from clean --to train"


class Config(Settings):
    """Which stretch of the way to walk."""

    first: str | None = Field(
        default=None,
        description="First stage; empty: the first of all.",
        json_schema_extra={"option": "--from"},
    )
    last: str | None = Field(
        default=None,
        description="Last stage; empty: the last of all.",
        json_schema_extra={"option": "--to"},
    )


def run(workspace: Workspace, config: Config, engine: Engine | None = None) -> dict[str, Report]:
    """Run the stages of a stretch and return their reports by name.

    Raises:
        ConfigError: If a stage is unknown or the stretch runs backwards.
    """
    return pipeline.run(workspace, first=config.first, last=config.last, engine=engine)
