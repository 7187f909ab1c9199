"""Lance: rows taken a batch at a time, with torchvision's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lance
from torch.utils.data import DataLoader, Dataset
from work import BATCH, Work

from contenders import torch_pictures as shared

NEEDS = ("pylance", "torch", "torchvision")
FORMAT = "lance"
SETTINGS = f"take of 64 rows, workers by forkserver; {shared.SETTINGS}"
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT


class _Table(Dataset[Any]):
    def __init__(self, work: Work) -> None:
        self.work = work
        self.count = lance.dataset(str(work.folder / FORMAT)).count_rows()
        self.table: Any = None

    def __len__(self) -> int:
        return int(self.count)

    def __getitems__(self, numbers: list[int]) -> Any:
        if self.table is None:  # in the worker: Lance must not be forked
            self.table = lance.dataset(str(self.work.folder / FORMAT))
            self.picture = shared.from_bytes(self.work)
        rows = self.table.take(numbers, columns=["image"]).column("image")
        return [self.picture(value.as_py()) for value in rows]


class _Collate:
    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, pictures: Any) -> Any:
        return shared.collate(self.work)(pictures)


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    loader = DataLoader(
        _Table(work),
        BATCH,
        shuffle=True,
        num_workers=work.workers,
        collate_fn=_Collate(work),
        multiprocessing_context="forkserver",
        **shared.LOADER,
    )
    return shared.endless(loader)
