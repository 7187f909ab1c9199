"""Read a found frame's files: bytes, hashes, header, capture time, or why they are refused."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from besana.errors import CorruptDataError
from besana.images.camera import Camera
from besana.images.decode import Limits, decode, probe
from besana.images.files import FileBytes, escape_name, id_part, read_stable
from besana.images.header import Header
from besana.images.layouts import FoundFrame
from besana.images.times import CaptureTime, capture_time

_TRY_AGAIN = frozenset({"vanished", "not_a_file", "still_changing", "no_permission", "unreadable"})
_NUMBER, _DIGITS, _LONGEST_TIME = re.compile(r"[0-9]+"), 10, 100
_ENDINGS = {"jpeg": "jpg", "png": "png", "webp": "webp", "tiff": "tif"}


@dataclass(frozen=True, slots=True)
class FrameToRead:
    """A found frame with what is known about it beforehand.

    Attributes:
        found: Where its files are.
        camera: Its camera, which says how its time is read.
        metadata: Its columns in the metadata CSV; `captured_at` is its time.
    """

    found: FoundFrame
    camera: Camera
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Attributes:
        limits: Bounds of a file.
        settle_s: Seconds without a change until a file counts as complete.
        in_place: Files stay where they are.
        mask_share: Share of the valid pixels from which on a class holds.
        now: Time of the run.
        remote: Reads an object of a source that is no folder: frame, path, most bytes.
    """

    limits: Limits
    settle_s: float
    in_place: bool
    mask_share: float
    now: dt.datetime
    remote: Callable[[FoundFrame, str, int], FileBytes] | None = None


@dataclass(frozen=True, slots=True)
class BandFile:
    """One file of a frame as it was read.

    Attributes:
        band: Name of the band.
        path: Path below the source folder.
        data: All bytes; empty when the file was refused before reading.
        sha256: Of what was read, as hex; empty when nothing was.
        size_bytes: Size of the file.
        modified_ns: Modification time in nanoseconds since 1970.
        header: What the file says about its picture; None when it was refused.
        refused: Kind of the issue, empty when the file is fine.
        detail: Why it was refused.
    """

    band: str
    path: str
    data: bytes
    sha256: str
    size_bytes: int
    modified_ns: int
    header: Header | None
    refused: str = ""
    detail: str = ""

    @property
    def key(self) -> str:
        """Where the bytes are kept: by their hash, with the ending of what they are."""
        ending = _ENDINGS[self.header.format] if self.header else "bin"
        return f"{self.sha256[:2]}/{self.sha256}.{ending}"


