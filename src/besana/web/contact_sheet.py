"""Small pictures of frames for a report's page, decoded where nothing can harm the driver."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from besana.engines import Engine
from besana.errors import CorruptDataError
from besana.images.camera import Camera
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import Limits
from besana.storage import Storage, read_original
from besana.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FrameToShow:
    """A frame for a contact sheet.

    Attributes:
        frame_id: Its id.
        bands: As in the catalog.
        camera: Its camera.
    """

    frame_id: str
    bands: Sequence[Mapping[str, Any]]
    camera: Camera


def frame_pictures(
    workspace: Workspace, frames: Sequence[FrameToShow], engine: Engine, limits: Limits
) -> dict[str, bytes]:
    """Return small JPEGs of frames by id; frames that do not decode are left out.

    Args:
        workspace: Where the frames lie.
        frames: A page full of frames.
        engine: Where they are decoded.
        limits: What is decoded at all.
    """
    workers = min(engine.workers, len(frames))
    parts = [frames[start::workers] for start in range(workers)]
    show = partial(show_partition, storage=workspace.frames, limits=limits)
    return dict(itertools.chain.from_iterable(engine.map(show, parts, on_death=lambda _: [])))


def show_partition(
    frames: Sequence[FrameToShow], *, storage: Storage, limits: Limits
) -> list[tuple[str, bytes]]:
    """Return id and JPEG of the frames that can be shown."""
    pictures = []
    with guarded(Bounds()) as start:
        for frame in frames:
            start()
            picture = attempt(partial(_show, frame, storage, limits))
            if not isinstance(picture, CorruptDataError):
                pictures.append((frame.frame_id, picture))
    return pictures


def _show(frame: FrameToShow, storage: Storage, limits: Limits) -> bytes:
    from besana.images.look import sheet_picture

    files = {band["band"]: read_original(storage, band["key"]) for band in frame.bands}
    return sheet_picture(files, frame.camera, limits)
