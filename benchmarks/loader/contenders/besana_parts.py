"""besana on JPEG that decodes in parts, by Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch  # who feeds a network has imported it; the loader then resizes with it
from work import AREA, BATCH, MEAN, RATIO, SIZE, STD, Work

from besana.shards import Augment, Loader

NEEDS = ("besana", "simplejpeg", "torch")
FORMAT = "parts"
SETTINGS = "defaults, without the native part"
DTYPES = ("uint8", "float32")


def stream(work: Work, name: str = FORMAT, **more: bool) -> Iterator[Any]:
    """Give batches without end.

    Args:
        work: What everybody does.
        name: Which bytes.
        more: Settings of the loader.
    """
    torch.set_num_threads(work.workers)
    loader = Loader(
        work.folder / name / "manifest.parquet",
        batch_size=BATCH,
        size=SIZE,
        augment=Augment(crop_area_share=AREA, crop_ratio=RATIO),
        fit="crop",
        threads=work.workers,
        **({"native": False} | more),
        **({"dtype": "float32", "mean": MEAN, "std": STD} if work.is_float else {}),
    )
    with loader:
        while True:
            for batch in loader:
                yield batch.images
