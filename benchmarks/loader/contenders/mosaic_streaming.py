"""MosaicML Streaming on its own shards, with torchvision's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streaming import StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader
from work import BATCH, Work

from contenders import torch_pictures as shared

NEEDS = ("mosaicml-streaming", "torch", "torchvision")
FORMAT = "mds"
SETTINGS = f"py1e shuffle; {shared.SETTINGS}"
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT


class _Shards(StreamingDataset):
    def __init__(self, work: Work) -> None:
        super().__init__(local=str(work.folder / FORMAT), shuffle=True, batch_size=BATCH)
        self.picture = shared.from_bytes(work)

    def __getitem__(self, number: int) -> Any:
        return self.picture(super().__getitem__(number)["image"])


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    clean_stale_shared_memory()
    settings = shared.LOADER | {"drop_last": False}
    loader = DataLoader(
        _Shards(work),
        BATCH,
        num_workers=work.workers,
        collate_fn=shared.collate(work),
        **settings,
    )
    return shared.endless(loader)
