"""Intervals: coverage on known distributions, agreement with scipy, honest bounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from besana.statistics.intervals import bootstrap, paired_bootstrap, student_quantile

Floats = NDArray[np.float64]


def _mean(sums: Floats) -> Floats:
    return (sums[..., 0] / sums[..., 1])[..., None]


def _clustered(rng: np.random.Generator, groups: int, size: int) -> Floats:
    """Draw right answers that are right or wrong together: (groups, 2) right and all."""
    chance = rng.beta(4.0, 1.0, size=groups)
    return np.stack([rng.binomial(size, chance), np.full(groups, size)], axis=1).astype(float)


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("groups", [3, 8, 40])
def test_bootstrap_covers_the_truth_as_often_as_it_says(method: str, groups: int) -> None:
    rng = np.random.default_rng(11)
    covered = 0
    trials = 400
    for trial in range(trials):
        found = bootstrap(
            _clustered(rng, groups, 30), _mean, replicates=400, method=method, seed=trial
        )
        covered += bool(found.low[0] <= 0.8 <= found.high[0])

    # Four standard errors of a share of 0.95 in 400 trials are 0.044; few groups cover less.
    assert 0.87 <= covered / trials <= 0.99


def test_bootstrap_over_samples_would_promise_too_much() -> None:
    rng = np.random.default_rng(12)
    covered = 0
    for trial in range(100):
        sums = _clustered(rng, 20, 30)
        right = np.repeat([1.0, 0.0], [int(sums[:, 0].sum()), int((30 - sums[:, 0]).sum())])
        samples = np.stack([right, np.ones(600)], axis=1)
        found = bootstrap(samples, _mean, replicates=200, seed=trial)
        covered += bool(found.low[0] <= 0.8 <= found.high[0])

    assert covered / 100 < 0.75


def test_bca_agrees_with_scipy_on_many_groups() -> None:
    values = np.random.default_rng(13).exponential(size=800)
    ours = bootstrap(np.stack([values, np.ones(800)], axis=1), _mean, replicates=4000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, rng=1, method="BCa")

    low, high = theirs.confidence_interval
    assert ours.low[0] == pytest.approx(low, abs=0.01)
    assert ours.high[0] == pytest.approx(high, abs=0.01)


def test_bootstrap_gives_the_same_twice() -> None:
    sums = _clustered(np.random.default_rng(14), 30, 10)
    once, again = (bootstrap(sums, _mean, seed=3) for _ in range(2))
    assert once[0] == again[0]


def test_bootstrap_pools_very_many_groups() -> None:
    rng = np.random.default_rng(15)
    sums = _clustered(rng, 50_000, 4)
    value, low, high = bootstrap(sums, _mean)[0]

    share = sums[:, 0] / 4
    error = 1.96 * share.std() / np.sqrt(len(share))
    assert value - low == pytest.approx(error, rel=0.1)
    assert high - value == pytest.approx(error, rel=0.1)


def test_bootstrap_without_an_error_is_not_certain() -> None:
    perfect = np.full((24, 2), 10.0)
    assert bootstrap(perfect, _mean)[0] == pytest.approx((1.0, 0.025 ** (1 / 24), 1.0))

    hopeless = perfect * [0, 1]
    assert bootstrap(hopeless, _mean)[0] == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 24)))


def test_bootstrap_of_one_group_knows_no_interval() -> None:
    value, low, high = bootstrap(np.array([[3.0, 4.0]]), _mean)[0]
    assert value == 0.75
    assert np.isnan([low, high]).all()


def test_two_groups_tell_next_to_nothing() -> None:
    value, low, high = bootstrap(np.array([[22.0, 30.0], [29.0, 30.0]]), _mean)[0]
    assert value == 0.85
    assert (low, high) == (0, 1)


def test_paired_bootstrap_sees_what_two_intervals_hide() -> None:
    rng = np.random.default_rng(16)
    champion = _clustered(rng, 30, 40)
    challenger = champion + np.array([1.0, 0.0])
    challenger[:, 0] = np.minimum(challenger[:, 0], 40)

    one, other = bootstrap(champion, _mean), bootstrap(challenger, _mean)
    found = paired_bootstrap(champion, challenger, _mean)
    assert one.high[0] > other.low[0]
    assert found.intervals.low[0] > 0
    assert found.worse_share[0] == 0

    back = paired_bootstrap(challenger, champion, _mean)
    assert back.intervals.high[0] < 0
    assert back.worse_share[0] == 1


def test_paired_bootstrap_of_equals_is_undecided() -> None:
    sums = _clustered(np.random.default_rng(17), 10, 10)
    found = paired_bootstrap(sums, sums, _mean)
    assert found.intervals[0] == (0, 0, 0)
    assert found.worse_share[0] == 0.5


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 31, 200, 999])
@pytest.mark.parametrize("probability", [0.75, 0.95, 0.975, 0.995])
def test_student_quantile_agrees_with_scipy(probability: float, degrees: int) -> None:
    expected = stats.t.ppf(probability, degrees)
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9)
