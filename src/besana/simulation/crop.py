"""One tile of a simulated field, a pure function of the seed, the field and the tile's place."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CLASSES = ("nutrient_deficiency", "water", "weed_cluster")
STREAM_FIELD, STREAM_TILE = 71, 72
ROW_M, PX_M = 0.75, 0.1
# Nodes of the noise from which a field's patches grow, along each side.
NODES = 40
# For each class the least and the greatest share of a field, and how wide its soft edge is.
SHARES = {
    "nutrient_deficiency": (0.06, 0.16),
    "water": (0.02, 0.06),
    "weed_cluster": (0.05, 0.13),
}
# Colours as red, green, blue and near infrared, as a camera of that kind shows them.
SOIL = (134, 108, 84, 92)
CROP = (66, 112, 52, 205)
WEED = (96, 146, 62, 226)
PALE_CROP = (158, 160, 74, 158)
WATER = (72, 80, 84, 24)
GRASS = (104, 124, 78, 170)


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile with its truth.

    Attributes:
        rgb: (size, size, 3) uint8, RGB.
        nir: (size, size) uint8.
        bounds: (size, size) uint8, 255 inside the field's boundary.
        mask: (size, size) uint8, 255 where the picture has pixels.
        labels: For each class (size, size) uint8, 255 where it holds.
    """

    rgb: Pixels
    nir: Pixels
    bounds: Pixels
    mask: Pixels
    labels: dict[str, Pixels]

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Where the picture has pixels inside the field."""
        return (self.bounds > 0) & (self.mask > 0)

    def shares(self) -> dict[str, float]:
        """Return the share of the valid pixels that each class covers; 0 without any."""
        valid = self.valid
        return {
            name: float((label[valid] > 0).mean()) if valid.any() else 0.0
            for name, label in self.labels.items()
        }


@dataclass(frozen=True, slots=True)
class _Field:
    """What all tiles of one field have in common.

    Attributes:
        nodes: Noise by name, (NODES, NODES) float32, stretched over the whole field.
        edges: For each class the noise above which it holds.
        corners: (4, 2) float32, the field's boundary as shares of the mosaic's side.
        turn: Direction of the rows in radians.
        gain: Exposure of the flight for red, green, blue and near infrared.
    """

    nodes: dict[str, Floats]
    edges: dict[str, float]
    corners: Floats
    turn: float
    gain: Floats


@functools.lru_cache(maxsize=8)
def _field(seed: int, number: int) -> _Field:
    rng = np.random.default_rng([seed, STREAM_FIELD, number])
    nodes, edges = {}, {}
    for name in (*CLASSES, "soil", "vigour", "cloud"):
        coarse = rng.standard_normal((NODES // 4, NODES // 4), np.float32)
        fine = rng.standard_normal((NODES, NODES), np.float32)
        size = (NODES, NODES)
        nodes[name] = (
            np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)) + 0.45 * fine
        )
    for name, (least, most) in SHARES.items():
        smooth = cv2.resize(nodes[name], (400, 400), interpolation=cv2.INTER_CUBIC)
        edges[name] = float(np.quantile(smooth, 1 - rng.uniform(least, most)))
    inset = rng.uniform(0.01, 0.07, (4, 2))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + inset * [
        [1, 1],
        [-1, 1],
        [-1, -1],
        [1, -1],
    ]
    gain = rng.uniform(0.85, 1.12) * rng.uniform(0.96, 1.04, 4)
    return _Field(
        nodes, edges, corners.astype(np.float32), rng.uniform(0, math.pi), gain.astype(np.float32)
    )


class _Ground:
    """The floats of one tile while it is painted: noise by name, and the four bands."""

    def __init__(self, field: _Field, size_px: int, across: int, row: int, column: int) -> None:
        self.field, self.size_px = field, size_px
        y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
        self.x, self.y = x + column * size_px, y + row * size_px
        scale = (NODES - 1) / (across * size_px)
        self._map = (self.x * np.float32(scale), self.y * np.float32(scale))
        self.bands = np.zeros((size_px, size_px, 4), np.float32)

    def noise(self, name: str) -> Floats:
        """Return one of the field's noises at this tile's pixels."""
        nodes = self.field.nodes[name]
        return np.asarray(cv2.remap(nodes, *self._map, cv2.INTER_CUBIC), np.float32)

    def paint(self, colour: tuple[int, ...], cover: Floats) -> None:
        """Lay a colour over the tile, with the cover's opacity from 0 to 1."""
        opacity = np.clip(cover, 0, 1)[..., None]
        self.bands += (np.array(colour, np.float32) - self.bands) * opacity

    def rows(self) -> Floats:
        """Return 1 in the middle of a crop row and 0 between two of them."""
        cos, sin = math.cos(self.field.turn), math.sin(self.field.turn)
        across = (self.x * cos + self.y * sin) * PX_M + 0.25 * self.noise("vigour")
        return np.asarray(0.5 + 0.5 * np.cos(across * 2 * math.pi / ROW_M), np.float32)


