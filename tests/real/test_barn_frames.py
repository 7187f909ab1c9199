"""The main job on real frames of a cattle barn: fisheye, a grid of regions, labels from points."""

import json

import pytest
import sqlalchemy as sa

import besana
import besana.catalog as tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CAMERA = """
[cameras.{name}]
files = "{name}/*"
time_zone = "Asia/Shanghai"
time_pattern = "%Y-%m-%dT%H-%M-%S.%f"
frame_interval_s = 20
[cameras.{name}.lens]
model = "fisheye"
focal_px = [340.0, 340.0]
centre_px = [640.0, 480.0]
distortion = [0.0, 0.0, 0.0, 0.0]
size_px = [1280, 960]
[cameras.{name}.grid]
size_px = 320
stride_px = 320
"""


@pytest.fixture(scope="module")
def barn(real_images, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("barn")
    text = "".join(CAMERA.format(name=name) for name in ("pen-a", "pen-b", "pen-c"))
    workspace = besana.Workspace.create(folder, text)
    reports = besana.run(
        workspace,
        last="evaluate",
        overrides={
            "collect": {"source": [str(real_images / "barn" / "frames")], "in_place": True},
            "label": {
                "file": [str(real_images / "barn" / "points.csv")],
                "present_class": "cow",
                "absent_class": "empty",
            },
            "split": {"test_from": "2021-03-08"},
            "train": {
                "strategy": "probe",
                "backbone": "timm/mobilenetv2_100",
                "weights": str(weights),
                "backbone_options": {"pad_type": "same"},
                "input_mean": [128],
                "input_std": [128],
            },
        },
    )
    return workspace, reports


def test_times_of_file_names_are_local_times(barn):
    workspace, reports = barn
    f = tables.frames.c
    at = workspace.catalog.scalar(
        sa.select(f.captured_at).where(f.name == "pen-a/2021-03-08T21-00-26.905.jpg")
    )
    assert at.isoformat() == "2021-03-08T13:00:26.905000+00:00"
    assert reports["collect"].counts_out == 160


def test_bursts_are_near_duplicates_and_night_is_told_from_day(barn):
    workspace, _ = barn
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

    workspace, _ = barn
    path = workspace.datasets.local_path("default/1/manifest.parquet")
    rows = pq.read_table(path, columns=["split", "group", "captured_at"]).to_pylist()
    groups = {name: {row["group"] for row in rows if row["split"] == name} for name in SPLITS}
    assert groups["test"]
    assert not groups["test"] & (groups["train"] | groups["validation"])


SPLITS = ("train", "validation", "test")


def test_probe_beats_the_majority_by_day_and_by_night(barn):
    workspace, reports = barn
    [evaluation] = workspace.runs.glob("*/evaluation.json")
    figures = json.loads(evaluation.read_text())
    assert reports["evaluate"].counts_out > 500
    assert figures["metrics"]["balanced_accuracy"]["value"] > 0.7
