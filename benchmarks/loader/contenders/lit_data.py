"""LitData on its own chunks, with torchvision's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from litdata import StreamingDataLoader, StreamingDataset
from work import BATCH, Work

from contenders import torch_pictures as shared

NEEDS = ("litdata", "torch", "torchvision")
FORMAT = "litdata"
SETTINGS = shared.SETTINGS
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT


class _Chunks(StreamingDataset):
    def __init__(self, work: Work) -> None:
        super().__init__(str(work.folder / FORMAT), shuffle=True, drop_last=True)
        self.picture = shared.from_bytes(work)

    def __getitem__(self, number: Any) -> Any:
        return self.picture(super().__getitem__(number)["image"])


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    loader = StreamingDataLoader(
        _Chunks(work),
        batch_size=BATCH,
        num_workers=work.workers,
        collate_fn=shared.collate(work),
        **shared.LOADER,
    )
    return shared.endless(loader)