@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong with a frame; one that blocks keeps it out of later stages."""

    kind: str
    blocks: bool
    detail: str


@dataclass(frozen=True)
class ReadFrame:
    """A frame that was read.

    Attributes:
        row: Its row for the catalog.
        issues: What is wrong with it.
        files: Key and bytes of what is to be kept; empty for a frame left in place.
        classes: Class to whether it holds, as its place or its masks say.
    """

    row: dict[str, Any]
    issues: list[Issue]
    files: list[tuple[str, bytes]] = field(default_factory=list)
    classes: dict[str, bool] = field(default_factory=dict)


def read_frame(frame: FrameToRead, reading: Reading) -> ReadFrame:
    """Read a frame's files, once they have stopped changing.

    A frame whose bytes are refused comes back with a blocking issue; one whose bytes cannot be
    read at all is an error.

    Raises:
        CorruptDataError: With reason `vanished`, `not_a_file`, `still_changing`,
            `no_permission` or `unreadable`.
    """
    found = frame.found
    bands = [_read_band(found, band, path, reading) for band, path in found.files]
    issues = [
        Issue(band.refused, True, f"{band.band}: {band.detail}") for band in bands if band.refused
    ]
    if found.missing_bands:
        issues.append(Issue("missing_band", True, ", ".join(found.missing_bands)))
    if any(band.header and band.header.flags for band in bands):
        issues.append(Issue("exif_invalid", False, "Its EXIF block was dropped."))
    classes, problems = _classes(found, reading)
    if problems:
        issues.append(Issue("mask_unreadable", False, "; ".join(problems)))
    captured = _captured(frame, bands[0], reading)
    if captured.doubt:
        issues.append(Issue("clock_suspect", False, captured.doubt))
    row = _row(frame, bands, captured, reading)
    keeps = not reading.in_place
    files = [(band.key, band.data) for band in bands if keeps and band.sha256]
    return ReadFrame(row, list({issue.kind: issue for issue in issues}.values()), files, classes)


def unread_frame(frame: FrameToRead, kind: str, reading: Reading) -> ReadFrame:
    """Describe a frame whose reading killed its process; its bytes stay where they are."""
    found = frame.found
    bands = [
        BandFile(band, path, b"", "", found.size_bytes, found.modified_ns, None)
        for band, path in found.files
    ]
    row = _row(frame, bands, _captured(frame, bands[0], reading), reading)
    return ReadFrame(row, [Issue(kind, True, "Reading it killed the process.")])


def file_uri(found: FoundFrame, path: str) -> str:
    """Return the address of a path below a source, whatever its bytes: `file:///` or `s3://`."""
    if "://" in found.root:
        return f"{found.root}/{quote(os.fsencode(path))}"
    return f"file://{quote(os.fsencode(os.path.join(found.root, path)))}"


def frame_id(camera: str, captured: CaptureTime, path: str, sha256: str) -> str:
    """Return `<camera>/<time or name>-<hash>`, which sorts by camera and time.

    Frames of a clock that was not set come after all others of the camera, in the order in which
    the device counted them: by file name, a number in it as a number.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    if captured.at is None:
        moment = id_part(stem)
    elif captured.is_plausible:
        at = captured.at.astimezone(dt.UTC)
        moment = f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"
    else:
        moment = id_part(f"clock-{_NUMBER.sub(lambda found: found[0].zfill(_DIGITS), stem)}")
    digest = hashlib.sha256(os.fsencode(path) + sha256.encode()).hexdigest()
    return f"{id_part(camera)}/{moment}-{digest[:8]}"


def classes_in_masks(found: FoundFrame, reading: Reading) -> tuple[dict[str, bool], list[str]]:
    """Tell which classes hold in a frame: those whose mask covers enough of the valid pixels.

    Args:
        found: A frame with class masks, as in Agriculture-Vision's layout.
        reading: The share, and bounds for the mask files.

    Returns:
        Class to whether it holds, for every mask that could be read; and what went wrong with
        the others. A frame without a valid pixel has no answer for any class.
    """
    problems: list[str] = []
    valid: NDArray[np.bool_] | None = None
    for path in found.valid_masks:
        mask = _mask(found, path, valid, problems, reading)
        if mask is None:
            return {}, problems
        valid = mask if valid is None else valid & mask
    holds = {}
    for name, path in found.class_masks:
        mask = _mask(found, path, valid, problems, reading)
        if mask is None:
            continue
        counted = mask if valid is None else mask[valid]
        if counted.size:
            holds[name] = bool(counted.mean() >= reading.mask_share)
    return holds, problems


def _read_band(found: FoundFrame, band: str, path: str, reading: Reading) -> BandFile:
    limits = reading.limits
    try:
        if reading.remote is not None and "://" in found.root:
            file = reading.remote(found, path, limits.file_bytes)
        else:
            file = read_stable(
                found.root, path, limit_bytes=limits.file_bytes, settle_s=reading.settle_s
            )
    except CorruptDataError as error:
        if error.reason in _TRY_AGAIN:
            raise
        return BandFile(
            *(band, path, b"", "", found.size_bytes, found.modified_ns, None),
            refused=error.reason,
            detail=error.problem,
        )
    sha256 = hashlib.sha256(file.data).hexdigest()
    header, refused, detail = None, "", ""
    try:
        header = probe(file.data, limits)
    except CorruptDataError as error:
        refused, detail = error.reason, str(error)
    return BandFile(
        *(band, path, file.data, sha256, len(file.data), file.modified_ns, header),
        refused=refused,
        detail=detail,
    )


