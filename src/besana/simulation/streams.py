"""A camera's samples as a model sees them, without pixels: months of them in a second.

Cows come, lie and leave as in `herd`; who lies there, how she lies, the weather and the time of
day shape what a network would see. So neighbouring samples are as alike as in a rendered barn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.simulation.herd import CLASSES, COWS, DAY_S, keep_herd
from besana.simulation.light import is_infrared

Floats = NDArray[np.float64]

FEATURES = 24
_STREAM = 81
# How much each cause moves a sample, against a distance of 1 between classes.
_COW, _BOUT, _DAY, _HOUR, _NIGHT, _NOISE = 0.6, 0.75, 0.3, 0.3, 0.6, 0.5


@dataclass(frozen=True)
class Samples:
    """Samples of one camera in the order of time and bed.

    Attributes:
        time_s: (n,) seconds since the first midnight.
        bed: (n,) place of the bed, from 0.
        truth: (n,) class, an index into `herd.CLASSES`.
        vector: (n, FEATURES) what a network sees.
        brightness: (n,) mean grey value of its frame.
    """

    time_s: NDArray[np.int64]
    bed: NDArray[np.int64]
    truth: NDArray[np.int64]
    vector: Floats
    brightness: Floats


def draw_samples(
    seed: int,
    days: int,
    *,
    beds: int = 3,
    interval_s: int = 300,
    new_herd_from_day: float | None = None,
    dirt_from_day: float | None = None,
    strength: float = 1.0,
) -> Samples:
    """Draw what one camera shows for some days.

    Args:
        seed: Another seed, another barn with another herd.
        days: How many days.
        beds: How many beds.
        interval_s: Seconds between two frames.
        new_herd_from_day: Day from which on other cows are there; None: never.
        dirt_from_day: Day from which on the lens is dirty; None: never.
        strength: How different the new cows are, or how thick the dirt.
    """
    rng = np.random.default_rng([seed, _STREAM])
    centres = _unit(rng, len(CLASSES))
    cows, night, veil = _unit(rng, COWS), _unit(rng, 1)[0], _unit(rng, 1)[0]
    others = _unit(rng, COWS) * 1.0 + 2.2 * strength * _unit(rng, 1)[0]
    weather = rng.normal(size=(days, FEATURES)) * _DAY / 2
    hourly = rng.normal(size=(days * 24, FEATURES)) * _HOUR / 2
    times = np.arange(0, days * int(DAY_S), interval_s)
    truth, cow, bout = (np.empty((len(times), beds), np.int64) for _ in range(3))
    herd = keep_herd(seed, days, beds + 2)
    for bed in range(beds):
        for place, time in enumerate(times.tolist()):
            found = herd.bout_at(bed + 1, float(time))
            truth[place, bed] = CLASSES.index(found.state if found else "empty")
            cow[place, bed] = found.cow if found else -1
            bout[place, bed] = int(found.start_s) if found else -1
    ways = np.array([_bout_vector(seed, int(value)) for value in np.unique(bout)])
    way = ways[np.searchsorted(np.unique(bout), bout)]
    day = times / DAY_S
    is_new = day >= (np.inf if new_herd_from_day is None else new_herd_from_day)
    coats = np.where(is_new[:, None, None], others[cow], cows[cow]) * _COW
    present = (cow >= 0)[:, :, None]
    infrared = np.array([is_infrared(float(time)) for time in times])
    shared = weather[times // int(DAY_S)] + hourly[times // 3600]
    shared = shared + infrared[:, None] * night * _NIGHT
    vector = centres[truth] + np.where(present, coats + way, 0) + shared[:, None, :]
    vector = vector + rng.normal(size=vector.shape) * _NOISE / 2
    dirty = day >= (np.inf if dirt_from_day is None else dirt_from_day)
    vector = np.where(
        dirty[:, None, None], vector * (1 - 0.45 * strength) + veil * 0.6 * strength, vector
    )
    brightness = np.where(infrared, 70.0, 120.0) + weather[times // int(DAY_S), 0] * 60
    brightness = brightness + hourly[times // 3600, 0] * 60 - 15 * strength * dirty
    return Samples(
        time_s=np.repeat(times, beds).astype(np.int64),
        bed=np.tile(np.arange(beds), len(times)),
        truth=truth.ravel(),
        vector=vector.reshape(-1, FEATURES),
        brightness=np.repeat(brightness, beds),
    )


def _unit(rng: np.random.Generator, count: int) -> Floats:
    drawn = rng.normal(size=(count, FEATURES))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _bout_vector(seed: int, start_s: int) -> Floats:
    """Draw how a cow lies or stands this time; it holds until she gets up."""
    rng = np.random.default_rng([seed, _STREAM, start_s + 10 * int(DAY_S)])
    return np.asarray(_unit(rng, 1)[0] * _BOUT)
