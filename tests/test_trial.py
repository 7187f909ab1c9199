"""The trial before a plan: the stages on a few frames, noted, and nothing else changed."""

from __future__ import annotations

import pytest

import besana
from besana import catalog as tables
from besana.commands import plan
from besana.costs.bills import observations, read_lines, write_line
from besana.costs.paces import machine_name
from besana.simulation.barn import BarnSettings, write_barn
from besana.trial import measure


@pytest.fixture
def collected(tmp_path):
    barn = write_barn(tmp_path / "farm", BarnSettings(days=2, interval_s=3600, width_px=320))
    settings = barn.path / "besana.toml"
    small = '\n[engine]\nworkers = 1\n[train]\nstrategy = "scratch"\nsize_px = 32\n'
    settings.write_text(settings.read_text() + small)
    farm = besana.Workspace(barn.path)
    besana.run_stage(farm, "collect", {"settle_s": 0})
    return farm


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_notes_paces_and_leaves_the_farm_as_it_is(collected):
    before = {path.name for path in collected.path.iterdir()}
    assert measure(collected, collected.open_engine(), 120) == []
    noted = [line["stage"] for line in read_lines(collected) if line["trial"]]
    assert noted.count("prepare") == 3
    assert noted.count("train") == 3
    assert collected.catalog.counted(tables.samples) == {}
    assert {path.name for path in collected.path.iterdir()} - before <= {".temporary"}
    assert list(collected.temporary.iterdir()) == []
    sizes = [run.items for run in observations(collected) if run.stage == "prepare"]
    assert sizes[1] > 2 * sizes[0]
    report = plan.run(collected, plan.Config(measure="never", last="train"))
    (stages,) = [s for s in report.sections if s.title == "Stage by stage"]
    runs = {row[0]: row[-1] for row in stages.rows}
    assert runs["prepare"] == runs["train"] == 3


def test_a_farm_without_frames_is_planned_with_those_that_will_come(tmp_path, capsys):
    farm = besana.Workspace.create(tmp_path / "farm", "[engine]\nworkers = 1\n")
    report = plan.run(farm, plan.Config(measure="never", frames=100_000, last="prepare"))
    assert report.facts["samples"] == 100_000
    (stages,) = [s for s in report.sections if s.title == "Stage by stage"]
    assert [row[0] for row in stages.rows] == ["collect", "clean", "prepare"]
    assert "Embedding and training on each machine" not in [s.title for s in report.sections]
    shown = capsys.readouterr().out
    assert "Old prices" in shown
    assert "Prices from memory: Nobody verified them" in shown
    assert "Lo que cuesta en cada sitio" in report.page.read_text()
    with pytest.raises(besana.BesanaError, match="no frame yet to plan with"):
        plan.run(farm, plan.Config(measure="never"))


def test_a_plan_says_what_embedding_and_each_way_of_training_take(tmp_path, capsys):
    settings = '[train]\nstrategy = "finetune"\nparallel = "ddp"\nepochs = 4\n'
    farm = besana.Workspace.create(tmp_path / "farm", settings)
    machine = {"at": "2026-01-01", "machine": machine_name(), "failed": False, "trial": True}
    for key, items, seconds in (
        ("probe timm/mobilenetv2_100 own px", 100, 12.0),
        ("probe timm/mobilenetv2_100 own px", 1100, 22.0),
        ("finetune timm/mobilenetv2_100 own px ddp 2", 100, 20.0),
        ("finetune timm/mobilenetv2_100 own px ddp 2", 1000, 110.0),
    ):
        line = {"stage": "train", "key": key, "items": items, "seconds": seconds}
        write_line(farm, {**machine, **line})
    report = plan.run(farm, plan.Config(measure="never", frames=720_000, labels=1000))
    (table,) = [s for s in report.sections if s.title.startswith("Embedding and")]
    assert table.columns[2:] == ("embed", "probe", "finetune", "scratch")
    rows = {row[0]: row[2:] for row in table.rows}
    embed, probe, finetune, scratch = rows["My PC"]
    assert embed[0] < 2.0 < embed[1]  # 720,000 vectors at 0.01 s
    assert probe[1] < 0.02  # 700 vectors
    assert finetune[0] < 0.08 < finetune[1]  # 4 times 700 pictures at 0.1 s
    assert scratch[1] > scratch[0]
    faster = rows["AWS g4dn.xlarge, one T4"]
    assert faster[0][1] < embed[1]
    assert "Embedding and training" in capsys.readouterr().out
