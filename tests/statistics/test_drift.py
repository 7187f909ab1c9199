"""Distances of days, the budget of false alarms, and accuracy without labels."""

from __future__ import annotations

import numpy as np
import pytest

from besana.statistics.blocks import add_up, by_day_or_block, residual, slot_of, usual_residuals
from besana.statistics.drift import Projection, judge, judge_length, look_level
from besana.statistics.label_free import Expectation, Line, likeness, tempered
from besana.watching.look import _beyond_chance
from besana.watching.ruler import Amount, Ruler
from besana.watching.words import Words

HOUR = 3600


def days_of(rng, days, *, every_s=1800, day_spread=1.0, rhythm=20.0):
    """A signal with a rhythm of the day, a level of each day, and noise."""
    at = np.arange(0, days * 24 * HOUR, every_s)
    level = rng.normal(0, day_spread, days)[at // (24 * HOUR)]
    values = rhythm * np.sin(2 * np.pi * at / (24 * HOUR)) + level + rng.normal(0, 0.5, len(at))
    return at, values[:, None]


def test_the_rhythm_of_the_day_cancels():
    rng = np.random.default_rng(0)
    at, values = days_of(rng, 8)
    blocks = add_up(at // (24 * HOUR), slot_of(at, 1), values, slots=24)
    morning = at % (24 * HOUR) < 6 * HOUR
    part = morning & (at < 24 * HOUR)
    window = add_up(at[part], slot_of(at[part], 1), values[part], slots=24)
    others = blocks.part(blocks.units > 0)
    assert abs(values[part].mean() - values.mean()) > 8
    assert abs(residual(others, window)[0]) < 4


def test_a_day_is_left_out_of_its_own_usual():
    values = np.array([[1.0], [1.0], [1.0], [9.0]])
    blocks = add_up(np.arange(4), np.zeros(4, np.int64), values, slots=24)
    assert usual_residuals(blocks)[:, 0] == pytest.approx([-8 / 3, -8 / 3, -8 / 3, 8])


def test_nan_adds_nothing():
    blocks = add_up(
        np.zeros(2, np.int64), np.zeros(2, np.int64), np.array([[np.nan], [3.0]]), slots=2
    )
    assert blocks.means()[0, 0] == 3.0
    assert blocks.samples == 1


def test_days_are_units_once_there_are_enough():
    at = np.arange(0, 6 * 24 * HOUR, HOUR, dtype=np.int64)
    assert len(np.unique(by_day_or_block(at, 1, fewest=5))) == 6
    assert len(np.unique(by_day_or_block(at[:48], 1, fewest=5))) == 48


@pytest.mark.slow
def test_false_alarms_stay_at_the_level_however_few_the_days():
    rng = np.random.default_rng(1)
    for days in (5, 12):
        alarms = 0
        for _ in range(4000):
            usual, now = rng.normal(size=days), rng.normal()
            own = np.array([one - np.delete(usual, i).mean() for i, one in enumerate(usual)])
            alarms += judge(own, now - usual.mean(), level=0.02).state == "drift"
        assert alarms / 4000 < 0.026, days


def test_a_change_beyond_all_days_is_found_and_a_small_one_does_not_matter():
    usual = np.random.default_rng(2).normal(0, 1, 12)
    assert judge(usual, 15.0, level=1e-4).state == "drift"
    assert judge(usual, 15.0, level=1e-4, least=20).state == "ok"
    assert judge(usual, 15.0, level=1e-4, side="below").state == "ok"
    assert judge(usual[:2], 15.0, level=1e-4).state == "unknown"


def test_lengths_alarm_at_their_level_and_see_one_direction():
    rng = np.random.default_rng(3)
    alarms, found = 0, 0
    for _ in range(500):
        usual = rng.normal(size=(10, 16))
        now = rng.normal(size=16)
        alarms += judge_length(usual, now, level=0.02).state == "drift"
        found += judge_length(usual, now + 20 * np.eye(16)[3], level=1e-3).state == "drift"
    assert alarms / 500 < 0.03
    assert found / 500 > 0.95


def test_another_mix_of_classes_is_no_other_look():
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(2, 12)) * 4
    label = rng.integers(0, 2, 1000)
    vectors = centres[label] + rng.normal(size=(1000, 12))
    place = Projection(vectors, np.eye(2)[label] > 0)
    means = [place(vectors[label == one]).mean(axis=0) for one in (0, 1)]
    moved = place(vectors + 3 * rng.normal(size=12)).mean(axis=0)
    assert np.linalg.norm(means[0] - means[1]) < 0.2
    assert np.linalg.norm(moved) > 3
    assert place(vectors).std(axis=0) == pytest.approx(np.ones(place.components), abs=0.1)


def test_what_the_reference_never_varied_in_is_far_from_it():
    rng = np.random.default_rng(7)
    flat = np.zeros(40)
    flat[:20] = 1.0
    vectors = rng.normal(size=(600, 40)) * flat + 0.02 * rng.normal(size=(600, 40))
    truth = np.eye(2)[rng.integers(0, 2, 600)] > 0
    place = Projection(vectors, truth)
    usual = np.stack([place(part).mean(axis=0) for part in np.split(vectors, 10)])
    other = vectors[:60] + 3.0 * (flat == 0)
    now = place(other).mean(axis=0)
    assert judge_length(usual, now, level=1e-4).state == "drift"
    assert judge_length(usual[:, :-1], now[:-1], level=1e-4).state == "ok"
    assert place(vectors).std(axis=0)[-1] == pytest.approx(1.0)


def test_mistakes_that_come_together_are_alike():
    rng = np.random.default_rng(8)
    cells = np.arange(2000) // 10
    by_cell = (rng.random(200) < 0.8)[cells].astype(float)
    alone = (rng.random(2000) < 0.8).astype(float)
    assert likeness([(by_cell, cells)]) == pytest.approx(1.0)
    assert likeness([(alone, cells)]) < 0.1
    assert 0.3 < likeness([(by_cell, cells), (alone, cells)]) < 0.7
    assert likeness([(np.ones(2000), cells)]) == 1.0  # no mistake tells anything


def test_accuracy_of_many_unlike_samples_is_surer():
    line = Line(np.array([0.5, 0.5, 0.0]), np.zeros((1, 1)), np.zeros(1), 0.03, 24)
    words = Words.learn(["a", "b"], "single", {}, np.full((40, 2), 0.5), np.eye(2)[[0, 1] * 20] > 0)
    rulers = [
        Ruler(words, line, 0.9, np.array([0.9, 0.9, 1.0]), Amount(400, 40), alike=alike)
        for alike in (0.1, 1.0)
    ]
    unlike, alike = (one.by_chance(0.8, Amount(94, 2)) for one in rulers)
    assert alike == pytest.approx((0.16 * 3 / 2) ** 0.5)
    assert unlike < 0.4 * alike
    assert rulers[0].error < rulers[1].error


def test_a_distance_is_shortened_by_what_days_differ_by_chance():
    usual = np.array([[3.0, 0.0], [0.0, 3.0], [np.nan, np.nan]])
    assert _beyond_chance(usual, np.array([6.0, 0.0])) == pytest.approx([4.5, 0.0])
    assert (_beyond_chance(usual, np.array([1.0, 1.0])) == 0).all()
    assert np.isnan(_beyond_chance(usual[2:], np.array([6.0, 0.0]))).all()


def test_the_budget_is_shared_out_among_looks_and_signals():
    level = look_level(1.0, every_hours=6, signals=10)
    assert level * 10 * 730.5 / 6 == pytest.approx(1.0)


def unsure(rng, count, accuracy):
    """Probabilities of a model that is as sure as it is right, and the truth."""
    p = np.clip(rng.beta(8 * accuracy, 8 * (1 - accuracy), count), 0.51, 0.999)
    says = rng.integers(0, 2, count)
    truth = np.where(rng.random(count) < p, says, 1 - says)
    probability = np.stack([1 - p, p], axis=1)
    probability[says == 0] = probability[says == 0][:, ::-1]
    return probability, truth


def test_both_words_follow_the_accuracy():
    rng = np.random.default_rng(5)
    probability, truth = unsure(rng, 6000, 0.95)
    learnt = Expectation.learn(tempered(probability, 0.5), truth)
    assert learnt.temperature == pytest.approx(2.0, abs=0.4)
    harder, truth = unsure(rng, 6000, 0.75)
    right = (harder.argmax(axis=1) == truth).mean()
    assert learnt.believed(tempered(harder, 0.5)).mean() == pytest.approx(right, abs=0.04)
    assert learnt.above(tempered(harder, 0.5)).mean() < learnt.accuracy - 0.1
    assert learnt.accuracy - right > 0.05


def test_a_line_corrects_words_that_say_too_much():
    rng = np.random.default_rng(6)
    accuracy = rng.uniform(0.4, 1, 30)
    words = np.stack([0.5 + accuracy / 2, accuracy], axis=1) + rng.normal(0, 0.01, (30, 2))
    places = np.arange(30.0)[:, None] * 100
    line = Line.fit(words, accuracy, places, usual=np.array([0.5, 0.5]))
    moved = [line.moved(one - words[0], np.full(1, np.nan)) for one in words]
    assert np.array(moved) == pytest.approx(accuracy - accuracy[0], abs=0.06)
    assert line.spread < 0.04


def line_of_two_kinds():
    """Dark pictures lie along one axis and cost what the words say, moved ones 0.1 more."""
    words = np.linspace(1, 0.6, 21)[:, None]
    is_moved = np.arange(21) % 2 == 1
    places = np.stack([np.where(is_moved, 0.0, 1.0), np.where(is_moved, 1.0, 0.0)], axis=1)
    places *= np.linspace(0, 20, 21)[:, None]
    accuracy = words[:, 0] - np.where(is_moved, 0.1, 0.0)
    return Line.fit(words, accuracy, places, usual=np.array([1.0]))


def test_what_looks_like_a_spoilt_set_misses_as_that_set_does():
    line, words = line_of_two_kinds(), np.array([-0.2])
    dark, moved = (line.moved(words, np.array(place)) for place in ([10.0, 0.0], [0.0, 11.0]))
    assert dark - moved == pytest.approx(0.1, abs=0.02)
    nobody_knows = line.moved(words, np.array([np.nan, 0.0]))
    assert moved < nobody_knows
    assert nobody_knows == pytest.approx(float(words @ line.weights))


def test_what_lies_where_nothing_was_spoilt_is_not_missed():
    line = line_of_two_kinds()
    assert line.moved(np.zeros(1), np.zeros(2)) == 0
    assert line.moved(np.zeros(1), np.array([200.0, 200.0])) == pytest.approx(0)
