"""Pack class folders into TFRecord shards of random-access JPEG that load fast.

Reads: pictures in FOLDER/<class>, or FOLDER/<train, val, test>/<class>
Writes: OUT: shards, manifest.parquet, skipped.csv where files could not be used
"""

from __future__ import annotations

from pathlib import Path

import typer
from pydantic import Field

from besana.progress import track
from besana.shards.packing import PackSettings, default_out, pack

EXAMPLE = "besana pack pictures pictures-256 --size-px 256 --validation-share 0.1"
ARGUMENTS = ("folder", "out")


class Config(PackSettings):
    """What to pack, where to and how."""

    folder: str = Field(description="Folder of class folders, maybe below train, val and test.")
    out: str = Field(
        default="", description="Folder or bucket for the shards; empty: FOLDER with -shards."
    )
    workers: int | None = Field(
        default=None, ge=1, description="Processes at the same time; default: one a core."
    )


def run(farm: Path, config: Config) -> int:
    """Pack a folder; a killed packing goes on, a finished one stays as it is.

    Args:
        farm: Not used: what is packed needs no workspace.
        config: What to pack and how.

    Returns:
        How many pictures were packed.

    Raises:
        NotFoundError: If there is no picture.
        ConfigError: If the folders contradict each other, or OUT holds something else.
        CorruptDataError: If too many files cannot be used.
    """
    from besana.engines import open_engine

    settings = config.model_dump(include=set(PackSettings.model_fields))
    with track("pack", None) as advance:
        packed = pack(
            config.folder,
            config.out or None,
            engine=open_engine("local", config.workers),
            advance=advance,
            **settings,
        )
    splits = ", ".join(f"{count:,} {split}" for split, count in packed.splits.items())
    typer.echo(f"{packed.samples:,} pictures of {len(packed.classes)} classes packed: {splits}.")
    out = default_out(config.folder, config.out)
    if packed.skipped:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in packed.skipped.items())
        typer.echo(f"Not packed: {reasons}. {out}/skipped.csv names them.")
    typer.echo(f'Next, in Python: besana.shards.Loader("{out.rstrip("/")}/manifest.parquet")')
    return packed.samples
