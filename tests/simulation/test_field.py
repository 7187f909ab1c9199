from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from besana.simulation.crop import CLASSES, render_tile
from besana.simulation.field import HOLDS_SHARE, FieldSettings, SimulatedField, write_field

SETTINGS = FieldSettings(fields=2, tiles=4, size_px=128)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> SimulatedField:
    return write_field(tmp_path_factory.mktemp("field"), SETTINGS)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> SimulatedField:
    settings = SETTINGS.model_copy(update={"layout": "agriculture_vision"})
    return write_field(tmp_path_factory.mktemp("masked"), settings)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_tiles_same_for_same_seed_and_other_for_another(
    field: SimulatedField, tmp_path: Path
) -> None:
    again = write_field(tmp_path / "again", SETTINGS)
    other = write_field(tmp_path / "other", SETTINGS.model_copy(update={"seed": 1}))
    assert files_of(again.path) == files_of(field.path)
    assert not set(files_of(other.frames).values()) & set(files_of(field.frames).values())


def test_every_tile_has_both_bands(field: SimulatedField) -> None:
    names = {row["file"].removeprefix("rgb/") for row in rows_of(field.tiles_csv)}
    assert len(names) == 32
    for band, channels in (("rgb", 3), ("nir", 1)):
        found = list((field.frames / band).iterdir())
        assert {path.name for path in found} == names
        picture = cv2.imread(str(found[0]), cv2.IMREAD_UNCHANGED)
        assert picture.reshape(128, 128, -1).shape[2] == channels


def test_masks_agree_with_the_truth(masked: SimulatedField) -> None:
    holds = {(row["frame"], row["class"]): row["holds"] for row in rows_of(masked.truth_csv)}
    for row in rows_of(masked.tiles_csv):
        stem = Path(row["file"]).stem
        read = {
            part: cv2.imread(str(masked.frames / part / f"{stem}.png"), cv2.IMREAD_GRAYSCALE)
            for part in ("field_bounds", "field_masks", *(f"field_labels/{c}" for c in CLASSES))
        }
        valid = (read["field_bounds"] > 0) & (read["field_masks"] > 0)
        assert int(row["valid_px"]) == valid.sum()
        for name in CLASSES:
            share = (read[f"field_labels/{name}"][valid] > 0).mean() if valid.any() else 0.0
            assert float(row[f"{name}_share"]) == pytest.approx(share, abs=1e-6)
            if valid.any():
                assert holds[row["file"], name] == ("yes" if share >= HOLDS_SHARE else "no")


def test_shares_of_a_field_are_those_of_its_tiles(field: SimulatedField) -> None:
    tiles = rows_of(field.tiles_csv)
    shares = rows_of(field.shares_csv)
    assert len(shares) == 6
    for row in shares:
        own = [tile for tile in tiles if tile["field"] == row["field"]]
        valid = np.array([int(tile["valid_px"]) for tile in own])
        covered = valid * [float(tile[f"{row['class']}_share"]) for tile in own]
        assert float(row["share"]) == pytest.approx(covered.sum() / valid.sum(), abs=1e-5)
        assert 0.01 < float(row["share"]) < 0.25


def test_some_tiles_hold_no_class_and_some_several(field: SimulatedField) -> None:
    held: dict[str, int] = {}
    for row in rows_of(field.truth_csv):
        held[row["frame"]] = held.get(row["frame"], 0) + (row["holds"] == "yes")
    assert min(held.values()) == 0
    assert max(held.values()) >= 2


def test_tiles_of_a_field_fit_together() -> None:
    """A pixel does not depend on how the field is cut: its patches cross tile borders."""
    small = [render_tile(0, 0, 4, 64, 1, column).labels for column in (1, 2)]
    crosses = [(small[0][name][:, -1] == small[1][name][:, 0]).mean() for name in CLASSES]
    assert min(crosses) > 0.9


def test_water_is_dark_in_near_infrared() -> None:
    tiles = [render_tile(0, 0, 4, 128, row, column) for row in (1, 2) for column in (1, 2)]
    wet = np.concatenate([tile.nir[tile.labels["water"] > 0] for tile in tiles])
    dry = np.concatenate([tile.nir[(tile.labels["water"] == 0) & tile.valid] for tile in tiles])
    assert wet.mean() < 0.5 * dry.mean()
