"""How a body looks to the camera above it: outline, light on the surface, shade on the floor."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from besana.simulation.body import BODIES, Part
from besana.simulation.view import HEIGHT_M, View

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Box = npt.NDArray[np.int_]
MARGIN_M = 0.4
LOW_M = 0.55


@dataclass(frozen=True, slots=True)
class Place:
    """Where a body is on the floor: metres to the right, metres downwards, clockwise heading."""

    x_m: float
    y_m: float
    heading_deg: float

    def axes(self) -> Floats:
        """Return the body's axes, ahead and left, as rows in floor coordinates, (2, 2)."""
        cos, sin = (trig(math.radians(self.heading_deg)) for trig in (math.cos, math.sin))
        return np.array([[sin, -cos], [-cos, -sin]], np.float32)

    def on_floor(self, part: Part) -> Floats:
        """Return the floor point under the middle of a part, (2,), in metres."""
        middle = np.array(part.centre[:2], np.float32)
        return np.array([self.x_m, self.y_m], np.float32) + middle @ self.axes()


@dataclass(frozen=True, slots=True)
class Shape:
    """One posture at one place as the camera sees it, whatever coat it wears.

    Attributes:
        corner_px: Place of the arrays' first pixel in the undistorted picture, (x, y).
        anchor_px: Where the middle of the body is in the undistorted picture, (x, y).
        along_m: (height, width) float32, where on the body, towards the head.
        across_m: (height, width) float32, where on the body, round the barrel to the left.
        kind: (height, width) uint8, kind of part: `SKIN`, `MUZZLE` or `UDDER`.
        light: (height, width, 3) uint8, opacity times light on the body by day, 200 is full light.
        glow: The same at night, in the light of the camera's own lamps.
        cover: (height, width) uint8, opacity of body and shade by day.
        cover_night: The same at night, when the shade is weaker.
    """

    corner_px: tuple[int, int]
    anchor_px: tuple[float, float]
    along_m: Floats
    across_m: Floats
    kind: Pixels
    light: Pixels
    glow: Pixels
    cover: Pixels
    cover_night: Pixels


def _box(parts: list[Part], place: Place, view: View, margin_m: float = 0.0) -> Box:
    """Return a box in undistorted pixels that holds the parts: left, top, right, bottom."""
    corners = []
    for part in parts:
        floor, reach = place.on_floor(part), max(part.radii[:2]) + margin_m
        low, high = part.centre[2] - part.radii[2], part.centre[2] + part.radii[2]
        corners += [(*(floor + side * reach), z) for side in (-1, 1) for z in (low, high)]
    points = view.project(corners)
    return np.array([*np.floor(points.min(0)) - 1, *np.ceil(points.max(0)) + 2], int)


def _meet(part: Part, box: Box, place: Place, view: View) -> Floats:
    """Return where the rays through the pixels of a box first meet an ellipsoid.

    A ray through the floor point (X, Y) is at (X, Y) * (1 - z / HEIGHT_M) at height z, so the
    meeting is a quadratic equation in z whose higher root the camera sees.

    Returns:
        (4, height, width) float32: height in metres (-1 where missed), how far the surface looks
        up, metres along and across the body.
    """
    x0, y0, x1, y1 = box
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    floor = np.stack([x - view.centre_px[0], y - view.centre_px[1]]) / view.px_per_m
    offset = floor - np.array([place.x_m, place.y_m])[:, None, None]
    start = np.tensordot(place.axes(), offset, 1)
    slope = np.tensordot(place.axes(), -floor / HEIGHT_M, 1)
    cos, sin = (trig(math.radians(part.turn_deg)) for trig in (math.cos, math.sin))
    spin = np.array([[cos, sin], [-sin, cos]]) / np.array(part.radii[:2])[:, None]
    near = np.tensordot(spin, start - np.array(part.centre[:2])[:, None, None], 1)
    step = np.tensordot(spin, slope, 1)
    near_z, step_z = -part.centre[2] / part.radii[2], 1 / part.radii[2]
    a = (step * step).sum(0) + step_z**2
    b = (near * step).sum(0) + near_z * step_z
    root = b * b - a * ((near * near).sum(0) + near_z**2 - 1)
    z = (np.sqrt(np.maximum(root, 0)) - b) / a
    flat = (near + step * z) / np.array(part.radii[:2])[:, None, None]
    up = (near_z + step_z * z) / part.radii[2]
    facing_up = up / np.maximum(np.sqrt((flat * flat).sum(0) + up * up), 1e-6)
    along, across = start + slope * z
    height = np.where(root > 0, z, -1.0)
    return np.stack([height, np.clip(facing_up, 0, 1), along, across]).astype(np.float32)


