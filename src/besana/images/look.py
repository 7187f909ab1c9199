"""Look at one frame once: decode it and measure everything that judging needs."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

from besana.errors import CorruptDataError
from besana.images.bands import Frame, decode_frame
from besana.images.camera import Camera
from besana.images.encode import encode_jpeg
from besana.images.guard import Bounds, attempt, guarded
from besana.images.hashes import perceptual_hash
from besana.images.header import Limits, refusal
from besana.images.quality import LONG_SIDE_PX, measure, shrink
from besana.images.shift import Edges, edge_map, shift_px, thumbnail

THUMBNAIL_QUALITY = 85
_SHEET_SIDE_PX = 240


@dataclass(frozen=True)
class Look:
    """What one frame turned out to be.

    Attributes:
        figures: Columns of the catalog's quality row, without the frame's id.
        flags: Kinds of issues that do not keep the frame out.
    """

    figures: dict[str, Any]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FrameJob:
    """A frame to look at.

    Attributes:
        frame_id: Its id.
        bands: `band`, `key` and `sha256` of each file, the main band first.
        camera: Its camera, shared by the jobs of a partition.
        references: As `look_at` takes them, shared too.
    """

    frame_id: str
    bands: Sequence[Mapping[str, Any]]
    camera: Camera
    references: Mapping[str, Edges | None]


class Flag(NamedTuple):
    """What is odd about a frame's file, and whether that keeps it out."""

    frame_id: str
    kind: str
    blocks: bool
    detail: str | None


@dataclass
class Looks:
    """What a partition of frames turned out to be.

    Attributes:
        quality: Rows of the catalog's quality.
        flags: Odd things about files.
        dropped: Frames that cannot be used, by reason.
        with_thumbnails: Cameras of rows that hold a thumbnail.
        busy_s: Seconds that the looking took.
    """

    quality: list[dict[str, Any]] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    with_thumbnails: set[str] = field(default_factory=set)
    busy_s: float = 0.0

    def refuse(self, job: FrameJob, kind: str, detail: str) -> None:
        """Note a frame that cannot be used."""
        self.dropped[kind] += 1
        self.flags.append(Flag(job.frame_id, kind, True, detail))


def look_partition(
    jobs: Sequence[FrameJob], *, read: Callable[[str], bytes], bounds: Bounds
) -> Looks:
    """Decode and measure some frames, each within its bounds of memory and time.

    Args:
        jobs: Frames to look at.
        read: Returns the bytes under a band's key.
        bounds: What is decoded, and what decoding one frame may cost.
    """
    import cv2

    cv2.setNumThreads(1)
    looks, started, limits = Looks(), time.perf_counter(), bounds.limits()
    with guarded(bounds) as start:
        for job in jobs:
            start()
            look = attempt(partial(_look, job, read, limits))
            if isinstance(look, CorruptDataError):
                looks.refuse(job, look.reason, str(look))
                continue
            looks.quality.append({"frame_id": job.frame_id, **look.figures})
            looks.flags.extend(Flag(job.frame_id, flag, False, None) for flag in look.flags)
            if look.figures["thumbnail"] is not None:
                looks.with_thumbnails.add(job.frame_id.rpartition("/")[0])
    looks.busy_s = time.perf_counter() - started
    return looks


def died(job: FrameJob) -> Looks:
    """Return what is known of a frame whose decoding ended the process."""
    looks = Looks()
    looks.refuse(job, "decoder_died", "decoding it took too long or ended the process")
    return looks


def _look(job: FrameJob, read: Callable[[str], bytes], limits: Limits) -> Look:
    files = {band["band"]: check_bytes(read(band["key"]), band["sha256"]) for band in job.bands}
    return look_at(files, job.camera, limits, job.references)


def check_bytes(data: bytes, sha256: str) -> bytes:
    """Return the bytes if they are the ones that were collected.

    Raises:
        CorruptDataError: With reason `damaged` if they are not.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise refusal("damaged", "its bytes changed since it was collected")
    return data


def look_at(
    files: Mapping[str, bytes],
    camera: Camera,
    limits: Limits,
    references: Mapping[str, Edges | None],
) -> Look:
    """Decode a frame and measure it.

    Args:
        files: Band to the bytes of its file.
        camera: Its camera, for depth and scale.
        limits: What is decoded at all.
        references: By light: the camera's reference; None for one that has no fixed view. Where
            a light is missing, the look holds a thumbnail from which it can be made.

    Raises:
        CorruptDataError: If the frame cannot be used.
    """
    frame = open_frame(files, camera, limits)
    height, width, channels = frame.pixels.shape
    main = frame.pixels[..., : next(iter(frame.channels.values()))]
    small = shrink(main, LONG_SIDE_PX)
    quality = measure(small)
    figures: dict[str, Any] = {
        "width_px": width,
        "height_px": height,
        "channels": channels,
        **asdict(quality),
        "perceptual_hash": perceptual_hash(small),
        "shift_x_px": None,
        "shift_y_px": None,
        "thumbnail": None,
    }
    if quality.light not in references:
        figures["thumbnail"] = encode_jpeg(thumbnail(small), THUMBNAIL_QUALITY)
    elif (reference := references[quality.light]) is not None:
        shift = shift_px(reference, edge_map(small), width)
        figures["shift_x_px"], figures["shift_y_px"] = shift or (None, None)
    return Look(figures, frame.flags)


def open_frame(files: Mapping[str, bytes], camera: Camera, limits: Limits) -> Frame:
    """Decode a frame as its camera's settings say.

    Raises:
        CorruptDataError: If the frame cannot be used.
    """
    return decode_frame(files, scale=camera.scale, depth_bits=camera.depth_bits, limits=limits)


def sheet_picture(files: Mapping[str, bytes], camera: Camera, limits: Limits) -> bytes:
    """Return a small JPEG of a frame's first channels for a contact sheet.

    Raises:
        CorruptDataError: If the frame cannot be used.
    """
    pixels = shrink(open_frame(files, camera, limits).pixels, _SHEET_SIDE_PX)
    if pixels.dtype != "uint8":
        pixels = (pixels >> 8).astype("uint8")
    return encode_jpeg(pixels[..., : 3 if pixels.shape[2] >= 3 else 1], THUMBNAIL_QUALITY)
