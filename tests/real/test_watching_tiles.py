"""A model of day tiles meets infrared tiles: the change is found and its cost estimated."""

import csv
import shutil

import pytest
import sqlalchemy as sa

import besana
from besana.catalog.watch import drift

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# The last burst of pen-b ends 47 s before the hour, so the look at that hour is due.
CAMERAS = "".join(f"[cameras.{name}]\nframe_interval_s = 60\n" for name in ("pen-a", "pen-b"))


@pytest.fixture(scope="module")
def farm(real_images, weights, tmp_path_factory):
    """A probe that has learnt the day tiles of all three days."""
    folder = tmp_path_factory.mktemp("watch")
    workspace = besana.Workspace.create(folder / "farm", CAMERAS)
    barn = real_images / "barn"
    with (barn / "tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = [row for row in rows if row["light"] == "day"]
    for row in first:
        place = folder / "day" / row["file"]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(barn / "tiles" / row["file"], place)
    train = {
        "strategy": "probe",
        "size_px": 112,
        "weights": str(weights),
        "backbone_options": {"pad_type": "same"},
        "input_mean": [128],
        "input_std": [128],
    }
    own = {"metadata": str(barn / "tiles.csv"), "in_place": True}
    besana.run(
        workspace,
        last="predict",
        overrides={
            "collect": {"source": [str(folder / "day")], **own},
            "split": {"method": "fractions", "test_share": 0.3, "block_minutes": 5},
            "train": train,
            "evaluate": {"pictures": 0},
        },
    )
    return workspace


@pytest.fixture(scope="module")
def night(farm, real_images, tmp_path_factory):
    """What the watch says after the infrared tiles of 8 March came, hour by hour."""
    barn = real_images / "barn"
    folder = tmp_path_factory.mktemp("night")
    with (barn / "tiles.csv").open(newline="") as file:
        tiles = [row for row in csv.DictReader(file) if row["light"] == "ir"]
    rows = [row for row in tiles if row["captured_at"].startswith("2021-03-08")]
    for row in rows:
        place = folder / row["file"]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(barn / "tiles" / row["file"], place)
    own = {"metadata": str(barn / "tiles.csv"), "in_place": True}
    overrides = {"collect": {"source": [str(folder)], **own}}
    besana.run(farm, last="prepare", overrides=overrides)
    besana.run_stage(farm, "predict")
    besana.run_stage(farm, "monitor", {"window_hours": 2, "every_hours": 1, "pictures": 2})
    select = sa.select(drift).where(drift.c.camera == "pen-b", drift.c.region == "")
    found = farm.catalog.rows(select.order_by(drift.c.window_end))
    return {row.signal: row for row in found if row.window_end == found[-1].window_end}


def test_infrared_tiles_are_a_change_for_a_model_of_day_tiles(night):
    assert (night["ir_share"].state, night["ir_share"].samples) == ("drift", 94)
    assert night["ir_share"].value > 0.9
    assert night["ir_share"].expected < 0.1


def test_a_reference_of_six_hours_does_not_cry_wolf(night):
    changed = {name for name, row in night.items() if row.state == "drift"}
    assert changed == {"ir_share"}


def test_the_cost_of_the_night_is_estimated(night):
    estimate, measured = night["estimated_accuracy"], night["measured_accuracy"]
    assert measured.samples == 94
    assert estimate.low <= measured.value <= estimate.high
    assert estimate.high - estimate.low < 0.5
    assert abs(estimate.value - measured.value) < 0.1
    assert estimate.value < estimate.expected - 0.05
