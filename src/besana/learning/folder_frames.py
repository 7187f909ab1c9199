"""Frames in a folder that nobody collected: cut and packed as `prepare` does, for one look."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from besana.errors import CorruptDataError, NotFoundError
from besana.images.camera import Camera
from besana.images.files import escape_name, read_stable
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import probe
from besana.images.layouts import FoundFrame, Layout, Passed, Source, find_frames
from besana.images.samples import EncodedSample, frame_samples
from besana.shards.writer import ShardWriter, sample_example
from besana.storage import Storage

#: JPEG quality of a packed sample: what `prepare` uses unless told.
_QUALITY = 90
_PARTITION = 64


@dataclass
class Packed:
    """What became of some files.

    Attributes:
        rows: Rows for a manifest; `frame_id` is the file's path below the folder.
        issues: Path and reason of each file that could not be used.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    issues: list[tuple[str, str]] = field(default_factory=list)

    def refuse(self, names: Collection[str], reason: str) -> None:
        """Take files out again, with all their regions."""
        self.rows = [row for row in self.rows if row["frame_id"] not in names]
        self.issues += [(name, reason) for name in sorted(names)]


def find_files(folder: Path, bands: dict[str, str]) -> Iterator[list[FoundFrame]]:
    """Walk a folder and yield its frames in lists of bounded length.

    Args:
        folder: Where to look, recursively.
        bands: Band and file pattern, as the workspace has them.

    Raises:
        NotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise NotFoundError(f"No folder '{folder}'.", "Give a folder of images.")
    source = Source(str(folder.absolute()), bands)
    layout: Layout = "bands" if len(bands) > 1 else "folder"
    waiting: list[FoundFrame] = []
    for item in find_frames(source, layout):
        if isinstance(item, Passed):
            continue
        waiting.append(item)
        if len(waiting) == _PARTITION:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def pack_partition(
    frames: Sequence[FoundFrame],
    *,
    camera: Camera,
    size_px: int,
    bounds: Bounds,
    shards: Storage,
) -> Packed:
    """Cut the regions of some frames into a shard named after them.

    Args:
        frames: What `find_files` found.
        camera: Lens and regions.
        size_px: Shorter side of a sample.
        bounds: What a picture may be and may cost.
        shards: Where the shard goes.
    """
    import cv2

    cv2.setNumThreads(1)
    packed = Packed()
    names = "\n".join(frame.name for frame in frames)
    shard = hashlib.sha256(names.encode(errors="surrogatepass")).hexdigest()[:16]
    with ShardWriter(shards, f"{shard}.tfrecord") as writer, guarded(bounds) as start:
        for frame in frames:
            name = escape_name(frame.name)
            start()
            samples = attempt(partial(_samples, frame, camera, size_px, bounds))
            if isinstance(samples, CorruptDataError):
                packed.issues.append((name, samples.reason))
            elif samples:
                packed.rows += [_add(writer, name, sample) for sample in samples]
            else:
                packed.issues.append((name, "no_region_inside"))
    return packed


def lost(frame: FoundFrame) -> Packed:
    """Tell what is known of a file whose decoding ended the process."""
    return Packed(issues=[(escape_name(frame.name), "decoder_died")])


def _samples(
    frame: FoundFrame, camera: Camera, size_px: int, bounds: Bounds
) -> list[EncodedSample]:
    files = {}
    for band, path in frame.files:
        limit = bounds.max_file_bytes
        data = read_stable(frame.root, path, limit_bytes=limit, settle_s=0.0).data
        probe(data, bounds.limits())
        files[band] = data
    return frame_samples(files, camera, size_px=size_px, quality=_QUALITY)[0]


def _add(writer: ShardWriter, name: str, sample: EncodedSample) -> dict[str, Any]:
    size = {
        "height_px": sample.height_px,
        "width_px": sample.width_px,
        "channels": sample.channels,
    }
    example = sample_example(
        f"{name}/{sample.region}",
        sample.encoded.main,
        image_format=sample.encoded.format,
        bands=sample.encoded.bands,
        **size,
    )
    place = asdict(writer.add(example))
    return {"frame_id": name, "region": sample.region, **place, **size}
