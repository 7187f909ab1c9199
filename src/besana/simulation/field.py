"""A simulated field on disk: tiles in RGB and near infrared, and the truth about them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from pydantic import Field

from besana.config import Settings
from besana.engines import Engine
from besana.progress import track
from besana.simulation import folder
from besana.simulation.crop import CLASSES, Pixels, Tile, render_tile
from besana.simulation.truth import ANNOTATOR, write_table

# A class holds in a tile when it covers this share of the tile's valid pixels.
HOLDS_SHARE = 0.05
LABELLED_AT = dt.datetime(2025, 6, 20, 12, 0, tzinfo=dt.UTC).isoformat()


class FieldSettings(Settings):
    """What the simulated fields are like."""

    fields: int = Field(default=4, ge=1, le=10_000, description="Number of fields.")
    tiles: int = Field(default=8, ge=1, le=100, description="Tiles along each side of a field.")
    size_px: int = Field(default=256, ge=32, le=1024, description="Side of a tile, 0.1 m a pixel.")
    seed: int = Field(default=0, ge=0, description="The same seed gives the same bytes.")
    layout: Literal["bands", "agriculture_vision"] = Field(
        default="bands",
        description="Folders rgb and nir with a CSV of labels, or Agriculture-Vision's with masks.",
    )
    quality: int = Field(default=85, ge=40, le=100, description="JPEG quality.")


@dataclass(frozen=True)
class SimulatedField:
    """Simulated fields on disk.

    Attributes:
        path: The folder.
        settings: What they were made from.
    """

    path: Path
    settings: FieldSettings

    @property
    def frames(self) -> Path:
        """The folder to collect from."""
        return self.path / "tiles"

    @property
    def truth_csv(self) -> Path:
        """Which classes hold in which tile: `frame,region,class,holds,annotator,time`."""
        return self.path / "truth.csv"

    @property
    def tiles_csv(self) -> Path:
        """For each tile its field, its place, its valid pixels and the share of each class."""
        return self.path / "tiles.csv"

    @property
    def shares_csv(self) -> Path:
        """For each field the share that each class covers: `field,class,share`."""
        return self.path / "shares.csv"

    @property
    def settings_toml(self) -> Path:
        """A `besana.toml` that fits."""
        return self.path / "besana.toml"


@dataclass(frozen=True, slots=True)
class TileTruth:
    """What is true of one tile.

    Attributes:
        name: Name of its files without ending.
        field: Name of its field.
        row: Row of the tile from the top.
        column: Column of the tile from the left.
        valid_px: Pixels inside the field that the picture has.
        covered_px: For each class how many of them it covers.
    """

    name: str
    field: str
    row: int
    column: int
    valid_px: int
    covered_px: dict[str, int]

    def share(self, name: str) -> float:
        """Return the share of the valid pixels that a class covers."""
        return self.covered_px[name] / self.valid_px if self.valid_px else 0.0


Place = tuple[int, int, int]


def tile_name(settings: FieldSettings, place: Place) -> str:
    """Return the name of a tile's files without ending, as Agriculture-Vision names them."""
    number, row, column = place
    x, y, size = column * settings.size_px, row * settings.size_px, settings.size_px
    return f"field-{number + 1:02d}_{x}-{y}-{x + size}-{y + size}"


def _folders(layout: str) -> dict[str, str]:
    if layout == "bands":
        return {"rgb": "rgb", "nir": "nir"}
    return {
        "rgb": "field_images/rgb",
        "nir": "field_images/nir",
        "bounds": "field_bounds",
        "mask": "field_masks",
        **{name: f"field_labels/{name}" for name in CLASSES},
    }


def _files(tile: Tile, settings: FieldSettings) -> Iterator[tuple[str, str, bytes]]:
    """Yield part, ending and bytes of every file of a tile."""
    rgb, nir = tile.rgb, np.ascontiguousarray(tile.nir[..., None])
    yield "rgb", ".jpg", simplejpeg.encode_jpeg(rgb, settings.quality, "RGB", "444")
    yield "nir", ".jpg", simplejpeg.encode_jpeg(nir, settings.quality, "GRAY")
    if settings.layout == "agriculture_vision":
        for part, mask in {"bounds": tile.bounds, "mask": tile.mask, **tile.labels}.items():
            yield part, ".png", _png(mask)


def _png(mask: Pixels) -> bytes:
    _, encoded = cv2.imencode(".png", mask)
    return bytes(encoded)


