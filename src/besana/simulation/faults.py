"""What goes wrong with the simulated camera, when, and what that does to a file."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from besana.simulation.herd import DAY_S

STREAM_FAULT = 61
# Fault -> how many a day of 288 frames, and between which hours.
FAULTS: dict[str, tuple[int, int, int]] = {
    "blurry": (3, 6, 10),
    "overexposed": (1, 8, 16),
    "truncated": (1, 0, 24),
    "dark": (2, 0, 24),
    "duplicate": (2, 0, 24),
    "no_bytes": (0, 0, 24),
    "not_an_image": (0, 0, 24),
}
FULL_DAY_FRAMES = 288
EXPOSURE = {"dark": 0.02, "overexposed": 5.0}
TEXT_FILE = b"<!DOCTYPE html><html><body>503 camera is busy, try again later</body></html>\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong.

    Attributes:
        number: Number of the frame.
        kind: A key of `FAULTS`.
        detail: What exactly happened, in words.
    """

    number: int
    kind: str
    detail: str


# Fault -> the issue that besana finds in such a frame.
ISSUES = {
    "truncated": "truncated",
    "dark": "dark",
    "overexposed": "overexposed",
    "blurry": "blurry",
    "duplicate": "exact_duplicate",
    "no_bytes": "not_an_image",
    "not_an_image": "not_an_image",
}
DETAILS = {
    "truncated": "the file ends early",
    "dark": "no light reaches the sensor",
    "overexposed": "five times too much light",
    "blurry": "condensation on the lens",
    "duplicate": "the bytes of the frame before",
    "no_bytes": "an empty file",
    "not_an_image": "an error page named .jpg",
}


@functools.lru_cache(maxsize=8)
def faults_of_day(seed: int, day: int, interval_s: int) -> dict[int, Fault]:
    """Return the faults of one day by frame number; the first day has at least one of each kind.

    A frame never follows another faulty one and is never the first of its day, so that a
    duplicate always copies a good frame.

    Args:
        seed: The simulation's seed.
        day: Number of the day, 0 for the first.
        interval_s: Seconds between two frames.
    """
    rng = np.random.default_rng([seed, STREAM_FAULT, day])
    per_day = int(DAY_S) // interval_s
    taken: dict[int, Fault] = {}
    for kind, (count, from_hour, to_hour) in FAULTS.items():
        wanted = round(count * per_day / FULL_DAY_FRAMES) + (day == 0)
        slots = rng.permutation(per_day * (to_hour - from_hour) // 24)
        slots += per_day * from_hour // 24
        for slot in slots.tolist():
            number = day * per_day + slot
            near = {number - 1, number, number + 1}
            if wanted and slot and not near & taken.keys():
                taken[number] = Fault(number, kind, DETAILS[kind])
                wanted -= 1
    return taken


def break_file(data: bytes, kind: str | None) -> bytes:
    """Return what a fault leaves of a file's bytes; most faults happen before there is a file."""
    if kind == "truncated":
        return data[: len(data) * 3 // 5]
    return {"no_bytes": b"", "not_an_image": TEXT_FILE}.get(kind or "", data)
