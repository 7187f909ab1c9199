"""The main job on real frames of a cattle barn: fisheye, a grid of regions, labels from points."""

import json

import pytest
import sqlalchemy as sa
from tutorial import TILES, walk

import besana
import besana.catalog as tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def barn(real_images, weights, tmp_path_factory):
    """The workspace after the first half of the tutorial."""
    folder = tmp_path_factory.mktemp("barn")
    walk(folder, real_images, weights, start="Tell besana about the cameras", stop=TILES)
    return besana.Workspace(folder / "farm")


def counts(workspace, stage):
    return json.loads((workspace.path / "reports" / f"{stage}.json").read_text())["counts"]


def test_times_of_file_names_are_local_times(barn):
    workspace = barn
    f = tables.frames.c
    at = workspace.catalog.scalar(
        sa.select(f.captured_at).where(f.name == "pen-a/2021-03-08T21-00-26.905.jpg")
    )
    assert at.isoformat() == "2021-03-08T13:00:26.905000+00:00"
    assert counts(workspace, "collect")["out"] == 160


def test_bursts_are_near_duplicates_and_night_is_told_from_day(barn):
    workspace = barn
    assert workspace.catalog.counted(tables.issues)["near_duplicate"] >= 30
    q = tables.quality.c
    lights = dict(
        tuple(row)
        for row in workspace.catalog.rows(sa.select(q.light, sa.func.count()).group_by(q.light))
    )
    assert lights["ir"] == 24
    assert lights["day"] == 136


def test_no_group_of_the_test_day_is_trained_on(barn):
    import pyarrow.parquet as pq

    workspace = barn
    path = workspace.datasets.local_path("default/1/manifest.parquet")
    rows = pq.read_table(path, columns=["split", "group", "captured_at"]).to_pylist()
    groups = {name: {row["group"] for row in rows if row["split"] == name} for name in SPLITS}
    assert groups["test"]
    assert not groups["test"] & (groups["train"] | groups["validation"])


SPLITS = ("train", "validation", "test")


def test_probe_beats_the_majority_by_day_and_by_night(barn):
    workspace = barn
    [evaluation] = workspace.runs.glob("*/evaluation.json")
    figures = json.loads(evaluation.read_text())
    assert counts(workspace, "evaluate")["out"] > 500
    assert figures["metrics"]["balanced_accuracy"]["value"] > 0.7