def write_tiles(
    places: Sequence[Place], *, frames: Path, settings: FieldSettings
) -> list[TileTruth]:
    """Write some tiles and return the truth about them; runs in a worker."""
    found = []
    folders = _folders(settings.layout)
    for place in places:
        number, row, column = place
        tile = render_tile(settings.seed, number, settings.tiles, settings.size_px, row, column)
        name = tile_name(settings, place)
        for part, ending, data in _files(tile, settings):
            (frames / folders[part] / f"{name}{ending}").write_bytes(data)
        valid = tile.valid
        covered = {key: int((label[valid] > 0).sum()) for key, label in tile.labels.items()}
        field = f"field-{number + 1:02d}"
        found.append(TileTruth(name, field, row, column, int(valid.sum()), covered))
    return found


def write_field(
    path: str | Path, settings: FieldSettings | None = None, engine: Engine | None = None
) -> SimulatedField:
    """Write simulated fields; what is there with the same settings is left as it is.

    Args:
        path: The folder, made when missing.
        settings: What the fields are like; None means four fields of 64 tiles.
        engine: Where tiles are made; None means this process.

    Returns:
        The fields' places.

    Raises:
        ConfigError: If the folder holds something else.
    """
    made = SimulatedField(Path(path), settings or FieldSettings())
    if folder.begin(made.path, "field", made.settings):
        return made
    for place in _folders(made.settings.layout).values():
        (made.frames / place).mkdir(parents=True, exist_ok=True)
    write = partial(write_tiles, frames=made.frames, settings=made.settings)
    rows = _rows(made.settings)
    tiles: list[TileTruth] = []
    with track("simulate", made.settings.fields * made.settings.tiles**2) as advance:
        for found in engine.map(write, rows) if engine else map(write, rows):
            tiles += found
            advance(len(found))
    _write_truth(made, sorted(tiles, key=lambda tile: (tile.field, tile.row, tile.column)))
    folder.finish(made.path, "field", made.settings)
    return made


def _rows(settings: FieldSettings) -> Iterator[list[Place]]:
    for number in range(settings.fields):
        for row in range(settings.tiles):
            yield [(number, row, column) for column in range(settings.tiles)]


def _write_truth(made: SimulatedField, tiles: Sequence[TileTruth]) -> None:
    write_table(
        made.tiles_csv,
        ("file", "field", "row", "column", "valid_px", *(f"{name}_share" for name in CLASSES)),
        (
            (
                _frame_name(made.settings, tile),
                *(tile.field, tile.row, tile.column, tile.valid_px),
                *(f"{tile.share(name):.6f}" for name in CLASSES),
            )
            for tile in tiles
        ),
    )
    write_table(
        made.truth_csv,
        ("frame", "region", "class", "holds", "annotator", "time"),
        (
            (
                *(_frame_name(made.settings, tile), "all", name),
                *("yes" if tile.share(name) >= HOLDS_SHARE else "no", ANNOTATOR, LABELLED_AT),
            )
            for tile in tiles
            if tile.valid_px
            for name in CLASSES
        ),
    )
    write_table(made.shares_csv, ("field", "class", "share"), _shares(tiles))
    made.settings_toml.write_text(_settings_text(made.settings))


def _frame_name(settings: FieldSettings, tile: TileTruth) -> str:
    return f"{_folders(settings.layout)['rgb']}/{tile.name}.jpg"


def _shares(tiles: Sequence[TileTruth]) -> Iterable[tuple[str, str, str]]:
    for field in sorted({tile.field for tile in tiles}):
        own = [tile for tile in tiles if tile.field == field]
        valid_px = sum(tile.valid_px for tile in own)
        for name in CLASSES:
            covered_px = sum(tile.covered_px[name] for tile in own)
            yield field, name, f"{covered_px / max(valid_px, 1):.6f}"


def _settings_text(settings: FieldSettings) -> str:
    folders = _folders(settings.layout)
    return f"""\
name = "simulated field"

[collect]
source = ["tiles"]
layout = "{settings.layout}"
mask_share = {HOLDS_SHARE}

[label]
classes = {json.dumps(CLASSES)}

[bands]
rgb = "{folders["rgb"]}/*"
nir = "{folders["nir"]}/*"

[cameras.drone]
files = "{folders["rgb"]}/*"
time_from = "none"
"""
