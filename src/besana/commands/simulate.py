"""Make a barn or a field with known truth, to try things on.

Reads: nothing
Writes: pictures, truth.csv, besana.toml and what else is true, in a folder
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import Field

from besana.config import Settings, parse
from besana.engines import open_engine
from besana.errors import ConfigError

ARGUMENTS = ("kind", "farm")
FARM = "simulated"
EXAMPLE = "besana simulate barn farm --days 3 --seed 7"

_BARN = ("days", "interval_s", "width_px", "beds", "faults", "moved_from_day")
_FIELD = ("fields", "tiles", "size_px", "layout")


class Config(Settings):
    """Settings of `simulate`; those of the other kind are refused."""

    kind: Literal["barn", "field"] = Field(description="What to simulate: barn or field.")
    seed: int = Field(default=0, ge=0, description="The same seed gives the same bytes.")
    quality: int = Field(default=85, ge=40, le=100, description="Quality of the JPEG files.")
    days: int = Field(default=14, ge=1, description="Barn: days of recording.")
    interval_s: int = Field(
        default=300, ge=60, le=3600, description="Barn: seconds between two frames."
    )
    width_px: int = Field(
        default=1280, ge=160, description="Barn: width of a frame; its height is 9/16 of it."
    )
    beds: int = Field(default=3, ge=1, le=3, description="Barn: labelled beds.")
    faults: bool = Field(
        default=True, description="Barn: whether files and pictures go wrong at times."
    )
    moved_from_day: int | None = Field(
        default=None, ge=0, description="Barn: day, from 0, on which the camera is knocked askew."
    )
    fields: int = Field(default=4, ge=1, description="Field: number of fields.")
    tiles: int = Field(default=8, ge=1, description="Field: tiles along each side of a field.")
    size_px: int = Field(default=256, ge=32, description="Field: side of a tile.")
    layout: Literal["bands", "agriculture_vision"] = Field(
        default="bands", description="Field: folders rgb and nir, or Agriculture-Vision's layout."
    )
    workers: int | None = Field(
        default=None, ge=1, description="Processes at the same time; default: one a core."
    )


def run(path: Path, config: Config) -> Path:
    """Write the pictures and their truth; the folder is a workspace that `collect` can start on.

    Args:
        path: The folder, made when missing.
        config: What to simulate.

    Raises:
        ConfigError: If a setting belongs to the other kind.
    """
    from besana.simulation.barn import BarnSettings, write_barn
    from besana.simulation.field import FieldSettings, write_field

    own, other = (_BARN, _FIELD) if config.kind == "barn" else (_FIELD, _BARN)
    given: dict[str, Any] = config.model_dump(exclude={"kind", "workers"}, exclude_unset=True)
    for key in other:
        if key in given:
            raise ConfigError(
                f"A {config.kind} has no '{key}'.", f"It has: {', '.join(('seed', *own))}."
            )
    engine = open_engine("local", config.workers)
    where = f"besana simulate {config.kind}"
    if config.kind == "barn":
        barn = write_barn(path, parse(BarnSettings, given, where=where), engine)
        _tell(path, barn.truth_csv)
    else:
        field = write_field(path, parse(FieldSettings, given, where=where), engine)
        _tell(path, field.truth_csv)
    return path


def _tell(path: Path, truth: Path) -> None:
    typer.echo(f"Made {path}; what is true of it stands in {truth}.")
    farm, file = shlex.quote(str(path)), shlex.quote(str(truth))
    typer.echo(f"Next: besana run {farm} --to prepare, then: besana label {farm} {file}")