def _grain(rng: np.random.Generator, size_px: int, cell_px: int) -> Floats:
    cells = size_px // cell_px + 3
    coarse = rng.standard_normal((cells, cells), np.float32)
    return np.asarray(cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC))


def _outline(
    field: _Field, size_px: int, across: int, row: int, column: int
) -> tuple[Pixels, Pixels]:
    """Return the field's boundary and the mosaic's valid pixels in one tile, 255 inside."""
    bounds, mask = (np.zeros((size_px, size_px), np.uint8) for _ in range(2))
    corner = np.array([column, row]) * size_px
    cv2.fillPoly(bounds, [np.rint(field.corners * across * size_px - corner).astype(np.int32)], 255)
    # The mosaic of the flight lacks a corner.
    side = across * size_px
    cut = np.array([[0.0, 0.0], [0.86, 0.0], [1.0, 0.12], [1.0, 1.0], [0.0, 1.0]]) * side - corner
    cv2.fillPoly(mask, [np.rint(cut).astype(np.int32)], 255)
    return bounds, mask


def render_tile(seed: int, number: int, across: int, size_px: int, row: int, column: int) -> Tile:
    """Return one tile of a field.

    Args:
        seed: The simulation's seed.
        number: Number of the field.
        across: Tiles along each side of the field.
        size_px: Side of a tile in pixels of 0.1 m.
        row: Row of the tile from the top.
        column: Column of the tile from the left.
    """
    field = _field(seed, number)
    rng = np.random.default_rng([seed, STREAM_TILE, number, row, column])
    ground = _Ground(field, size_px, across, row, column)
    above = {name: ground.noise(name) - field.edges[name] for name in CLASSES}
    grain, clumps = _grain(rng, size_px, 2), _grain(rng, size_px, 9)
    ground.paint(SOIL, np.ones_like(grain))
    ground.bands *= (1 + 0.07 * ground.noise("soil") + 0.05 * grain)[..., None]
    pale = above["nutrient_deficiency"] * 3.5 + 0.5
    vigour = 0.95 + 0.12 * ground.noise("vigour") - 0.22 * np.clip(pale, 0, 1)
    leaves = ground.rows() * 1.25 * vigour + 0.16 * grain - 0.1
    ground.paint(CROP, leaves)
    ground.paint(PALE_CROP, np.clip(leaves, 0, 1) * np.clip(pale, 0, 1) * 0.75)
    clustered = np.clip(above["weed_cluster"] * 5 + 0.45, 0, 1)
    ground.paint(WEED, clustered * (0.62 + 0.4 * clumps + 0.2 * grain))
    # Single weeds grow everywhere and make no cluster.
    ground.paint(WEED, (clumps - 2.2) * 4)
    ground.paint(WATER, above["water"] * 7 + 0.5 - 0.12 * clumps)
    bounds, mask = _outline(field, size_px, across, row, column)
    ground.paint(GRASS, (bounds == 0) * (0.8 + 0.15 * clumps))
    shade = 1 - 0.3 * np.clip(ground.noise("cloud") * 1.5 - 1.6, 0, 1)
    noise = rng.normal(0, 3.0, ground.bands.shape).astype(np.float32)
    pixels = np.clip(ground.bands * shade[..., None] * field.gain + noise, 0, 255).astype(np.uint8)
    pixels[mask == 0] = 0
    labels = {
        name: ((value > 0) & (bounds > 0)).astype(np.uint8) * 255 for name, value in above.items()
    }
    return Tile(pixels[..., :3].copy(), pixels[..., 3].copy(), bounds, mask, labels)
