"""Compute one vector a sample with a frozen backbone.

Reads: samples, shards
Writes: embeddings/<backbone>
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from besana import catalog as tables
from besana.config import Settings
from besana.console import plain_console
from besana.costs.bills import billing
from besana.engines import Engine
from besana.engines.local import LocalEngine
from besana.learning.on_engine import Embedding, Row, embed_rows, whole_batches
from besana.learning.sample_pages import manifest_of, sample_pages, usable_samples
from besana.progress import progress_noted, track
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.learning.embeddings import Embeddings
    from besana.models.network import Built

EXAMPLE = "besana embed farm --backbone timm/resnet18"


class Config(Settings):
    """Which backbone, and where it runs."""

    backbone: str = Field(
        default="timm/mobilenetv2_100", description="Network: timm/<name> or besana/small."
    )
    weights: str = Field(
        default="pretrained",
        description="pretrained (timm's, fetched once), random, or a .safetensors file.",
    )
    backbone_options: dict[str, Any] = Field(
        default={}, description="Further arguments of the network, as {pad_type = 'same'}."
    )
    input_mean: list[float] = Field(
        default=[], description="Mean of each band, 0 to 255; empty: the network's own."
    )
    input_std: list[float] = Field(
        default=[], description="Deviation of each band, 0 to 255; empty: the network's own."
    )
    size_px: int = Field(
        default=0, ge=0, le=4096, description="Height and width of the input; 0: the network's own."
    )
    batch_size: int = Field(default=32, ge=1, description="Samples at a time.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to compute; auto: a GPU when there is one."
    )
    threads: int = Field(default=0, ge=0, le=256, description="Threads; 0: one a core.")


def run(workspace: Workspace, config: Config, engine: Engine | None = None) -> list[str]:
    """Embed every sample that has no vector of this backbone; a killed run goes on.

    One machine computes in this process, which has all its cores or its GPU; an engine of other
    machines gets the samples in partitions, and leaves the same vectors.

    Args:
        workspace: Whose samples.
        config: Which backbone.
        engine: Where to compute; None means this process.

    Returns:
        Folders or URLs where the vectors lie, one for each number of bands.

    Raises:
        ConfigError: If the backbone or its weights do not fit the samples.
        NotFoundError: If weights are not there and cannot be fetched.
    """
    with (
        billing(workspace, "embed", config) as bill,
        progress_noted(workspace.temporary, "embed"),
    ):
        done = [_embed(workspace, config, each, engine) for each in _channels(workspace)]
        bill.counts_in = sum(made for _, made in done)
    return [url for url, _ in done]


def _channels(workspace: Workspace) -> list[int]:
    """List the numbers of bands that samples have."""
    column = tables.samples.c.channels
    select = sa.select(column).distinct().order_by(column)
    return [row.channels for row in workspace.catalog.rows(select)]


def _embed(
    workspace: Workspace,
    config: Config,
    channels: int,
    engine: Engine | None,
) -> tuple[str, int]:
    """Embed the samples of so many bands; where the vectors lie, and how many are new."""
    import torch

    from besana.learning.embeddings import Embeddings, backbone_key
    from besana.models.network import Backbone, build, linear_head
    from besana.shards.memory import usable_processors

    torch.set_num_threads(config.threads or usable_processors())
    backbone = Backbone(
        config.backbone,
        config.weights,
        config.backbone_options,
        config.size_px,
        config.input_mean,
        config.input_std,
    )
    built = build(backbone, classes=2, channels=channels)
    storage = workspace.embeddings.below(backbone_key(backbone, built))
    embeddings = Embeddings(storage, linear_head(built.network).in_features)
    before = len(embeddings)
    if engine is None or isinstance(engine, LocalEngine):
        notes = _embed_samples(workspace, config, embeddings, built, channels)
    else:
        job = Embedding(
            backbone=backbone,
            channels=channels,
            key=backbone_key(backbone, built),
            shards=workspace.shards,
            embeddings=storage,
            device=config.device,
            batch_size=config.batch_size,
            threads=config.threads,
        )
        notes = _embed_elsewhere(workspace, job, embeddings, engine)
    say = plain_console().print
    for note in notes:
        say(note)
    made = len(embeddings) - before
    say(f"{made:,} samples embedded, {len(embeddings):,} in {storage.url}")
    return storage.url, made


def _embed_samples(
    workspace: Workspace, config: Config, embeddings: Embeddings, built: Built, channels: int
) -> list[str]:
    import numpy as np

    from besana.learning.embeddings import embed
    from besana.models.model import device_name

    known, notes = embeddings.known(), []
    select = _samples(channels)
    with track("embed", workspace.catalog.count(select)) as advance:
        for page in sample_pages(workspace, select):
            with manifest_of(page, workspace.temporary) as manifest:
                notes += embed(
                    embeddings,
                    built,
                    manifest,
                    np.arange(len(manifest)),
                    workspace.shards,
                    device=device_name(config.device),
                    batch_size=config.batch_size,
                    known=known,
                    advance=advance,
                )
    return notes


def _embed_elsewhere(
    workspace: Workspace, job: Embedding, embeddings: Embeddings, engine: Engine
) -> list[str]:
    """Let an engine write the blocks; the index, which counts them, is written here."""
    notes: list[str] = []
    select = _samples(job.channels)
    with track("embed", workspace.catalog.count(select)) as advance:
        partitions = _due(workspace, job, embeddings, advance)
        for done in engine.map(partial(embed_rows, job=job), partitions):
            if done.block:
                embeddings.count(done.block, done.rows)
            notes += done.notes
            advance(done.samples)
    return notes


def _due(
    workspace: Workspace, job: Embedding, embeddings: Embeddings, advance: Callable[[int], None]
) -> Iterator[Sequence[Row]]:
    """Give the samples that have no vector yet, in partitions."""
    import numpy as np

    from besana.learning.embeddings import sample_keys

    known = embeddings.known()
    for page in sample_pages(workspace, _samples(job.channels)):
        crc32c = np.array([row["crc32c"] for row in page], np.uint32)
        missing = ~np.isin(sample_keys(page, crc32c), known)
        advance(int((~missing).sum()))
        due = [row for row, is_due in zip(page, missing.tolist(), strict=True) if is_due]
        yield from whole_batches(due, job.batch_size)


def _samples(channels: int) -> sa.Select[Any]:
    return usable_samples().where(tables.samples.c.channels == channels)
