"""A simulated barn on disk: frames of one camera over a row of beds, and the truth about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg

from besana.engines import Engine
from besana.progress import track
from besana.simulation import folder, truth
from besana.simulation.faults import EXPOSURE, break_file, faults_of_day
from besana.simulation.frame import render_frame
from besana.simulation.herd import DAY_S
from besana.simulation.recording import (
    CAMERA,
    FIRST_DAY,
    Barn,
    BarnSettings,
    frame_count,
    frame_name,
    herd_of,
    view_of,
)


def _picture(settings: BarnSettings, number: int, kind: str | None) -> npt.NDArray[np.uint8]:
    time_s = float(number * settings.interval_s)
    taken_at = FIRST_DAY + dt.timedelta(seconds=time_s)
    return render_frame(
        herd_of(settings),
        view_of(settings),
        settings.seed,
        number,
        time_s,
        text=f"{CAMERA}  {taken_at:%Y-%m-%d %H:%M:%S}",
        exposure=EXPOSURE.get(kind or "", 1.0),
        fogged=kind == "blurry",
        moved=settings.moved_from_day is not None and time_s >= settings.moved_from_day * DAY_S,
    )


def frame_bytes(settings: BarnSettings, number: int) -> bytes:
    """Return the file of one frame: the same for the same settings and number, always.

    Args:
        settings: What the barn is like.
        number: Number of the frame, counted from the first midnight.
    """
    day = int(number * settings.interval_s // DAY_S)
    faults = faults_of_day(settings.seed, day, settings.interval_s) if settings.faults else {}
    kind = faults[number].kind if number in faults else None
    if kind == "duplicate":
        return frame_bytes(settings, number - 1)
    if kind in ("no_bytes", "not_an_image"):
        return break_file(b"", kind)
    picture = _picture(settings, number, kind)
    data: bytes = simplejpeg.encode_jpeg(
        picture, settings.quality, "RGB", colorsubsampling="420", fastdct=True
    )
    return break_file(data, kind)


def write_frames(numbers: Sequence[int], *, frames: Path, settings: BarnSettings) -> int:
    """Write some frames and return their size in bytes; runs in a worker."""
    written = 0
    for number in numbers:
        data = frame_bytes(settings, number)
        (frames / frame_name(settings, number)).write_bytes(data)
        written += len(data)
    return written


def _days(settings: BarnSettings) -> Iterator[list[int]]:
    """Yield the frames of each day: a worker that draws a whole day prepares its floor once."""
    per_day = int(DAY_S) // settings.interval_s
    for day in range(settings.days):
        yield list(range(day * per_day, (day + 1) * per_day))


def write_barn(
    path: str | Path, settings: BarnSettings | None = None, engine: Engine | None = None
) -> Barn:
    """Write a simulated barn; one that is there with the same settings is left as it is.

    Args:
        path: The folder, made when missing.
        settings: What the barn is like; None means two weeks of three beds.
        engine: Where frames are made; None means this process.

    Returns:
        The barn's places.

    Raises:
        ConfigError: If the folder holds something else.
    """
    barn = Barn(Path(path), settings or BarnSettings())
    if folder.begin(barn.path, "barn", barn.settings):
        return barn
    (barn.frames / CAMERA).mkdir(parents=True, exist_ok=True)
    write = partial(write_frames, frames=barn.frames, settings=barn.settings)
    with track("simulate", frame_count(barn.settings)) as advance:
        done = (
            engine.map(write, _days(barn.settings)) if engine else map(write, _days(barn.settings))
        )
        for _ in done:
            advance(int(DAY_S) // barn.settings.interval_s)
    truth.write_truth(barn)
    folder.finish(barn.path, "barn", barn.settings)
    return barn


__all__ = ["Barn", "BarnSettings", "frame_bytes", "write_barn"]
