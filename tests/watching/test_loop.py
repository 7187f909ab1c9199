"""The whole loop on a rendered barn whose herd is replaced: drift, labels, retrain, recovered."""

from __future__ import annotations

import csv

import pytest
import sqlalchemy as sa

import besana
from besana import catalog as tables
from besana.catalog.watch import drift
from besana.commands import retrain
from besana.registry import open_registry
from besana.simulation.barn import BarnSettings
from besana.simulation.changes import Change, write_changed_barn
from besana.stages import label

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

# Fog on the lens beside the new herd: together they cost the first model most of what it knows.
FIRST, LATER, INTERVAL_S = 7, 6, 1800
SETTINGS = BarnSettings(days=FIRST, width_px=640, interval_s=INTERVAL_S, faults=False)
TRAIN = {"strategy": "scratch", "epochs": 12, "size_px": 48, "threads": 1}
CHANGES = [Change("herd", FIRST), Change("dark", FIRST, strength=0.8)]


def walk(farm, first, last, **overrides):
    common = {"prepare": {"size_px": 64}, "evaluate": {"pictures": 0, "replicates": 200}}
    return besana.run(farm, first=first, last=last, overrides={**common, **overrides})


def truth_of(barn):
    with barn.truth_csv.open(newline="") as file:
        return {(row["frame"], row["region"]): row["class"] for row in csv.DictReader(file)}


def accuracy_on(farm, truth, version, days):
    """Measure a version's predictions on the frames of some days."""
    f, p = tables.frames.c, tables.predictions.c
    select = sa.select(f.name, f.captured_at, p.region, p.class_name).join_from(
        tables.predictions, tables.frames, f.id == p.frame_id
    )
    rows = farm.catalog.rows(select.where(p.version == version))
    first = min(row.captured_at for row in rows)
    told = [
        truth[row.name, row.region] == row.class_name
        for row in rows
        if (row.captured_at - first).days in days and (row.name, row.region) in truth
    ]
    return sum(told) / len(told)


def test_a_farm_whose_herd_changes_gets_its_accuracy_back(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    barn = write_changed_barn(tmp_path / "farm", SETTINGS, [])
    farm = besana.Workspace(barn.path)
    walk(
        farm,
        "collect",
        "predict",
        label={"file": [str(barn.truth_csv)]},
        split={"method": "last_days", "test_days": 2},
        train=TRAIN,
    )

    later = SETTINGS.model_copy(update={"days": FIRST + LATER})
    barn = write_changed_barn(barn.path, later, CHANGES, from_day=FIRST)
    truth = truth_of(barn)
    walk(farm, "collect", "prepare")
    besana.run_stage(farm, "predict")
    besana.run_stage(farm, "monitor", {"pictures": 0})
    days = range(FIRST, FIRST + LATER)
    before = accuracy_on(farm, truth, 1, days)
    found = farm.catalog.rows(sa.select(drift).where(drift.c.state == "drift"))
    first = min(row.window_start for row in farm.catalog.rows(sa.select(drift)))
    assert (min(row.window_end for row in found) - first).total_seconds() <= 86_400

    job = retrain.Config(ask=400, train=TRAIN, policy="auto", validation_share=0.15)
    waiting = retrain.run(farm, job)
    assert (waiting.state, waiting.reason) == ("labels", "drift: barn-1")
    answers = tmp_path / "answers.csv"
    with (farm.reports / "wishes.csv").open(newline="") as file:
        asked = list(csv.DictReader(file))
    with answers.open("w", newline="") as file:
        writer = csv.DictWriter(file, asked[0])
        writer.writeheader()
        for row in asked:
            writer.writerow({**row, "class": truth[row["frame"], row["region"]]})
    label.run(farm, label.Config(file=[str(answers)]))
    ended = retrain.run(farm, job)
    assert ended.state == "promoted", ended.facts.get("why")

    assert open_registry(farm).champion("classifier").number == 2
    besana.run_stage(farm, "predict")
    after = accuracy_on(farm, truth, 2, days)
    assert before < 0.9
    assert after > before + 0.05
    assert after > 0.85
