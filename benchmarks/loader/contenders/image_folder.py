"""What most people run: torchvision's ImageFolder with Pillow, and a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from work import BATCH, MEAN, STD, Work

from contenders import torch_pictures as shared

NEEDS = ("torch", "torchvision", "pillow")
FORMAT = "jpeg"
SETTINGS = "Pillow, v2 transforms"
DTYPES = ("uint8", "float32")


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    change = [shared.looks(), v2.ToImage()]
    if work.is_float:
        change += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    loader = DataLoader(
        ImageFolder(str(work.folder / FORMAT), v2.Compose(change)),
        BATCH,
        shuffle=True,
        num_workers=work.workers,
        drop_last=True,
        persistent_workers=True,
    )
    return (images for images, _ in _again(loader))


def _again(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader
