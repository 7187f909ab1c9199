"""From a prediction back to the labels and frames behind it, as rows that one query joins."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from besana.catalog.watch import dataset_samples, model_versions

if TYPE_CHECKING:
    from besana.registry import Version
    from besana.shards.datasets import Dataset
    from besana.workspace import Workspace

_STEP = 8192


def note_version(workspace: Workspace, version: Version, dataset: Dataset) -> None:
    """Write down which dataset a model version was trained on and which samples that holds, once.

    Args:
        workspace: Whose catalog.
        version: The model version.
        dataset: Its dataset.
    """
    catalog = workspace.catalog
    d = dataset_samples.c
    own = sa.select(d.frame_id).where(
        d.dataset == dataset.name, d.dataset_version == dataset.version
    )
    if catalog.count(own) < dataset.samples:
        for rows in _sample_rows(dataset):
            catalog.insert(dataset_samples, rows)
    catalog.insert(
        model_versions,
        [
            {
                "model": version.model,
                "version": version.number,
                "run": version.run,
                "dataset": dataset.name,
                "dataset_version": dataset.version,
                "dataset_hash": dataset.hash,
                "noted_at": dt.datetime.now(dt.UTC),
            }
        ],
    )


def _sample_rows(dataset: Dataset) -> Iterator[list[dict[str, Any]]]:
    manifest = dataset.manifest()
    for start in range(0, len(manifest), _STEP):
        positions = np.arange(start, min(start + _STEP, len(manifest)))
        splits = [manifest.splits[code] for code in manifest.split[positions].tolist()]
        yield [
            {
                "dataset": dataset.name,
                "dataset_version": dataset.version,
                "frame_id": row["frame_id"],
                "region": row["region"],
                "split": split,
            }
            for row, split in zip(manifest.identities(positions), splits, strict=True)
        ]
