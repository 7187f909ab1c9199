"""What is proposed while people label: classes, order, runs, likely errors, agreement."""

from __future__ import annotations

import numpy as np
import pytest

from besana.labels.agreement import Agreement
from besana.labels.change_points import change_points, runs_of
from besana.labels.next_to_label import (
    clusters,
    deal,
    draw,
    evener,
    most_telling,
    spread,
    uncertainty,
)
from besana.labels.proposals import expected_gain, fit, likely_errors
from besana.labels.rates import wilson
from besana.labels.team import agreement_intervals, kappa_interval

CLASSES = ("lying", "standing", "empty")


def classed(count: int, seed: int = 0, apart: float = 3.0):
    """Vectors of three classes that change every ten samples, as frames of a camera do."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) // 10 % 3
    centres = rng.normal(0, 1, (3, 40)) * apart / 5
    return (centres[labels] + rng.normal(0, 1, (count, 40))).astype(np.float32), labels


@pytest.mark.parametrize("count", [60, 30, 400], ids=["few", "fewer than features", "many"])
def test_a_fit_proposes_what_it_has_learned(count: int) -> None:
    vectors, labels = classed(count, apart=8)
    fitted = fit(vectors, labels, CLASSES)
    assert fitted is not None
    fresh, truth = classed(300, apart=8)
    probability = fitted.proposer.probabilities(fresh)
    assert np.allclose(probability.sum(axis=1), 1, atol=1e-5)
    assert (probability.argmax(axis=1) == truth).mean() > 0.9


def test_a_fit_is_as_good_as_it_says() -> None:
    vectors, labels = classed(400)
    fitted = fit(vectors[:200], labels[:200], CLASSES)
    assert fitted is not None
    guess = fitted.proposer.probabilities(vectors[200:]).argmax(axis=1)
    count, share, error = fitted.curve[-1]
    assert count == 200
    assert abs((guess == labels[200:]).mean() - share) < 4 * error + 0.05


@pytest.mark.parametrize("labels", [np.zeros(50, int), np.arange(5) % 2])
def test_too_little_to_learn_from_is_said(labels) -> None:
    assert fit(np.ones((len(labels), 3), np.float32), labels, CLASSES) is None


def test_likely_errors_are_the_labels_that_were_changed() -> None:
    vectors, labels = classed(300, apart=10)
    wrong = [7, 124, 255]
    said = labels.copy()
    said[wrong] = (said[wrong] + 1) % 3
    fitted = fit(vectors, said, CLASSES)
    assert fitted is not None
    assert set(wrong) <= set(likely_errors(fitted.unseen, said)[:6].tolist())


def test_expected_gain_is_never_a_loss() -> None:
    assert expected_gain([(10, 0.9, 0.01)], 50) is None
    value, low, high = expected_gain([(50, 0.9, 0.01), (100, 0.88, 0.01)], 100) or (0, 0, 0)
    assert low == value == 0.88
    assert high > 0.88


def test_work_is_dealt_in_equal_parts_and_the_overlap_to_two() -> None:
    rank, twice = draw(1000, 0.2, 5)
    needed = np.ones(1000, np.uint8)
    parts = np.stack([deal(rank, needed, person, 3) for person in range(3)])
    assert parts.sum(axis=0).tolist() == [1] * 1000
    assert sorted(parts.sum(axis=1).tolist()) == [333, 333, 334]
    needed[twice] = 2
    shared = np.stack([deal(rank, needed, person, 3) for person in range(3)])
    assert (shared.sum(axis=0) == needed).all()
    assert abs(len(twice) - 200) < 50
    pairs = {tuple(np.flatnonzero(column)) for column in shared[:, twice].T}
    assert pairs == {(0, 1), (0, 2), (1, 2)}


def test_chosen_samples_lie_apart() -> None:
    vectors, labels = classed(300, apart=12)
    assert len({int(labels[place]) for place in spread(vectors, 3)}) == 3
    assert spread(vectors[:2], 5) in ([0, 1], [1, 0])
    near = vectors[labels == 0]
    assert labels[spread(vectors, 1, near=near)[0]] != 0


def test_every_fifth_is_chosen_by_chance() -> None:
    vectors, _ = classed(80)
    told = most_telling(vectors, 500, None, 0)
    assert sum(drawn for drawn, _ in told) == 5
    assert len(told) == 25


def test_a_tie_is_most_uncertain() -> None:
    probability = np.array([[0.5, 0.5, 0], [1, 0, 0]], np.float32)
    assert uncertainty(probability).tolist() == [1, 0]


def test_look_alikes_are_grouped() -> None:
    vectors, labels = classed(150, apart=15)
    group = clusters(vectors, 3)
    assert all(len(np.unique(group[labels == c])) == 1 for c in range(3))


def strip(states: list[int], noise: float = 4.0):
    """Small pictures, one pattern a state, while the light goes up and down."""
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 200, (max(states) + 1, 256))
    light = 0.85 + 0.15 * np.sin(np.arange(len(states)) / 15)[:, None]
    return (light * patterns[states] + rng.normal(0, noise, (len(states), 256))).astype(np.float32)


def test_changes_are_found_and_light_is_none() -> None:
    states = [0] * 40 + [1] * 25 + [0] * 3 + [2] * 60
    assert change_points(strip(states)) == [0, 40, 65, 68]


def test_sensitivity_cuts_finer() -> None:
    looks = strip([0] * 30 + [1] * 30, noise=60)
    runs = [len(change_points(looks, sensitivity=s)) for s in (0.05, 1, 20)]
    assert runs == sorted(runs)


def test_a_strip_of_nothing_or_of_one_frame() -> None:
    assert change_points(np.empty((0, 256), np.float32)) == []
    assert change_points(np.ones((1, 256), np.float32)) == [0]


def test_frames_far_apart_in_time_are_not_one_run() -> None:
    rng = np.random.default_rng(4)
    states = rng.normal(0, 1, (3, 64))
    said = [0, 0, 1, 2, 2, 0, 1, 1, 2, 0, 2, 2, 1, 0, 0, 2, 1, 2, 0, 0, 1, 0, 2, 1, 1, 2]
    looks = states[said] + rng.normal(0, 0.05, (len(said), 64))
    starts = change_points(looks.astype(np.float32))
    assert starts == [0, *(np.flatnonzero(np.diff(said)) + 1).tolist()]


def test_a_strip_on_which_nothing_happens_is_one_run() -> None:
    looks = np.random.default_rng(6).normal(0, 1, (300, 64)) + np.arange(64)
    assert change_points(looks.astype(np.float32)) == [0]


def test_runs_follow_the_model_where_it_is_sure() -> None:
    proposed = np.array([0] * 6 + [1] + [0] * 3 + [1] * 5 + [2] * 4)
    sure = np.where(proposed == 2, 0.4, 0.95).astype(np.float32)
    runs = runs_of([0, 4, 15], proposed, sure)
    assert [(run.start, run.end, run.proposed) for run in runs] == [
        (0, 10, 0),
        (10, 15, 1),
        (15, 19, -1),
    ]


def test_intervals_of_agreement_hold_the_coefficients() -> None:
    rng = np.random.default_rng(2)
    agreement, units = Agreement(), []
    for number in range(200):
        word = CLASSES[number % 3]
        other = word if rng.random() < 0.8 else CLASSES[(number + 1) % 3]
        words = {"ana": word, "eva": other}
        agreement.add(words)
        units.append((f"pen/{number // 5}", words))
    found = {each["name"]: each for each in agreement_intervals(units)}
    assert found["alpha"]["value"] == pytest.approx(agreement.krippendorff_alpha())
    assert found["fleiss"]["value"] == pytest.approx(agreement.fleiss_kappa())
    (pair,) = agreement.cohen_kappas()
    found["cohen"] = kappa_interval([*units, ("pen/0", {"ana": "cow"})], "ana", "eva")
    assert found["cohen"]["value"] == pytest.approx(pair.kappa)
    for each in found.values():
        assert each["low"] < each["value"] < each["high"]
    assert kappa_interval(units, "ana", "leo")["value"] is None


def test_wilson_interval_holds_the_share_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = rng.binomial(200, 0.03, 2000)
    held = [wilson(int(hit), 200)[1] <= 0.03 <= wilson(int(hit), 200)[2] for hit in hits]
    assert np.mean(held) > 0.92


def test_evened_features_vary_alike_and_still_ones_are_not_blown_up() -> None:
    vectors, _ = classed(300, apart=10)
    loud = np.random.default_rng(5).normal(0, 30, (300, 1)).astype(np.float32)
    still = np.full((300, 1), 7, np.float32)
    together = np.concatenate([vectors, loud, still], axis=1)
    evened = together * evener(together)
    assert np.allclose(evened[:, :41].std(axis=0), 1, atol=1e-3)
    assert evened[:, 41].std() < 1e-3
