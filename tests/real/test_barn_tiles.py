"""Tiles of a barn: what a random split promises beside what the next day brings, and finetuning."""

import json

import pytest
from tutorial import TILES, walk

import besana

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def figures(real_images, weights, tmp_path_factory):
    """Evaluations by strategy, trained until 5 March and tested on 8 March, as in the tutorial."""
    folder = tmp_path_factory.mktemp("tiles")
    walk(folder, real_images, weights, start=TILES, stop="What to look at")
    runs = besana.Workspace(folder / "tiles").runs
    found = [json.loads(path.read_text()) for path in runs.glob("*/evaluation.json")]
    return {one["strategy"]: one for one in found}


def by_light(evaluation):
    slices = evaluation["slices"]["light"]
    return {name: part["accuracy"]["value"] for name, part in slices.items()}


def test_the_next_day_is_what_a_probe_gets_by_day_and_at_night(figures):
    light = by_light(figures["probe"])
    assert 0.85 <= light["day"] <= 0.91
    assert 0.90 <= light["ir"] <= 0.97
    accuracy = figures["probe"]["metrics"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]


def test_a_random_split_would_have_promised_more(figures):
    promises = figures["probe"]["promises"]
    promised = {item["way"]: item["accuracy"]["value"] for item in promises}
    assert promised["Probe, random split of all samples"] >= 0.975
    assert promised["Probe, split of all samples by groups"] < 0.96
    assert promised["Test split"] < 0.92


def test_finetuning_keeps_up_with_the_probe_by_day_and_holds_at_night(figures):
    # Nine trainings got 87.8 to 94.4 % by day, 91.4 % on average: see decision 0608.
    light, before = by_light(figures["finetune"]), by_light(figures["probe"])
    assert light["day"] >= before["day"] - 0.01
    assert light["day"] >= 0.87
    assert light["ir"] >= 0.97
