"""Grain on ArrayRecord, with torchvision's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grain.python as grain
import numpy as np
from work import BATCH, MEAN, STD, Work

from contenders import torch_pictures as shared

NEEDS = ("grain", "array-record", "torch", "torchvision")
FORMAT = "arrayrecord"
SETTINGS = "batched in workers, read 16 threads 500 ahead; decode_jpeg, v2 transforms"
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT


class _Picture(grain.MapTransform):
    def __init__(self, work: Work) -> None:
        self.work = work
        self.picture: Any = None

    def map(self, element: bytes) -> Any:
        if self.picture is None:
            import torch

            torch.set_num_threads(1)
            self.picture = shared.from_bytes(self.work)
        return self.picture(element).numpy()


class _Normal(grain.MapTransform):
    def map(self, element: Any) -> Any:
        mean, std = (np.float32(255) * np.array(v, np.float32) for v in (MEAN, STD))
        return (element - mean[:, None, None]) / std[:, None, None]


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    source = grain.ArrayRecordDataSource([str(work.folder / FORMAT / "a.arrayrecord")])
    sampler = grain.IndexSampler(
        len(source), grain.NoSharding(), shuffle=True, num_epochs=None, seed=0
    )
    steps = [_Picture(work), grain.Batch(BATCH, drop_remainder=True)]
    loader = grain.DataLoader(
        data_source=source,
        sampler=sampler,
        operations=[*steps, _Normal()] if work.is_float else steps,
        worker_count=work.workers,
        worker_buffer_size=4,
    )
    return iter(loader)
