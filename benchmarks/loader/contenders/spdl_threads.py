"""SPDL: its pipeline on threads, with torchvision's decoder (quicker here than SPDL's own)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from spdl.pipeline import PipelineBuilder
from work import BATCH, Work

from contenders import torch_pictures as shared

NEEDS = ("spdl", "torch", "torchvision")
FORMAT = "jpeg"
SETTINGS = "a thread a processor, 16 files a call; decode_jpeg, v2 transforms"
DTYPES = ("uint8", "float32")
ENVIRONMENT = shared.ENVIRONMENT

_CALL = 16


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    torch.set_num_threads(1)
    files = sorted((work.folder / FORMAT).glob("*/*.jpg"))
    picture, collate = shared.from_bytes(work), shared.collate(work)

    def source() -> Iterator[list[Path]]:
        while True:
            order = random.sample(files, len(files))
            yield from (order[first : first + _CALL] for first in range(0, len(order), _CALL))

    def decode(paths: list[Path]) -> list[torch.Tensor]:
        return [picture(path.read_bytes()) for path in paths]

    def batch(parts: list[list[torch.Tensor]]) -> torch.Tensor:
        return collate([one for part in parts for one in part])

    pipeline = (
        PipelineBuilder()
        .add_source(source())
        .pipe(decode, concurrency=work.workers)
        .aggregate(BATCH // _CALL)
        .pipe(batch)
        .add_sink(4)
        .build(num_threads=work.workers + 1)
    )
    with pipeline.auto_stop():
        yield from (made for made in pipeline.get_iterator() if len(made) == BATCH)
