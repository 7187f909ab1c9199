"""The ceiling: decode the same crops of JPEG in parts on all processors, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from work import AREA, BATCH, RATIO, SIZE, Work

from besana.images.resize import resize
from besana.images.segments import part_under
from besana.images.shortening import shorter
from besana.shards import Augment, open_manifest
from besana.shards.augment import draw_changes
from besana.shards.decoding import jpeg_scales, snap

NEEDS = ("simplejpeg",)
FORMAT = "parts"
SETTINGS = "simplejpeg on bytes in memory, parts assembled beforehand"
DTYPES = ("uint8",)


class Job(NamedTuple):
    """One crop.

    Attributes:
        data: The JPEG that covers it, in parts or cut short below it.
        least: Rows and columns at the scale, where it is not 1.
        scale: At which it is decoded.
        crop: What is cut from it: rows and columns.
    """

    data: Any
    least: tuple[int, int]
    scale: int
    crop: tuple[slice, slice]


def stream(work: Work, name: str = FORMAT, *, resized: bool = False) -> Iterator[Any]:
    """Give the lengths of decoded batches without end.

    Args:
        work: What everybody does.
        name: Which bytes.
        resized: Whether to resize the crops too.
    """
    jobs = list(crops(work, name))
    scratches: list[Any] = []

    def decode(first: int) -> range:
        scratch, out = scratches.pop() if scratches else buffers()
        for job, slot in zip(jobs[first : first + BATCH], out, strict=True):
            pixels = simplejpeg.decode_jpeg(
                job.data, "RGB", False, False, *job.least, job.scale, scratch, False
            )
            if resized:
                resize(pixels[job.crop], (SIZE, SIZE), slot)
        scratches.append((scratch, out))
        return range(BATCH)

    with ThreadPoolExecutor(work.workers) as threads:
        starts = list(range(0, len(jobs) - BATCH + 1, BATCH))
        waiting = [threads.submit(decode, first) for first in starts[: 2 * work.workers]]
        for number in range(1 << 40):
            waiting.append(threads.submit(decode, starts[number % len(starts)]))
            yield waiting.pop(0).result()


def buffers() -> tuple[Any, Any]:
    """Make room for one decoded picture and one batch."""
    return np.empty(1 << 23, np.uint8), np.empty((BATCH, SIZE, SIZE, 3), np.uint8)


def crops(work: Work, name: str) -> Iterator[Job]:
    """Lay out all crops of an epoch, their bytes in memory."""
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
        size, first = (int(height[number]), int(width[number])), [0, 0]
        top, left, tall, wide = snapped[number].tolist()
        part = part_under(memoryview(data), *size, tuple((snapped[number] * scale).tolist()))
        if part is not None:
            data, size, first = part.data, (part.height, part.width), [part.top, part.left]
        elif cut := shorter(memoryview(data), size[0], (top + tall) * int(scale)):
            data, size = bytearray(data), (cut.rows, size[1])
            data[cut.place : cut.place + 2] = cut.rows.to_bytes(2, "big")
        least = tuple(-(-side // scale) if scale > 1 else 0 for side in size)
        top, left = top - first[0] // scale, left - first[1] // scale
        yield Job(data, least, scale, (slice(top, top + tall), slice(left, left + wide)))
