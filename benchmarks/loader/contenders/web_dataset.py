"""WebDataset on tar files, with torchvision's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import webdataset
from work import BATCH, Work

from contenders import torch_pictures as shared

NEEDS = ("webdataset", "torch", "torchvision")
FORMAT = "tar"
SETTINGS = f"shards resampled, shuffle 500, batched in workers; {shared.SETTINGS}"
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    shards = sorted(str(path) for path in (work.folder / FORMAT).glob("*.tar"))
    picture, collate = shared.from_bytes(work), shared.collate(work)
    dataset = (
        webdataset.WebDataset(shards, resampled=True, shardshuffle=False)
        .shuffle(500)
        .map(lambda sample: picture(sample["jpg"]))
        .batched(BATCH, collation_fn=collate, partial=False)
    )
    loader = webdataset.WebLoader(
        dataset, batch_size=None, num_workers=work.workers, prefetch_factor=4
    )
    return iter(loader)
