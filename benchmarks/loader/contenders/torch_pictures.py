"""What the contenders on torch share: torchvision's decoder and transforms on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2
from work import AREA, BATCH, MEAN, RATIO, SIZE, STD, Work

# Large pictures are given back to the system and asked for again, unless it is told not to.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_ARENA_MAX": "4",
}
LOADER = {"persistent_workers": True, "prefetch_factor": 4, "drop_last": True}
SETTINGS = "decode_jpeg, v2 transforms, malloc keeps what it has, prefetch 4"


def looks() -> Any:
    """Crop and mirror at random."""
    crop = v2.RandomResizedCrop(SIZE, AREA, RATIO, antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


def from_bytes(work: Work) -> Callable[[bytes], torch.Tensor]:
    """Give a function that turns a file into a picture (3, 224, 224) uint8."""
    change = looks()

    def picture(data: bytes) -> torch.Tensor:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return change(decode_jpeg(encoded, ImageReadMode.RGB))

    return picture


def collate(work: Work) -> Callable[[list[torch.Tensor]], torch.Tensor]:
    """Give a function that stacks pictures, normalised where that is wanted."""
    mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))

    def batch(pictures: list[torch.Tensor]) -> torch.Tensor:
        stacked = torch.stack(pictures)
        return stacked.float().sub_(mean).div_(std) if work.is_float else stacked

    return batch


def endless(loader: Any) -> Iterator[torch.Tensor]:
    """Go through a loader again and again; batches that are not full are left out."""
    while True:
        for batch in loader:
            if len(batch) == BATCH:
                yield batch