def _classes(found: FoundFrame, reading: Reading) -> tuple[dict[str, bool], list[str]]:
    if found.class_name is not None:
        return {escape_name(found.class_name): True}, []
    return classes_in_masks(found, reading)


def _captured(frame: FrameToRead, first: BandFile, reading: Reading) -> CaptureTime:
    return capture_time(
        frame.camera,
        stem=os.path.splitext(os.path.basename(first.path))[0],
        exif=first.header.exif.captured_at if first.header else None,
        modified_ns=first.modified_ns,
        stated=frame.metadata.get("captured_at", ""),
        now=reading.now,
    )


def _row(
    frame: FrameToRead, bands: Sequence[BandFile], captured: CaptureTime, reading: Reading
) -> dict[str, Any]:
    found, camera, first = frame.found, frame.camera.name, bands[0]
    sha256 = _frame_hash(bands)
    width_px, height_px = _upright_size_px(first.header)
    return {
        "id": frame_id(camera, captured, first.path, sha256),
        "camera": camera,
        "captured_at": captured.at,
        "time_source": captured.source,
        "name": escape_name(found.name),
        "source": file_uri(found, found.name),
        "source_size_bytes": first.size_bytes,
        "source_modified_ns": first.modified_ns,
        "bands": [
            {
                "band": band.band,
                "key": band.key
                if band.sha256 and not reading.in_place
                else file_uri(found, band.path),
                "sha256": band.sha256,
                "size_bytes": band.size_bytes,
            }
            for band in bands
        ],
        "sha256": sha256,
        "size_bytes": sum(band.size_bytes for band in bands),
        "width_px": width_px,
        "height_px": height_px,
        "metadata": _metadata(frame, captured),
        "collected_at": reading.now,
    }


def _metadata(frame: FrameToRead, captured: CaptureTime) -> dict[str, str]:
    metadata = dict(frame.metadata)
    if captured.text and captured.source not in ("name", "metadata"):
        metadata["time_text"] = captured.text[:_LONGEST_TIME]
    if frame.found.split:
        metadata["split"] = frame.found.split
    if escape_name(frame.found.name) != frame.found.name:
        metadata["name_hex"] = os.fsencode(frame.found.name).hex()
    return metadata


def _frame_hash(bands: Sequence[BandFile]) -> str:
    """Return the SHA-256 of the one file, or of the hashes of all bands."""
    if len(bands) == 1 or not bands[0].sha256:
        return bands[0].sha256
    joined = "".join(f"{band.band}:{band.sha256};" for band in bands)
    return hashlib.sha256(joined.encode()).hexdigest()


def _upright_size_px(header: Header | None) -> tuple[int | None, int | None]:
    if header is None:
        return None, None
    turned = header.exif.orientation >= 5
    width, height = header.width_px, header.height_px
    return (height, width) if turned else (width, height)


def _mask(
    found: FoundFrame,
    path: str,
    valid: NDArray[np.bool_] | None,
    problems: list[str],
    reading: Reading,
) -> NDArray[np.bool_] | None:
    limits, settle_s = reading.limits, reading.settle_s
    try:
        file = read_stable(found.root, path, limit_bytes=limits.file_bytes, settle_s=settle_s)
        pixels = decode(file.data, limits=limits).pixels
    except CorruptDataError as error:
        problems.append(f"{escape_name(path)}: {error}")
        return None
    mask: NDArray[np.bool_] = (pixels != 0).any(axis=2)
    if valid is not None and mask.shape != valid.shape:
        problems.append(f"{escape_name(path)}: its size differs from the other masks")
        return None
    return mask
