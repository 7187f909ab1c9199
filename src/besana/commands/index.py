"""Make a manifest for TFRecord files of anybody, so that the loader reads them.

Reads: TFRecord files in FOLDER: `tf.train.Example` with a JPEG or PNG in `image/encoded`
Writes: manifest.parquet beside them
"""

from __future__ import annotations

from pathlib import Path

import typer
from pydantic import Field

from besana.config import Settings
from besana.progress import track

EXAMPLE = "besana index tfrecords --split train"
ARGUMENTS = ("folder",)

_SHOWN = 5


class Config(Settings):
    """What to index."""

    folder: str = Field(description="Folder or bucket of TFRecord files.")
    shards: list[str] = Field(
        default=[], description="Only these files, below the folder; empty: all by their names."
    )
    manifest: str = Field(
        default="manifest.parquet", min_length=1, description="The manifest's name in the folder."
    )
    classes: list[str] = Field(
        default=[],
        description="Class names in the order of the labels; empty: those in the records.",
    )
    split: str | None = Field(
        default=None,
        description="Split of all samples; empty: by names like train-00003-of-00010.tfrecord.",
    )


def run(farm: Path, config: Config) -> int:
    """Read every record once, check it and write where it lies.

    Args:
        farm: Not used: what is indexed needs no workspace.
        config: What to index.

    Returns:
        How many samples the manifest has.

    Raises:
        NotFoundError: If there are no TFRecord files.
        CorruptDataError: If one is damaged, or none holds a picture.
    """
    from besana.shards.indexing import index, shard_keys
    from besana.storage import open_storage

    storage = open_storage(config.folder)
    keys = config.shards or shard_keys(storage)
    with track("index", len(keys)) as advance:
        made = index(
            storage,
            keys,
            manifest_key=config.manifest,
            classes=config.classes,
            split=config.split,
            advance=advance,
        )
    typer.echo(f"{made.samples:,} samples of {len(made.classes)} classes in {len(keys)} shards.")
    if made.skipped:
        typer.echo(f"{made.skipped:,} records hold no picture that can be loaded:")
        for problem in made.problems[:_SHOWN]:
            typer.echo(f"  {problem}")
    place = f"{config.folder.rstrip('/')}/{config.manifest}"
    typer.echo(f'Next, in Python: besana.shards.Loader("{place}")')
    return made.samples
