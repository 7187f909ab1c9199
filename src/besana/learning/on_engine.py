"""Embed and judge samples where an engine runs: rows go there, vectors and shards stay in store."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from besana.errors import BesanaError
from besana.learning.sample_pages import manifest_of
from besana.storage import Storage, open_storage

if TYPE_CHECKING:
    from besana.learning.embeddings import Embedder
    from besana.models.model import Model
    from besana.models.network import Backbone

Row = Mapping[str, Any]

_ROWS = 1024


def whole_batches(page: Sequence[Row], batch_size: int) -> Iterator[Sequence[Row]]:
    """Cut a page into partitions whose batches are those of the whole page.

    So every picture lies in the same place of the same batch as on one machine, and what a
    network computes of it does not depend on who did it.

    >>> [len(part) for part in whole_batches([{}] * 2100, 32)]
    [1024, 1076]
    """
    step = batch_size * max(_ROWS // batch_size, 1)
    starts = [start for start in range(0, len(page), step) if len(page) - start >= batch_size]
    for start, stop in zip(starts or [0], [*starts[1:], len(page)], strict=True):
        if stop > start:
            yield page[start:stop]


@dataclass(frozen=True)
class Embedding:
    """What an executor needs to embed samples.

    Attributes:
        backbone: The network; its weights have to be where the work runs, too.
        channels: Bands of the samples.
        key: The backbone's folder, so that other weights are noticed.
        shards: Where the shards lie.
        embeddings: Where this backbone's blocks lie.
        device: Where to compute.
        batch_size: Samples at a time.
        threads: Threads of a task; 0 for those that the environment gives.
    """

    backbone: Backbone
    channels: int
    key: str
    shards: Storage
    embeddings: Storage
    device: str
    batch_size: int
    threads: int


class Embedded(NamedTuple):
    """What one partition left.

    Attributes:
        block: Name of the block; empty if no record could be used.
        rows: Its samples.
        samples: Samples that were looked at.
        notes: A sentence for each record that could not be used.
    """

    block: str
    rows: int
    samples: int
    notes: list[str]


def embed_rows(rows: Sequence[Row], *, job: Embedding) -> Embedded:
    """Embed some samples and leave their vectors as one block, named by what is in it.

    Raises:
        BesanaError: If this machine has other weights than the driver.
    """
    from besana.learning.embeddings import open_pictures
    from besana.learning.vector_blocks import write_block

    embedder, built = _embedder(job)
    identities: list[Row] = []
    keys, vectors = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        manifest_of(rows, Path(folder)) as manifest,
        open_pictures(built, manifest, np.arange(len(rows)), job.shards, job.batch_size) as loader,
    ):
        for batch in loader:
            own, own_keys, own_vectors = embedder.embed(manifest, batch)
            identities += own
            keys.append(own_keys)
            vectors.append(own_vectors)
        notes = loader.dropped()
    if not identities:
        return Embedded("", 0, len(rows), notes)
    block_keys = np.concatenate(keys)
    name = f"part-{hashlib.blake2b(block_keys.tobytes(), digest_size=8).hexdigest()}.parquet"
    write_block(job.embeddings, name, identities, block_keys, np.concatenate(vectors))
    return Embedded(name, len(identities), len(rows), notes)


_embedders: dict[str, tuple[Embedder, Any]] = {}


def _embedder(job: Embedding) -> tuple[Embedder, Any]:
    """Give this process's network, which many partitions use."""
    from besana.learning.embeddings import Embedder, backbone_key
    from besana.models.model import device_name
    from besana.models.network import build

    _use_threads(job.threads)
    if job.key not in _embedders:
        built = build(job.backbone, classes=2, channels=job.channels)
        if (key := backbone_key(job.backbone, built)) != job.key:
            raise BesanaError(
                f"An executor has other weights of '{job.backbone.name}' than the driver:"
                f" {key}, not {job.key}.",
                "Give both the same weights and the same torch.",
            )
        _embedders.clear()
        _embedders[job.key] = Embedder(built, device_name(job.device)), built
    return _embedders[job.key]


@dataclass(frozen=True)
class Judging:
    """What an executor needs to classify samples.

    Attributes:
        model: URL of the model's folder.
        weights_sha256: Which weights these are: a folder may be trained anew.
        shards: Where the shards lie.
        device: Where to compute.
        batch_size: Samples at a time.
        threads: Threads of a task; 0 for those that the environment gives.
    """

    model: str
    weights_sha256: str
    shards: Storage = field(repr=False)
    device: str
    batch_size: int
    threads: int


class Judged(NamedTuple):
    """What a model says of some samples.

    Attributes:
        identities: `frame_id` and `region` of each.
        probability: (n, classes); NaN where a record could not be used.
    """

    identities: list[dict[str, str]]
    probability: NDArray[np.float32]


def judge_rows(rows: Sequence[Row], *, job: Judging) -> Judged:
    """Classify some samples with a model out of the store."""
    from besana.learning.judging import judge

    _use_threads(job.threads)
    model = _model(job.model, job.weights_sha256, job.device)
    with tempfile.TemporaryDirectory() as folder, manifest_of(rows, Path(folder)) as manifest:
        probability = judge(
            model.network,
            model.card.preprocessing,
            model.card.kind,
            manifest,
            np.arange(len(manifest)),
            job.shards,
            batch_size=job.batch_size,
        )
    identities = [{name: row[name] for name in ("frame_id", "region")} for row in rows]
    return Judged(identities, probability)


@cache
def _model(url: str, weights_sha256: str, device: str) -> Model:
    """Load a model once a process."""
    from besana.models.model import load_model

    model = load_model(open_storage(url), device=device)
    if model.card.weights_sha256 != weights_sha256:
        raise BesanaError(
            f"The model in {url} is not the one that the driver has.",
            "Let nobody write models meanwhile, and put store where every executor finds it.",
        )
    return model


def _use_threads(threads: int) -> None:
    """Take so many threads; 0 leaves what OMP_NUM_THREADS said, one a task on Spark."""
    import torch

    if threads:
        torch.set_num_threads(threads)
