"""The simulated barn without its cows: floor, beds, walls, and the pipes above the beds."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from besana.simulation.view import (
    BED_BOTTOM_M,
    BED_TOP_M,
    BED_WIDTH_M,
    FULL_WIDTH_PX,
    View,
    floor_of_frame,
)

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Points = list[tuple[float, float, float]]
STREAM_FLOOR, STREAM_BEDDING = 31, 32
CURB_M = 0.16
PIPE_M = 0.055
WALL_M = -2.15
# Where a point at height z throws its shadow: so many metres to the right and down for each metre.
LEAN = (0.16, 0.1)


@dataclass(frozen=True, slots=True)
class Scene:
    """The barn of one day in one kind of light.

    Attributes:
        view: The camera.
        frame: (height, width, 3) uint8, RGB, the empty barn as the lens shows it.
        stage: (rows, columns, 3) uint8, RGB, the undistorted floor where cows can be.
        pipes: (rows, columns, 3) uint8, the pipes over the stage, RGB times opacity.
        clear: (rows, columns, 3) uint8, 255 where no pipe hides the stage.
    """

    view: View
    frame: Pixels
    stage: Pixels
    pipes: Pixels
    clear: Pixels

    def show(self, frame: Pixels, patch: Pixels, corner_px: tuple[int, int]) -> None:
        """Put a patch of the stage below the pipes and into a frame, through the lens.

        Args:
            frame: (height, width, 3) uint8, changed in place.
            patch: (rows, columns, 3) uint8, a piece of the stage, changed in place.
            corner_px: Place of the piece's first pixel on the stage, (x, y).
        """
        x, y = corner_px
        height, width = patch.shape[:2]
        over = (slice(y, y + height), slice(x, x + width))
        cv2.multiply(patch, self.clear[over], dst=patch, scale=1 / 255)
        cv2.add(patch, self.pipes[over], dst=patch)
        left, top = x + self.view.stage_px[0], y + self.view.stage_px[1]
        window = _window(self.view, (left, top, left + width - 1, top + height - 1))
        map_xy, map_part = (part[window] for part in _stage_maps(self.view))
        cv2.remap(
            patch,
            _moved(map_xy, x, y),
            map_part,
            cv2.INTER_LINEAR,
            dst=frame[window],
            borderMode=cv2.BORDER_TRANSPARENT,
        )


def _moved(map_xy: npt.NDArray[Any], x: int, y: int) -> npt.NDArray[np.int16]:
    """Return a map into a picture whose first column and row are cut off."""
    # OpenCV takes the scalar as one value a channel, much faster than NumPy's broadcasting.
    return np.asarray(cv2.subtract(map_xy, np.array([x, y, 0, 0], np.float64)), np.int16)


def _window(view: View, box_px: tuple[int, int, int, int]) -> tuple[slice, slice]:
    """Return rows and columns of the frame that show a box of the undistorted picture."""
    left, top, right, bottom = box_px
    x, y = np.linspace(left, right, 9), np.linspace(top, bottom, 9)
    rim = [(value, edge) for value in x for edge in (top, bottom)]
    rim += [(edge, value) for value in y for edge in (left, right)]
    points = view.distort(rim)
    low = np.clip(np.floor(points.min(axis=0)) - 1, 0, None).astype(int).tolist()
    high = (np.ceil(points.max(axis=0)) + 2).astype(int).tolist()
    return (slice(low[1], high[1]), slice(low[0], high[0]))


@dataclass(frozen=True)
class _Plan:
    """The floor seen from straight above, wide enough for the corners of the frame."""

    view: View
    corner_px: tuple[int, int]
    size_px: tuple[int, int]

    def metres(self) -> tuple[Floats, Floats]:
        """Return x (1, width) and y (height, 1) on the floor of every pixel."""
        (left, top), (width, height) = self.corner_px, self.size_px
        x = (np.arange(width) + left - self.view.centre_px[0]) / self.view.px_per_m
        y = (np.arange(height) + top - self.view.centre_px[1]) / self.view.px_per_m
        return x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]

    def lines(
        self, picture: Pixels, points: Points, colour: tuple[int, ...], wide_m: float
    ) -> None:
        """Draw a pipe through points (x, y, height) in metres."""
        places = np.rint((self.view.project(points) - self.corner_px) * 16).astype(np.int32)
        wide_px = max(1, round(wide_m * self.view.px_per_m))
        cv2.polylines(picture, [places], False, colour, wide_px, cv2.LINE_AA, 4)

    def box(self, picture: Pixels, box_m: tuple[float, ...], colour: tuple[int, ...]) -> None:
        """Fill a box on the floor: left, top, right, bottom in metres."""
        left, top, right, bottom = box_m
        corners = self.view.project([(left, top, 0), (right, bottom, 0)]) - self.corner_px
        (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, -1)


@functools.lru_cache(maxsize=4)
def _plan(view: View) -> _Plan:
    look = floor_of_frame(view).reshape(-1, 2)
    low, high = np.floor(look.min(0)).astype(int) - 2, np.ceil(look.max(0)).astype(int) + 3
    return _Plan(view, (int(low[0]), int(low[1])), (int(high[0] - low[0]), int(high[1] - low[1])))


def _cloud(rng: np.random.Generator, size_px: tuple[int, int], cell_px: float) -> Floats:
    """Return smooth noise, (height, width), with a deviation of about 1 and hills of one cell."""
    cells = (int(size_px[1] / cell_px) + 3, int(size_px[0] / cell_px) + 3)
    coarse = rng.standard_normal(cells, np.float32)
    return np.asarray(cv2.resize(coarse, size_px, interpolation=cv2.INTER_CUBIC))


def pipes_of_beds(beds: int) -> list[Points]:
    """Return the pipes between and over the beds as lines through (x, y, height) in metres."""
    edges = [(edge - beds / 2) * BED_WIDTH_M for edge in range(-1, beds + 2)]
    pipes: list[Points] = []
    for x in edges:
        pipes.append([(x, BED_TOP_M - 0.2, 0.0), (x, BED_TOP_M - 0.2, 1.1)])
        loop = [(x, BED_TOP_M - 0.2, 0.42), (x, 0.5, 0.42), (x, 0.66, 0.55), (x, 0.7, 0.8)]
        pipes.append([*loop, (x, 0.62, 1.02), (x, 0.45, 1.1), (x, BED_TOP_M - 0.2, 1.1)])
    pipes.append([(edges[0] - 0.3, -0.86, 1.2), (edges[-1] + 0.3, -0.86, 1.2)])
    return pipes


@functools.lru_cache(maxsize=2)
def _ground(view: View, seed: int) -> tuple[Pixels, Pixels]:
    """Return what stays the same every day: alley, wall and passages, and the pipes' shadows.

    Returns:
        (height, width, 3) uint8, RGB; and (height, width, 3) uint8, the light that the pipes
        leave, 255 for all of it.
    """
    rng, plan = np.random.default_rng([seed, STREAM_FLOOR]), _plan(view)
    (width, height), scale = plan.size_px, view.width_px / FULL_WIDTH_PX
    x, y = plan.metres()
    picture = np.full((height, width, 3), (118, 115, 108), np.uint8)
    plan.box(picture, (-20, -20, 20, WALL_M), (168, 166, 158))
    plan.box(picture, (-20, -20, 20, WALL_M - 0.75), (236, 241, 246))
    for post in np.arange(-9.2, 9.3, 2.3):
        plan.box(picture, (post, -20, post + 0.16, WALL_M), (108, 112, 118))
    plan.box(picture, (-20, WALL_M - 0.09, 20, WALL_M), (92, 90, 86))
    plan.box(picture, (-20, 3.35, 20, 3.5), (150, 150, 148))
    plan.box(picture, (-20, 3.5, 20, 20), (106, 110, 74))
    ground = picture.astype(np.float32)
    slots = (np.mod(y, 0.2) < 0.035) & (np.mod(x, 1.0) > 0.05) & (y > 1.35) & (y < 3.3)
    ground[np.broadcast_to(slots, ground.shape[:2])] *= 0.42
    mud = np.clip(_cloud(rng, plan.size_px, 70 * scale) - 0.2, 0, 1.2)[..., None]
    mud = mud * np.where((y > -2.1) & (y < 3.35), 0.5, 0.08)[..., None]
    ground = ground * (1 - mud) + np.array((74, 62, 42), np.float32) * mud
    ground *= (1 + 0.06 * _cloud(rng, plan.size_px, 5 * scale))[..., None]
    picture = np.clip(ground, 0, 255).astype(np.uint8)
    plan.box(picture, (-5.5, -1.2, -4.5, 0.9), (128, 136, 140))
    plan.box(picture, (-5.38, -1.08, -4.62, 0.78), (72, 92, 102))
    plan.box(picture, (4.7, -1.7, 5.05, -0.4), (186, 160, 58))
    return picture, _pipe_shadows(plan)


def _pipe_shadows(plan: _Plan) -> Pixels:
    shade = np.zeros(plan.size_px[::-1], np.uint8)
    for pipe in pipes_of_beds(plan.view.beds):
        thrown = [(x + LEAN[0] * z, y + LEAN[1] * z, 0.0) for x, y, z in pipe]
        plan.lines(shade, thrown, (255,), PIPE_M)
    blurred = np.asarray(cv2.GaussianBlur(shade, (0, 0), 0.03 * plan.view.px_per_m), np.uint8)
    return np.repeat((255 - blurred // 3)[..., None], 3, axis=2)


def _bedding(plan: _Plan, seed: int, day: int) -> Pixels:
    """Return one day's sand and straw, (height, width, 3) uint8, RGB."""
    rng = np.random.default_rng([seed, STREAM_BEDDING, day])
    scale = plan.view.width_px / FULL_WIDTH_PX
    hills, grain = (_cloud(rng, plan.size_px, cell * scale) for cell in (46, 4))
    sand = np.array((171, 150, 112), np.float32) * (1 + 0.07 * hills + 0.05 * grain)[..., None]
    straw = np.zeros(sand.shape[:2], np.uint8)
    count = 900
    x, y = (rng.uniform(0, length, count) for length in plan.size_px)
    turn, long_px = rng.uniform(0, np.pi, count), rng.uniform(8, 26, count) * scale
    ends = np.stack([x, y, x + long_px * np.cos(turn), y + long_px * np.sin(turn)], axis=1)
    cv2.polylines(straw, list(ends.reshape(-1, 2, 2).astype(np.int32)), False, 255, 1, cv2.LINE_AA)
    blend = (straw.astype(np.float32) / 255 * 0.55)[..., None]
    strewn = sand * (1 - blend) + np.array((222, 200, 138), np.float32) * blend
    _, along = plan.metres()
    wet = np.clip(_cloud(rng, plan.size_px, 60 * scale) * 0.6 + (along - 0.35) * 0.9, 0, 1)
    wet = (0.55 * wet)[..., None]
    soiled = strewn * (1 - wet) + np.array((96, 78, 50), np.float32) * wet
    return np.clip(soiled, 0, 255).astype(np.uint8)