def _surface(parts: list[Part], box: Box, place: Place, view: View) -> Floats:
    """Lay the parts over each other, the highest seen."""
    top_m = max(part.centre[2] + part.radii[2] for part in parts)
    surface = np.zeros((5, box[3] - box[1], box[2] - box[0]), np.float32)
    surface[0] = -1.0
    for part in parts:
        inner = _box([part], place, view)
        x0, y0, x1, y1 = inner - np.tile(box[:2], 2)
        met = _meet(part, inner, place, view)
        met[3] += np.sign(met[3]) * 0.6 * np.maximum(0, top_m - met[0])
        window = surface[:, y0:y1, x0:x1]
        higher = met[0] > window[0]
        window[:4, higher] = met[:, higher]
        window[4, higher] = part.kind
    return surface


def _shadow(parts: list[Part], box: Box, place: Place, view: View) -> Floats:
    """Return the shade on the floor: sharp and dark below a lying body, wide below a standing one.

    Most light comes from the sky strip in the roof, a little from the left and above.
    """
    light = np.ones((box[3] - box[1], box[2] - box[0]), np.float32)
    for low, depth, blur_m in ((True, 0.62, 0.045), (False, 0.5, 0.15)):
        mask = np.zeros(light.shape, np.float32)
        for part in parts:
            if (part.centre[2] < LOW_M) == low:
                _stamp(mask, part, box, place, view)
        light *= 1 - depth * _blur(mask, blur_m * view.px_per_m)
    return 1 - light


def _blur(values: Floats, sigma_px: float) -> Floats:
    """Blur widely, on a smaller picture where that makes no visible difference."""
    if sigma_px < 4:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px))
    height, width = values.shape
    small = cv2.resize(values, (width // 4 + 1, height // 4 + 1), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / 4)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _stamp(mask: Floats, part: Part, box: Box, place: Place, view: View) -> None:
    """Draw the outline that a part throws on the floor."""
    lean = np.array([0.16, 0.1]) * part.centre[2]
    centre = view.project([(*(place.on_floor(part) + lean), 0.0)])[0] - box[:2]
    axes = [round(radius * view.px_per_m) for radius in part.radii[:2]]
    turn = place.heading_deg - 90 - part.turn_deg
    middle = (round(float(centre[0])), round(float(centre[1])))
    cv2.ellipse(mask, middle, (axes[0], axes[1]), turn, 0, 360, 1.0, -1)


def _smooth(values: Floats, inside: Floats, sigma_px: float) -> Floats:
    """Blur values over the inside only, so that the seams between two parts vanish."""
    return np.asarray(_blur(values * inside, sigma_px) / (_blur(inside, sigma_px) + 1e-3))


def _pixels(values: Floats) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def render_shape(view: View, state: str, pose: int, place: Place) -> Shape:
    """Return a posture at a place as the camera sees it.

    Args:
        view: The camera.
        state: `lying` or `standing`.
        pose: Which of the posture's shapes, 0 to 3.
        place: Where the body is; every place costs some milliseconds once.
    """
    parts = BODIES[state](pose)
    box = _box(parts, place, view, MARGIN_M)
    height, up, along, across, kind = _surface(parts, box, place, view)
    shadow = _shadow(parts, box, place, view)
    seen = (shadow > 0.02) | (height > 0)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    height, up, along, across, kind, shadow = (
        values[window] for values in (height, up, along, across, kind, shadow)
    )
    inside = (height > 0).astype(np.float32)
    up = _smooth(up, inside, 0.035 * view.px_per_m)
    opacity = cv2.GaussianBlur(inside, (3, 3), 0)
    # Higher surfaces are nearer to the light.
    near = opacity * (0.9 + 0.12 * np.maximum(height, 0))
    by_day, by_night = near * (0.3 + 0.7 * up), near * (0.42 + 0.58 * up)
    anchor = view.project([(place.x_m, place.y_m, parts[0].centre[2])])[0]
    return Shape(
        (int(box[0] + columns[0]), int(box[1] + rows[0])),
        (float(anchor[0]), float(anchor[1])),
        along.copy(),
        across.copy(),
        kind.astype(np.uint8),
        np.repeat(_pixels(200 * by_day)[..., None], 3, axis=2),
        np.repeat(_pixels(200 * by_night)[..., None], 3, axis=2),
        _pixels(255 * (1 - (1 - opacity) * (1 - shadow))),
        _pixels(255 * (1 - (1 - opacity) * (1 - 0.55 * shadow))),
    )
