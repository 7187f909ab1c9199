"""Light in the simulated barn: sun through the roof, clouds, dusk, and the lamps at night."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from besana.simulation.herd import DAY_S
from besana.simulation.view import View

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
STREAM_WEATHER, STREAM_NOISE = 41, 42
SUNRISE_H, SUNSET_H = 5.75, 18.1
# Below this height of the sun (as a share of noon) the camera switches to infrared.
SWITCH = 0.06
FULL = 128
GRAIN = 16.0


@dataclass(frozen=True, slots=True)
class Light:
    """The light of one moment.

    Attributes:
        infrared: Whether the camera sees by its own infrared lamps.
        gain: (height, width, 3) uint8, by how much each pixel is brighter, `FULL` is once.
        veil: Grey value that scattered light adds everywhere.
        noise: Deviation of the sensor's noise in grey values.
    """

    infrared: bool
    gain: Pixels
    veil: float
    noise: float


def sun_height(time_s: float) -> float:
    """Return the sun's height as a share of its height at noon, at most 0 at night."""
    hour = time_s % DAY_S / 3600
    return math.sin(math.pi * (hour - SUNRISE_H) / (SUNSET_H - SUNRISE_H))


def is_infrared(time_s: float) -> bool:
    """Say whether the camera works in infrared at a time since the first midnight."""
    return sun_height(time_s) < SWITCH


def _weather(seed: int, time_s: float) -> tuple[float, float]:
    """Return how clear the sky is, 0 to 1, and a slow drift of exposure around 0."""
    day, second = divmod(time_s, DAY_S)
    rng = np.random.default_rng([seed, STREAM_WEATHER, int(day)])
    clear, phases = rng.uniform(0.0, 1.0), rng.uniform(0, 2 * math.pi, 6)
    waves = [
        math.sin(2 * math.pi * second / period + phase)
        for period, phase in zip((14_000, 5_300, 2_100, 21_000, 4_700, 1_300), phases, strict=True)
    ]
    return float(np.clip(clear + 0.35 * sum(waves[:3]) / 2, 0, 1)), sum(waves[3:]) / 3


@functools.lru_cache(maxsize=4)
def _vignette(view: View, infrared: bool) -> Floats:
    """Return the fall of light to the edge, (height / 4, width / 4) float32."""
    height, width = view.height_px // 4, view.width_px // 4
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    r = np.hypot(x * 4 - view.centre_px[0], y * 4 - view.centre_px[1]) / view.width_px
    circle = 1 / (1 + np.exp((r - 0.55) * 60))
    fall = np.exp(-((r / 0.34) ** 2)) * 0.95 + 0.22 if infrared else 1 - 0.9 * r * r
    return np.asarray(fall * circle, np.float32)


def _sun_patches(view: View, time_s: float) -> Floats:
    """Return where the sun shines through the roof, (height / 4, width / 4) float32, 0 to 1."""
    hour = time_s % DAY_S / 3600
    picture = np.zeros((view.height_px // 4, view.width_px // 4), np.uint8)
    for place in (-8.1, -5.4, -2.7, 0.0, 2.7, 5.4, 8.1):
        x = place - 0.95 * (hour - 12.0)
        lean = 0.12 * (hour - 12.0)
        quad = [(x, -1.7, 0), (x + 0.7, -1.7, 0), (x + 0.7 + lean, 1.5, 0), (x + lean, 1.5, 0)]
        if max(abs(corner[0]) for corner in quad) > 4.2:
            continue
        corners = view.distort(view.project(quad)) / 4
        cv2.fillConvexPoly(picture, np.rint(corners * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    blur = cv2.GaussianBlur(picture, (0, 0), 2.0 * view.width_px / 1280)
    return np.asarray(blur, np.float32) / np.float32(255)


def light_at(view: View, seed: int, time_s: float) -> Light:
    """Return the light of a moment.

    Args:
        view: The camera.
        seed: The simulation's seed.
        time_s: Seconds since the first midnight.
    """
    clear, drift = _weather(seed, time_s)
    sun = sun_height(time_s)
    size = (view.width_px, view.height_px)
    if sun < SWITCH:
        gain = _vignette(view, True) * (1.0 + 0.1 * drift)
        small = np.clip(gain * FULL, 0, 255).astype(np.uint8)
        grey = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        return Light(True, np.asarray(cv2.merge([grey] * 3)), 9.0 + 3 * drift, 4.6)
    # The camera's exposure makes good for most of the dusk, at the price of noise.
    level = (0.62 + 0.42 * min(1.0, sun * 2.2) ** 0.6) * (1.0 + 0.12 * drift) * (0.85 + 0.2 * clear)
    gain = _vignette(view, False) * level
    bright = _sun_patches(view, time_s) * (0.75 * clear * max(0.0, sun - 0.15))
    warm = 1 - min(1.0, sun * 1.6)
    tint = np.array((1.0 + 0.1 * warm, 1.0, 1.03 - 0.14 * warm), np.float32)
    colour = (gain * (1 + bright))[..., None] * tint
    small = np.clip(colour * FULL, 0, 255).astype(np.uint8)
    full = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return Light(False, np.asarray(full), 4.0, 1.9 + 2.4 * (1 - min(1.0, sun * 2.5)))


@functools.lru_cache(maxsize=4)
def noise_field(view: View, seed: int, infrared: bool) -> Pixels:
    """Return sensor noise larger than a frame: (height + 64, width + 128, 3) uint8 around 128.

    Its deviation is `GRAIN`; a frame takes its own piece of it.
    """
    rng = np.random.default_rng([seed, STREAM_NOISE, int(infrared)])
    channels = 1 if infrared else 3
    shape = (view.height_px + 64, view.width_px + 128, channels)
    field = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.55)
    field *= GRAIN / field.std()
    pixels = np.clip(np.rint(field + 128), 0, 255).astype(np.uint8)
    return np.asarray(cv2.merge([pixels] * 3)) if infrared else pixels