def _floor(view: View, seed: int, day: int) -> Pixels:
    """Return the whole floor of one day, (height, width, 3) uint8, RGB."""
    plan, (ground, light) = _plan(view), _ground(view, seed)
    floor = ground.copy()
    edge = (view.beds / 2 + 1) * BED_WIDTH_M
    corners = view.project([(-edge, BED_TOP_M - 0.12, 0), (edge, BED_BOTTOM_M, 0)])
    (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
    beds = _Plan(view, (x0, y0), (x1 - x0, y1 - y0))
    left, top = plan.corner_px
    floor[y0 - top : y1 - top, x0 - left : x1 - left] = _bedding(beds, seed, day)
    plan.box(floor, (-edge, BED_BOTTOM_M, edge, BED_BOTTOM_M + CURB_M), (150, 146, 136))
    plan.box(floor, (-edge, BED_TOP_M + 0.34, edge, BED_TOP_M + 0.46), (124, 98, 66))
    return np.asarray(cv2.multiply(floor, light, scale=1 / 255), np.uint8)


def _pipes(view: View, infrared: bool) -> tuple[Pixels, Pixels]:
    """Return the pipes over the stage, RGB times opacity, and what stays clear, both uint8."""
    left, top, right, bottom = view.stage_px
    plan = _Plan(view, (left, top), (right - left, bottom - top))
    colour = np.zeros((bottom - top, right - left, 3), np.uint8)
    cover = np.zeros(colour.shape[:2], np.uint8)
    steel, edge = ((150,) * 3, (86,) * 3) if infrared else ((176, 180, 182), (92, 96, 98))
    for pipe in pipes_of_beds(view.beds):
        plan.lines(cover, pipe, (255,), PIPE_M)
        plan.lines(colour, pipe, edge, PIPE_M)
        plan.lines(colour, pipe, steel, PIPE_M * 0.5)
    opaque = np.repeat(cover[..., None], 3, axis=2)
    pipes = cv2.multiply(colour, opaque, scale=1 / 255)
    return np.asarray(pipes, np.uint8), np.asarray(255 - opaque, np.uint8)


def _infrared(picture: Pixels) -> Pixels:
    """Return a floor as the infrared lamps show it: greyer, flatter, straw and mud brighter."""
    mixed = cv2.transform(picture, np.array([[0.5, 0.35, 0.1]], np.float32))
    flat = cv2.convertScaleAbs(mixed, alpha=0.72, beta=20)
    return np.asarray(cv2.merge([flat] * 3), np.uint8)


@functools.lru_cache(maxsize=2)
def _stage_maps(view: View) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint16]]:
    """Return where in the stage each pixel of the frame looks, in OpenCV's fixed point."""
    look = floor_of_frame(view) - np.array(view.stage_px[:2], np.float32)
    map_xy, map_part = cv2.convertMaps(look[..., 0], look[..., 1], cv2.CV_16SC2)
    return np.asarray(map_xy, np.int16), np.asarray(map_part, np.uint16)


@functools.lru_cache(maxsize=4)
def build_scene(view: View, seed: int, day: int, infrared: bool) -> Scene:
    """Return the barn of one day; the bedding is raked and strewn anew every day.

    Args:
        view: The camera.
        seed: The simulation's seed.
        day: Number of the day, 0 for the first.
        infrared: Whether the camera's own lamps light the barn.
    """
    plan, floor = _plan(view), _floor(view, seed, day)
    if infrared:
        floor = _infrared(floor)
    look = floor_of_frame(view) - np.asarray(plan.corner_px, np.float32)
    frame = np.asarray(cv2.remap(floor, look[..., 0], look[..., 1], cv2.INTER_LINEAR), np.uint8)
    left, top, right, bottom = view.stage_px
    x0, y0 = left - plan.corner_px[0], top - plan.corner_px[1]
    stage = floor[y0 : y0 + bottom - top, x0 : x0 + right - left].copy()
    scene = Scene(view, frame, stage, *_pipes(view, infrared))
    scene.show(frame, stage.copy(), (0, 0))
    return scene
