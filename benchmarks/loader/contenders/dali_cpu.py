"""DALI on the CPU: its own reader, decoder and operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types
from work import AREA, BATCH, MEAN, RATIO, SIZE, STD, Work

NEEDS = ("nvidia-dali-cuda120",)
FORMAT = "jpeg"
SETTINGS = "image_random_crop, antialiased resize, prefetch 3"
DTYPES = ("uint8", "float32")


@pipeline_def(batch_size=BATCH, device_id=None, prefetch_queue_depth=3)
def _pipeline(folder: str, is_float: bool) -> Any:
    encoded, _ = fn.readers.file(file_root=folder, random_shuffle=True, initial_fill=500)
    pixels = fn.decoders.image_random_crop(
        encoded, device="cpu", random_area=AREA, random_aspect_ratio=RATIO
    )
    pixels = fn.resize(pixels, size=(SIZE, SIZE), antialias=True)
    flip = fn.random.coin_flip()
    if not is_float:
        return fn.flip(pixels, horizontal=flip)
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))
    return fn.crop_mirror_normalize(
        pixels, mirror=flip, mean=mean, std=std, dtype=types.FLOAT, output_layout="HWC"
    )


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    pipeline = _pipeline(str(work.folder / FORMAT), work.is_float, num_threads=work.workers)
    pipeline.build()
    while True:
        (batch,) = pipeline.run()
        yield np.asarray(batch.as_tensor())
