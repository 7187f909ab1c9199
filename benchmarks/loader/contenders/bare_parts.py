"""The ceiling: decode the same crops of JPEG in parts on all processors, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from work import AREA, BATCH, RATIO, SIZE, Work

NEEDS = ("simplejpeg",)
FORMAT = "parts"
SETTINGS = "simplejpeg on bytes in memory, parts assembled beforehand"
DTYPES = ("uint8",)


def stream(work: Work, name: str = FORMAT) -> Iterator[Any]:
    """Give lists of decoded batches without end."""
    import simplejpeg

    jobs = list(crops(work, name))
    scratches: list[Any] = []

    def decode(first: int) -> range:
        scratch = scratches.pop() if scratches else np.empty(1 << 23, np.uint8)
        for data, rows, columns, scale in jobs[first : first + BATCH]:
            simplejpeg.decode_jpeg(data, "RGB", False, False, rows, columns, scale, scratch)
        scratches.append(scratch)
        return range(BATCH)

    with ThreadPoolExecutor(work.workers) as threads:
        starts = list(range(0, len(jobs) - BATCH + 1, BATCH))
        waiting = [threads.submit(decode, first) for first in starts[: 2 * work.workers]]
        for number in range(1 << 40):
            waiting.append(threads.submit(decode, starts[number % len(starts)]))
            yield waiting.pop(0).result()


def crops(work: Work, name: str) -> Iterator[tuple[Any, int, int, int]]:
    """Give the JPEG that covers each crop, the least size to decode it at, and the scale."""
    from besana.images.segments import part_under
    from besana.shards import Augment, open_manifest
    from besana.shards.augment import draw_changes
    from besana.shards.decoding import jpeg_scales, snap

    manifest = open_manifest(work.folder / name / "manifest.parquet")
    everyone = np.arange(len(manifest))
    height, width = manifest.height_px.astype(int), manifest.width_px.astype(int)
    augment = Augment(crop_area_share=AREA, crop_ratio=RATIO)
    boxes = draw_changes(augment, everyone, everyone * 0, width / height, 0).box
    scales = jpeg_scales(height, width, boxes, (SIZE, SIZE))
    snapped = snap(boxes, -(-height // scales), -(-width // scales))
    for number, scale in zip(everyone.tolist(), scales.tolist(), strict=True):
        place = manifest.location(number)
        payload = place.payload_offset_bytes, place.payload_length_bytes
        data: Any = manifest.storage.read_range(place.shard, *payload)
        size = int(height[number]), int(width[number])
        part = part_under(memoryview(data), *size, tuple((snapped[number] * scale).tolist()))
        if part is not None:
            data, size = part.data, (part.height, part.width)
        rows, columns = (-(-side // scale) if scale > 1 else 0 for side in size)
        yield data, rows, columns, scale
