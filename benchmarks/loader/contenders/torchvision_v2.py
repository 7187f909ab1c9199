"""torchvision as its guides recommend: decode_jpeg and v2 transforms on tensors, DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset
from work import BATCH, Work

from contenders import torch_pictures as shared

NEEDS = ("torch", "torchvision")
FORMAT = "jpeg"
SETTINGS = shared.SETTINGS
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT


class _Files(Dataset[Any]):
    def __init__(self, work: Work) -> None:
        self.files = sorted((work.folder / FORMAT).glob("*/*.jpg"))
        self.picture = shared.from_bytes(work)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Any:
        return self.picture(self.files[number].read_bytes())


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    loader = DataLoader(
        _Files(work),
        BATCH,
        shuffle=True,
        num_workers=work.workers,
        collate_fn=shared.collate(work),
        **shared.LOADER,
    )
    return shared.endless(loader)
