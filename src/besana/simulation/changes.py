"""What changes in a simulated barn after a model was trained: herd, lens, camera, light."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from besana.engines import Engine
from besana.progress import track
from besana.simulation import truth
from besana.simulation.barn import frame_bytes
from besana.simulation.coat import BREEDS, STREAM_COAT
from besana.simulation.frame import render_frame
from besana.simulation.herd import COWS, DAY_S, Herd
from besana.simulation.recording import (
    CAMERA,
    FIRST_DAY,
    Barn,
    BarnSettings,
    frame_name,
    herd_of,
    view_of,
)
from besana.simulation.view import FULL_WIDTH_PX

Kind = Literal["herd", "dirt", "moved", "dark", "fog", "frozen"]
Pixels = npt.NDArray[np.uint8]
KINDS: tuple[Kind, ...] = ("herd", "dirt", "moved", "dark", "fog", "frozen")
STREAM_DIRT = 71
# Numbers from here on are cows that the first herd does not have.
_NEW_COWS = 1000
_BREED_SHARES = (0.66, 0.22, 0.12)
_STAINS = 9


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is different for a while.

    Attributes:
        kind: `herd` (all cows of another breed), `dirt` (stains on the lens), `moved` (the
            camera hangs askew), `dark` (lamps fail), `fog` (condensation), `frozen` (the camera
            sends one picture again and again).
        from_day: When it begins, in days since the first midnight; halves are noon.
        until_day: When it ends.
        strength: 1 is what its kind usually looks like; below 1 is milder.
    """

    kind: Kind
    from_day: float
    until_day: float = float("inf")
    strength: float = 1.0


def changed_frame_bytes(settings: BarnSettings, number: int, changes: Sequence[Change]) -> bytes:
    """Return the file of one frame with the changes that hold at its time.

    Args:
        settings: What the barn is like without them.
        number: Number of the frame, counted from the first midnight.
        changes: All changes of the barn.
    """
    now = [change for change in changes if _holds(change, settings, number)]
    if not now:
        return frame_bytes(settings, number)
    frozen = next((change for change in now if change.kind == "frozen"), None)
    if frozen:
        first = -(-int(frozen.from_day * DAY_S) // settings.interval_s)
        others = [change for change in changes if change.kind != "frozen"]
        return changed_frame_bytes(settings, first, others)
    by_kind = {change.kind: change for change in now}
    picture = _picture(settings, number, by_kind)
    data: bytes = simplejpeg.encode_jpeg(
        picture, settings.quality, "RGB", colorsubsampling="420", fastdct=True
    )
    return data


def write_changed_barn(
    path: str | Path,
    settings: BarnSettings,
    changes: Sequence[Change],
    *,
    from_day: int = 0,
    engine: Engine | None = None,
) -> Barn:
    """Write a simulated barn that changes, with the same truth as if it had not.

    Calling it again on the same folder with later days adds those days, as time does.

    Args:
        path: The folder, made when missing.
        settings: What the barn is like; `days` says until when.
        changes: What is different and when.
        from_day: First day to write; those before stay as they are.
        engine: Where frames are made; None means this process.
    """
    barn = Barn(Path(path), settings)
    (barn.frames / CAMERA).mkdir(parents=True, exist_ok=True)
    write = partial(_write_frames, frames=barn.frames, settings=settings, changes=tuple(changes))
    per_day = int(DAY_S) // settings.interval_s
    days = _days(from_day, settings.days, per_day)
    with track("simulate", (settings.days - from_day) * per_day) as advance:
        for count in engine.map(write, days) if engine else map(write, days):
            advance(count)
    truth.write_truth(barn)
    return barn


def _days(first: int, end: int, per_day: int) -> Iterator[list[int]]:
    for day in range(first, end):
        yield list(range(day * per_day, (day + 1) * per_day))


def _write_frames(
    numbers: Sequence[int], *, frames: Path, settings: BarnSettings, changes: Sequence[Change]
) -> int:
    for number in numbers:
        data = changed_frame_bytes(settings, number, changes)
        (frames / frame_name(settings, number)).write_bytes(data)
    return len(numbers)


def _holds(change: Change, settings: BarnSettings, number: int) -> bool:
    day = number * settings.interval_s / DAY_S
    return change.from_day <= day < change.until_day


def _picture(settings: BarnSettings, number: int, changes: dict[Kind, Change]) -> Pixels:
    time_s = float(number * settings.interval_s)
    taken_at = FIRST_DAY + dt.timedelta(seconds=time_s)
    herd = herd_of(settings)
    if "herd" in changes:
        herd = _other_herd(settings.seed, settings.days, settings.beds + 2)
    dark = changes.get("dark")
    picture = render_frame(
        herd,
        view_of(settings),
        settings.seed,
        number,
        time_s,
        text=f"{CAMERA}  {taken_at:%Y-%m-%d %H:%M:%S}",
        exposure=1.0 if dark is None else 0.35**dark.strength,
        fogged="fog" in changes,
        moved="moved" in changes,
    )
    if "dirt" in changes:
        return _stained(picture, settings.seed, changes["dirt"].strength)
    return picture


@functools.lru_cache(maxsize=4)
def _other_herd(seed: int, days: int, beds: int) -> Herd:
    """Let other cows do what the herd does, so that only their looks are new."""
    herd = herd_of(BarnSettings(seed=seed, days=days, beds=beds - 2))
    names = _cows_of_another_breed(seed)
    rows = tuple(tuple(replace(bout, cow=names[bout.cow]) for bout in row) for row in herd.bouts)
    return replace(herd, bouts=rows)


@functools.lru_cache(maxsize=4)
def _cows_of_another_breed(seed: int) -> tuple[int, ...]:
    """Find numbers of cows whose coats are of the rarest breed of the first herd."""
    rarest = int(np.argmin(_BREED_SHARES))
    found: list[int] = []
    number = _NEW_COWS
    while len(found) < COWS:
        rng = np.random.default_rng([seed, STREAM_COAT, number])
        if int(rng.choice(len(BREEDS), p=_BREED_SHARES)) == rarest:
            found.append(number)
        number += 1
    return tuple(found)


@functools.lru_cache(maxsize=4)
def _stains(seed: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return how opaque the dirt is, (height, width, 1) float32, 0 to 1."""
    rng = np.random.default_rng([seed, STREAM_DIRT])
    cover = np.zeros((height, width), np.float32)
    for _ in range(_STAINS):
        centre = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height))
        axes = tuple(int(rng.uniform(0.03, 0.11) * width) for _ in range(2))
        turn = float(rng.uniform(0, 180))
        cv2.ellipse(
            cover, centre, (axes[0], axes[1]), turn, 0, 360, float(rng.uniform(0.5, 0.95)), -1
        )
    soft = cv2.GaussianBlur(cover, (0, 0), 14.0 * width / FULL_WIDTH_PX)
    return np.asarray(soft, np.float32)[..., None]


def _stained(picture: Pixels, seed: int, strength: float) -> Pixels:
    """Return a picture seen through dirt near the lens: brown, soft, where it is for ever."""
    height, width = picture.shape[:2]
    cover = np.clip(_stains(seed, height, width) * strength, 0, 1)
    light = max(float(picture.mean()) / 128, 0.1)
    mud = np.array((92, 78, 60), np.float32) * light
    mixed = picture * (1 - cover) + mud * cover
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


__all__ = ["KINDS", "Change", "changed_frame_bytes", "write_changed_barn"]
