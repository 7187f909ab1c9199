"""One frame of the simulated barn, a pure function of the seed and the frame's number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from besana.simulation.coat import dress, grow_coat
from besana.simulation.herd import COWS, DAY_S, Bout, Herd
from besana.simulation.light import FULL, GRAIN, Light, is_infrared, light_at, noise_field
from besana.simulation.scene import build_scene
from besana.simulation.shape import Place
from besana.simulation.view import FULL_WIDTH_PX, HEIGHT_M, View

Pixels = npt.NDArray[np.uint8]
STREAM_FRAME = 51
MOVED_PX, MOVED_DEG = (34.0, -21.0), 1.4
BODY_M = {"lying": 0.42, "standing": 0.98}
ALLEY_PLACES = (
    Place(-1.9, 2.0, 90.0),
    Place(0.3, 2.05, -90.0),
    Place(1.8, 1.95, -90.0),
    Place(-1.25, 2.6, 0.0),
    Place(0.0, 2.6, 0.0),
    Place(1.25, 2.6, 0.0),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """One cow in one frame.

    Attributes:
        cow: Number of the cow.
        state: `lying` or `standing`.
        pose: Which of the posture's shapes, 0 to 3.
        place: The place for which the shape was rendered.
        shift_m: How far she is from it, to the right and downwards.
        turn_deg: How far she is turned clockwise.
    """

    cow: int
    state: str
    pose: int
    place: Place
    shift_m: tuple[float, float]
    turn_deg: float


def _in_bed(bout: Bout, view: View, rng: np.random.Generator) -> Actor:
    """Return the cow of a bout, with the small movements of this very frame."""
    left, right = view.bed_edges_m(bout.bed - 1)
    pose, moves = bout.pose, rng.random()
    if bout.state == "standing" and moves < 0.5:
        pose = int(rng.integers(4))
    elif bout.state == "lying" and moves < 0.12:
        pose = (pose + 2) % 4
    shift = np.asarray(bout.shift_m) + rng.normal(0.0, 0.018, 2)
    turn = bout.turn_deg + rng.normal(0.0, 1.2)
    place = Place((left + right) / 2, 0.12, 0.0)
    return Actor(bout.cow, bout.state, pose, place, (float(shift[0]), float(shift[1])), float(turn))


def cast(herd: Herd, view: View, seed: int, number: int, time_s: float) -> list[Actor]:
    """Return the cows in view in the order in which they are drawn, the higher ones last.

    The row of beds in view has one unlabelled bed at each end; a cow in the alley may put her
    head into an empty bed.
    """
    rng = np.random.default_rng([seed, STREAM_FRAME, number])
    bouts = [herd.bout_at(bed, time_s) for bed in range(herd.beds)]
    actors = [_in_bed(bout, view, rng) for bout in bouts if bout is not None]
    perching = any(actor.shift_m[1] > 0.35 for actor in actors)
    busy = 0.14 if is_infrared(time_s) else 0.32
    if rng.random() < busy and not perching:
        free = sorted(set(range(COWS)) - {actor.cow for actor in actors})
        place = ALLEY_PLACES[int(rng.integers(len(ALLEY_PLACES)))]
        x, y = rng.normal(0.0, (0.25, 0.1))
        cow, pose = free[int(rng.integers(len(free)))], (0, 3)[int(rng.integers(2))]
        actors.append(
            Actor(cow, "standing", pose, place, (float(x), float(y)), float(rng.normal(0, 8)))
        )
    return sorted(actors, key=lambda actor: actor.state == "standing")


@dataclass(frozen=True, slots=True)
class _Sticker:
    """A dressed cow with her place on the stage.

    Attributes:
        sprite: (height, width, 4) uint8, RGB times opacity, and opacity.
        matrix: (2, 3), from the sprite's pixels to the stage's.
        low: First column and row of the stage that it touches.
        high: Column and row behind the last one.
    """

    sprite: Pixels
    matrix: npt.NDArray[np.float64]
    low: npt.NDArray[np.int_]
    high: npt.NDArray[np.int_]

    def stick(self, patch: Pixels, corner: npt.NDArray[np.int_]) -> None:
        """Draw the cow and her shade on a piece of the stage whose first pixel is at a corner."""
        move = self.matrix.copy()
        move[:, 2] -= self.low
        (x0, y0), (x1, y1) = (self.low - corner).tolist(), (self.high - corner).tolist()
        warped = cv2.warpAffine(self.sprite, move, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        red, green, blue, cover = cv2.split(warped)
        window = patch[y0:y1, x0:x1]
        clear = cv2.merge([cv2.bitwise_not(cover)] * 3)
        cv2.multiply(window, clear, dst=window, scale=1 / 255)
        cv2.add(window, cv2.merge([red, green, blue]), dst=window)


def _sticker(actor: Actor, view: View, seed: int, infrared: bool) -> _Sticker:
    sprite, shape = dress(seed, actor.cow, view, actor.state, actor.pose, actor.place, infrared)
    left, top, right, bottom = view.stage_px
    px_per_m = view.focal_px / (HEIGHT_M - BODY_M[actor.state])
    middle = np.asarray(shape.anchor_px)
    anchor = middle - shape.corner_px
    goal = middle - (left, top) + np.asarray(actor.shift_m) * px_per_m
    cos, sin = (trig(math.radians(actor.turn_deg)) for trig in (math.cos, math.sin))
    spin = grow_coat(seed, actor.cow).scale * np.array([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([spin, goal - spin @ anchor])
    height, width = sprite.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ matrix.T
    size = (right - left, bottom - top)
    low = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, size).astype(int)
    return _Sticker(sprite, matrix, low, high)


def _expose(
    frame: Pixels, light: Light, field: Pixels, rng: np.random.Generator, exposure: float
) -> Pixels:
    """Put light and sensor noise on a frame."""
    lit = cv2.multiply(frame, light.gain, scale=exposure / FULL)
    y, x = rng.integers(64), rng.integers(128)
    piece = field[y : y + frame.shape[0], x : x + frame.shape[1]]
    weight = light.noise / GRAIN
    veil = light.veil * min(exposure, 1.0)
    return np.asarray(cv2.addWeighted(lit, 1.0, piece, weight, veil - 128 * weight))


def _fog(frame: Pixels, view: View) -> Pixels:
    """Return a frame seen through condensation on the lens."""
    blurred = cv2.GaussianBlur(frame, (0, 0), 9.0 * view.width_px / FULL_WIDTH_PX)
    return np.asarray(cv2.convertScaleAbs(blurred, alpha=0.62, beta=58))


def _knock(frame: Pixels, view: View) -> Pixels:
    """Return a frame of the camera after it was knocked askew."""
    matrix = np.asarray(cv2.getRotationMatrix2D(view.centre_px, MOVED_DEG, 1.0), np.float64)
    matrix[:, 2] += np.array(MOVED_PX) * view.width_px / FULL_WIDTH_PX
    size = (view.width_px, view.height_px)
    return np.asarray(cv2.warpAffine(frame, matrix, size, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _stamp(frame: Pixels, text: str, view: View) -> None:
    """Write the camera's own line into the upper left corner."""
    scale = view.width_px / FULL_WIDTH_PX
    place = (round(18 * scale), round(30 * scale))
    for colour, width in ((0, 3), (245, 1)):
        cv2.putText(
            frame,
            text,
            place,
            cv2.FONT_HERSHEY_SIMPLEX,
            0.6 * scale,
            (colour,) * 3,
            width,
            cv2.LINE_AA,
        )


