"""A retraining from its reason to its end: labels, a frozen test set, the gate, approval."""

from __future__ import annotations

import csv
import datetime as dt

import numpy as np
import pytest
import sqlalchemy as sa

from besana.catalog.watch import create_tables, wishes
from besana.commands.retrain import Config, run
from besana.commands.status import read_status
from besana.registry import open_registry
from besana.shards.datasets import open_dataset
from besana.stages import label, monitor, predict
from besana.watching.look import BROKEN, Finding
from besana.watching.renewal import known_blocks, recent_samples
from besana.watching.retraining import STEPS, advance, last_retraining, start
from besana.watching.state import store_look
from besana.watching.wishes import answered
from watched import START, TRAIN, add_days, add_labels

# Pictures as of a lens that lets little light through: the first model calls all of them one class.
OTHER = {"ground": (0, 60), "stripe": 110}


def settings(**values):
    return Config(**{"train": TRAIN, "ask": 0, "new_labels": 0, **values})


def test_nothing_is_due_on_a_farm_that_did_not_change(farm):
    assert run(farm, settings(new_labels=500, every_days=30)) is None
    assert last_retraining(farm.catalog, "classifier") is None


def test_a_broken_camera_is_no_reason(farm):
    hours = (START, START + dt.timedelta(days=1))
    broken = [Finding("", name, 9, 0.0, 1.0, state="drift") for name in BROKEN]
    create_tables(farm.catalog)
    store_look(farm.catalog, "classifier", 1, "pen", hours, broken)
    assert run(farm, settings(new_labels=500, every_days=30)) is None


def test_drift_makes_it_due_and_it_waits_for_labels(farm):
    truth = add_days(farm, 9, 2, labelled=False, brightness=20.0)
    predict.run(farm, predict.Config(threads=1))
    monitor.run(farm, monitor.Config(threads=1, pictures=0))

    waiting = run(farm, settings(ask=12))
    again = run(farm, settings(ask=12))

    assert waiting.reason == "drift: pen"
    assert (waiting.state, again.number) == ("labels", waiting.number)
    asked = farm.catalog.rows(sa.select(wishes).order_by(wishes.c.rank))
    assert [row.rank for row in asked] == list(range(1, 13))
    assert {row.reason for row in asked} == {"unsure", "even"}
    assert {(row.frame_id, row.region) for row in asked} <= set(truth)
    with (farm.reports / "wishes.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == 12
    assert [row["note"] for row in listed] == [row.reason for row in asked]
    with farm.catalog.ask("SELECT COUNT(*) FROM wished") as (_, found):
        assert next(found)[0] == 12
    add_labels(farm, {key: truth[key] for key in ((r.frame_id, r.region) for r in asked[:3])})
    with farm.catalog.ask("SELECT COUNT(*) FROM wished") as (_, found):
        assert next(found)[0] == 9
    line = next(s.done for s in read_status(farm) if s.stage == "register")
    assert "labels" in line


def test_a_filled_list_of_wishes_answers_them(farm):
    truth = add_days(farm, 9, 2, labelled=False)
    predict.run(farm, predict.Config(threads=1))
    run(farm, settings(now=True, ask=10))
    path = farm.reports / "wishes.csv"
    with path.open(newline="") as file:
        listed = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, listed[0])
        writer.writeheader()
        for row in listed:
            name = truth[row["frame"].removesuffix(".png"), row["region"]]
            writer.writerow({**row, "class": name})
    assert answered(farm.catalog, 1) == (10, 0)
    label.run(farm, label.Config(file=[str(path)]))
    assert answered(farm.catalog, 1) == (10, 10)


def test_a_model_without_a_gain_is_kept_out(farm):
    add_days(farm, 9, 2)
    ended = run(farm, settings(now=True, policy="auto"))
    assert ended.state == "kept"
    assert not ended.facts["decision"]["promotes"]
    registry = open_registry(farm)
    assert registry.champion("classifier").number == 1
    assert all("challenger" not in v.aliases for v in registry.versions("classifier"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_gain_waits_for_approval_and_is_promoted(farm):
    add_days(farm, 9, 6, **OTHER)
    waiting = run(farm, settings(now=True, train={**TRAIN, "epochs": 8}))
    assert waiting.state == "approval"
    assert waiting.facts["decision"]["gains"]
    assert open_registry(farm).champion("classifier").number == 1

    ended = run(farm, settings(approve=True))

    assert ended.state == "promoted"
    assert open_registry(farm).champion("classifier").number == 2
    query = (
        "SELECT DISTINCT p.version, l.dataset_version, l.class_name, l.annotator, l.sha256"
        " FROM predictions p JOIN lineage l ON l.model = p.model AND l.version = p.version"
        " WHERE p.model = 'classifier' AND l.split = 'train'"
    )
    with farm.catalog.ask(query) as (_, found):
        behind = list(found)
    assert {row.dataset_version for row in behind} == {1}
    assert {row.annotator for row in behind} == {"ana"}
    assert len({row.sha256 for row in behind}) > 50
    assert run(farm, settings(reject=True)).state == "promoted"


def test_a_stopped_retraining_goes_on_where_it_was(farm):
    add_days(farm, 9, 2)
    facts = {"champion": 1, "before": "default/1"}
    stopped = advance(farm.catalog, start(farm.catalog, "classifier", "asked", facts), STEPS[1])
    ended = run(farm, settings())
    assert (ended.number, ended.reason, ended.state) == (stopped.number, "asked", "kept")
    assert ended.facts["dataset"] == "default/2"


def test_what_was_tested_stays_test_and_new_blocks_join_it(farm):
    from besana.watching.renewal import renew

    before = open_dataset(farm)
    add_days(farm, 9, 4)
    after, new = renew(farm, before, tested_share=0.3, validation_share=0.1)
    again, again_new = renew(farm, before, tested_share=0.3, validation_share=0.1)

    assert (new, after.version) == (True, 2)
    assert (again_new, again.version) == (False, 2)
    tested = [set(m.sample_ids(m.select("test"))) for m in (before.manifest(), after.manifest())]
    trained = set(after.manifest().sample_ids(after.manifest().select("train")))
    assert tested[0] < tested[1]
    assert not tested[1] & trained
    recent = recent_samples(farm, before, after)
    share = np.isin(np.flatnonzero(recent), after.manifest().select("test")).mean()
    assert recent.sum() == 4 * 24 * 2
    assert 0.1 < share < 0.5
    keys, _ = known_blocks(farm, before.manifest(), before.settings)
    assert len(keys) == 9 * 24
