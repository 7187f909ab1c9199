"""The main job on the small simulated farm, stage by stage: counts add up, answers hold."""

import shutil

import pytest
import sqlalchemy as sa

import besana
import besana.catalog as tables
from besana import pipeline
from besana.errors import ConfigError
from besana.stages import STAGES

OVERRIDES = {
    "train": {"strategy": "scratch", "epochs": 4, "size_px": 32},
}


@pytest.fixture(scope="session")
def walked(farm, tmp_path_factory):
    """The whole way walked once, with the report of each stage."""
    folder = tmp_path_factory.mktemp("walked")
    shutil.copy(farm.path / "besana.toml", folder)
    workspace = besana.Workspace(folder)
    overrides = {
        **OVERRIDES,
        "collect": {"source": [str(farm.frames)]},
        "label": {"file": [str(farm.truth_csv)]},
    }
    return workspace, overrides, besana.run(workspace, overrides=overrides)


def test_the_whole_way_reports_every_stage_with_counts_that_add_up(walked):
    _, _, reports = walked
    assert list(reports) == list(STAGES)
    for report in reports.values():
        assert report.counts_in == report.counts_out + sum(report.dropped.values()), report.stage
        assert report.page is not None
        assert report.page.exists()


def test_each_stage_takes_up_what_the_one_before_left(walked):
    workspace, _, reports = walked
    count = workspace.catalog.count
    frames = count(sa.select(tables.frames.c.id))
    blocked = count(sa.select(tables.issues.c.frame_id).where(tables.issues.c.blocks).distinct())
    samples = count(sa.select(tables.samples.c.frame_id))
    assert frames == reports["collect"].counts_in
    assert samples == 3 * (frames - blocked)
    assert count(sa.select(tables.predictions.c.frame_id)) == samples


def test_walking_again_changes_nothing(walked):
    workspace, overrides, _ = walked
    before = {table.name: workspace.catalog.counted(table) for table in COUNTED}
    again = besana.run(workspace, overrides=overrides)
    assert {table.name: workspace.catalog.counted(table) for table in COUNTED} == before
    assert again["collect"].counts_out == 0
    assert again["prepare"].counts_out == 0
    assert again["predict"].counts_out == 0


COUNTED = [
    tables.frames,
    tables.quality,
    tables.issues,
    tables.samples,
    tables.labels,
    tables.predictions,
]


def test_stretch_runs_forwards_only():
    assert pipeline.stretch("clean", "label") == ["clean", "prepare", "label"]
    with pytest.raises(ConfigError, match="comes before"):
        pipeline.stretch("train", "clean")
    with pytest.raises(ConfigError, match="Did you mean 'clean'"):
        pipeline.stretch("claen", None)
