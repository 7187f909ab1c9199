"""Start a workspace: a folder with a commented besana.toml.

Reads: nothing
Writes: besana.toml
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

from besana import pipeline
from besana.backup import BackupSettings
from besana.config import Settings
from besana.costs.settings import CostSettings
from besana.errors import ConfigError
from besana.stages import STAGES
from besana.workspace import SETTINGS_FILE, EngineSettings, Workspace, WorkspaceSettings

EXAMPLE = "besana init farm"

_CAMERAS = """\
# One table a camera. Frames whose camera has none are taken whole and undistorted.
# [cameras.barn-1]
# files = "barn-1/**"                 # its files below the collected folder
# time_zone = "Europe/Madrid"
# time_from = "name"                  # name, exif, modified or none
# time_pattern = "%Y-%m-%dT%H-%M-%S"  # of the file name, without ending
# frame_interval_s = 300
# [cameras.barn-1.lens]
# model = "fisheye"                   # none, pinhole or fisheye
# file = "barn-1-lens.yml"            # an OpenCV calibration, or the numbers themselves:
# focal_px = [340.0, 340.0]
# centre_px = [640.0, 480.0]
# distortion = [0.0, 0.0, 0.0, 0.0]
# [cameras.barn-1.regions]            # boxes [left, top, right, bottom] or polygons [[x, y], ...]
# bed-1 = [100, 200, 400, 600]        # in undistorted pixels

# Which files make one frame, when a frame has more than one band.
# [bands]
# rgb = "rgb/*"
# nir = "nir/*"
"""


class Config(Settings):
    """`besana init` has no settings but the folder."""


def run(path: Path, config: Config) -> Workspace:
    """Write `besana.toml` with every setting, commented out, and open the workspace.

    Raises:
        ConfigError: If there is a `besana.toml` already; it is left as it is.
    """
    if (path / SETTINGS_FILE).exists():
        raise ConfigError(f"'{path}' is a workspace already.", f"Edit {path / SETTINGS_FILE}.")
    workspace = Workspace.create(path, settings_text())
    typer.echo(f"Workspace {path} is ready. Next: besana collect {workspace.word} FOLDER_OF_IMAGES")
    return workspace


def settings_text() -> str:
    """Write out every setting with its default and what it means, as TOML comments."""
    parts = [
        "# Settings of this besana workspace. Every line that starts with '# key =' shows a",
        "# default: take the '#' away to change it. Unknown keys are errors.\n",
        _fields(WorkspaceSettings),
        _CAMERAS,
        f"# [engine]\n{_fields(EngineSettings)}",
        f"# What things cost, and how much they may.\n# [costs]\n{_fields(CostSettings)}",
        f"# Copies of what cannot be made again.\n# [backup]\n{_fields(BackupSettings)}",
    ]
    for name, summary in STAGES.items():
        parts.append(f"# {summary}\n# [{name}]\n{_fields(pipeline.stage(name).Config)}")
    return "\n".join(parts)


def _fields(model: type[Settings]) -> str:
    return "".join(
        f"# {name} = {_toml(_default(field))}".rstrip() + f"  # {field.description}\n"
        for name, field in model.model_fields.items()
    )


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _toml(value: Any) -> str:
    """Write a value as TOML; nothing for None, which TOML does not have."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False)