def _draw(herd: Herd, view: View, seed: int, number: int, time_s: float) -> Pixels:
    """Return the barn with its cows in even light; only what the cows touch is drawn anew."""
    infrared = is_infrared(time_s)
    scene = build_scene(view, seed, int(time_s // DAY_S), infrared)
    frame = scene.frame.copy()
    actors = cast(herd, view, seed, number, time_s)
    stickers = [_sticker(actor, view, seed, infrared) for actor in actors]
    stickers = [sticker for sticker in stickers if (sticker.low < sticker.high).all()]
    if stickers:
        low = np.min([sticker.low for sticker in stickers], axis=0)
        high = np.max([sticker.high for sticker in stickers], axis=0)
        patch = scene.stage[low[1] : high[1], low[0] : high[0]].copy()
        for sticker in stickers:
            sticker.stick(patch, low)
        scene.show(frame, patch, (int(low[0]), int(low[1])))
    return frame


def render_frame(
    herd: Herd,
    view: View,
    seed: int,
    number: int,
    time_s: float,
    *,
    text: str = "",
    exposure: float = 1.0,
    fogged: bool = False,
    moved: bool = False,
) -> Pixels:
    """Return one frame, (height, width, 3) uint8, RGB.

    Args:
        herd: What the cows do; its row has one bed more on each side than the view.
        view: The camera.
        seed: The simulation's seed.
        number: Number of the frame, for its noise and its small movements.
        time_s: Seconds since the first midnight.
        text: What the camera writes into the corner.
        exposure: How much light the camera takes in, 1 is right.
        fogged: Whether there is condensation on the lens.
        moved: Whether the camera was knocked askew.
    """
    frame = _draw(herd, view, seed, number, time_s)
    if moved:
        frame = _knock(frame, view)
    if fogged:
        frame = _fog(frame, view)
    light = light_at(view, seed, time_s)
    field = noise_field(view, seed, light.infrared)
    rng = np.random.default_rng([seed, STREAM_FRAME, number, 1])
    frame = _expose(frame, light, field, rng, exposure)
    if text:
        _stamp(frame, text, view)
    return frame
