"""Hugging Face datasets, map style, with torchvision's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
from torch.utils.data import DataLoader
from work import BATCH, Work

from contenders import torch_pictures as shared

NEEDS = ("datasets", "torch", "torchvision")
FORMAT = "arrow"
SETTINGS = f"whole batches from Arrow; {shared.SETTINGS}"
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    picture, collate = shared.from_bytes(work), shared.collate(work)
    table = datasets.load_from_disk(str(work.folder / FORMAT)).select_columns(["image"])
    table = table.with_transform(lambda rows: {"image": [picture(data) for data in rows["image"]]})
    loader = DataLoader(
        table,
        BATCH,
        shuffle=True,
        num_workers=work.workers,
        collate_fn=lambda rows: collate([row["image"] for row in rows]),
        **shared.LOADER,
    )
    return shared.endless(loader)
