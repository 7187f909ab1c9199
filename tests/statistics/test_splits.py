"""Splits: no group crosses, shares near what was asked, the same again tomorrow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from besana.errors import ConfigError
from besana.statistics.hashing import mix
from besana.statistics.splits import (
    LEFT_OUT,
    TEST,
    TRAIN,
    VALIDATION,
    assign,
    keep_apart,
    last_days,
    leave_out_crossing,
    random_leaks,
)

SHARES = (0.7, 0.1, 0.2)


def _keys(groups: int) -> NDArray[np.uint64]:
    return mix(np.arange(groups, dtype=np.uint64), seed=99)


def _blocks(
    groups: int, size: int, classes: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Make groups of about a size, each with mostly one class, the first class commonest."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 2 * size, size=groups)
    group = np.repeat(np.arange(groups), sizes)
    odds = 0.5 ** np.arange(classes)
    main = rng.choice(classes, size=groups, p=odds / odds.sum())
    other = rng.integers(classes, size=len(group))
    return group, np.where(rng.random(len(group)) < 0.8, main[group], other)


def _achieved(
    group: NDArray[np.int64], label: NDArray[np.int64], part: NDArray[np.int8]
) -> NDArray[np.float64]:
    """Give each class's share in each part, (classes, parts)."""
    counts = np.zeros((label.max() + 1, 3))
    np.add.at(counts, (label, part[group]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("groups", "size"), [(120, 12), (3000, 12), (20_000, 1)])
def test_assign_comes_near_the_shares_in_every_class(groups: int, size: int) -> None:
    group, label = _blocks(groups, size, classes=4)
    part = assign(group, label, SHARES, keys=_keys(groups))

    assert np.abs(_achieved(group, label, part) - SHARES).max() < 0.03


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(1, 60),
    size=st.integers(1, 8),
    classes=st.integers(1, 5),
    seed=st.integers(0, 2**40),
    shares=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=5).filter(any),
)
def test_assign_gives_every_group_one_part_and_every_part_a_group(
    groups: int, size: int, classes: int, seed: int, shares: list[float]
) -> None:
    group, label = _blocks(groups, size, classes, seed)
    part = assign(group, label, shares, keys=_keys(groups), seed=seed)

    wanted = {i for i, share in enumerate(shares) if share > 0}
    assert set(part.tolist()) <= wanted
    if groups >= len(wanted):
        assert set(part.tolist()) == wanted


def test_assign_does_not_depend_on_the_order_of_samples() -> None:
    group, label = _blocks(300, 5, classes=3)
    shuffled = np.random.default_rng(1).permutation(len(group))
    keys = _keys(300)

    once = assign(group, label, SHARES, keys=keys, seed=4)
    again = assign(group[shuffled], label[shuffled], SHARES, keys=keys, seed=4)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, assign(group, label, SHARES, keys=keys, seed=5))


def test_assign_never_moves_what_is_fixed() -> None:
    group, label = _blocks(900, 6, classes=3)
    old = group < 600
    keys = _keys(900)
    before = assign(group[old], label[old], SHARES, keys=keys[:600])
    fixed = np.append(before, np.full(300, -1))

    after = assign(group, label, SHARES, keys=keys, fixed=fixed)
    assert np.array_equal(after[:600], before)
    assert np.abs(_achieved(group, label, after) - SHARES).max() < 0.03


def test_assign_moves_few_small_groups_when_others_come() -> None:
    label = np.random.default_rng(3).integers(3, size=12_000)
    group, keys = np.arange(12_000), _keys(12_000)

    before = assign(group[:10_000], label[:10_000], SHARES, keys=keys[:10_000])
    after = assign(group, label, SHARES, keys=keys)
    assert (after[:10_000] != before).mean() < 0.03


def test_assign_refuses_impossible_shares() -> None:
    none = np.array([0])
    with pytest.raises(ConfigError, match="Shares"):
        assign(none, none, (0.0, 0.0), keys=_keys(1))
    with pytest.raises(ConfigError, match="Shares"):
        assign(none, none, (1.2, -0.2), keys=_keys(1))


def test_folds_are_alike() -> None:
    group, label = _blocks(500, 8, classes=3)
    fold = assign(group, label, [1 / 5] * 5, keys=_keys(500))

    sizes = np.bincount(fold[group], minlength=5) / len(group)
    assert np.abs(sizes - 0.2).max() < 0.01


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([LEFT_OUT, 0, 1, 2])), min_size=1),
)
def test_no_group_crosses_after_leaving_out(rows: list[tuple[int, int]]) -> None:
    group = np.array([row[0] for row in rows])
    wanted = np.array([row[1] for row in rows], dtype=np.int8)
    split = leave_out_crossing(group, wanted, 10)

    assert ((split == wanted) | (split == LEFT_OUT)).all()
    assert (split[wanted == TEST] == TEST).all()
    for one in range(10):
        assert len(set(split[group == one].tolist()) - {LEFT_OUT}) <= 1


def test_leaving_out_keeps_groups_that_do_not_cross() -> None:
    group = np.array([0, 0, 1, 1, 2, 2])
    wanted = np.array([TRAIN, TEST, TRAIN, TRAIN, VALIDATION, TRAIN], dtype=np.int8)

    assert leave_out_crossing(group, wanted, 3).tolist() == [-1, 2, 0, 0, 1, -1]


item = st.tuples(st.sampled_from([LEFT_OUT, 0, 1, 2]), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(item, min_size=1, max_size=40))
def test_what_is_kept_apart_never_crosses_and_no_more_is_left_out(
    items: list[tuple[int, int, int]],
) -> None:
    wanted, kin, block = (np.array(column) for column in zip(*items, strict=True))
    apart, split = keep_apart(wanted.astype(np.int8), kin, block)

    assert ((split == wanted) | (split == LEFT_OUT)).all()
    assert (split[wanted == TEST] == TEST).all()
    for tie, found in ((kin, apart), (kin, split), (block, split)):
        for one in range(10):
            assert len(set(found[tie == one].tolist()) - {LEFT_OUT}) <= 1
    for number in np.flatnonzero((split == LEFT_OUT) & (wanted != LEFT_OUT)):
        later_kin = (kin == kin[number]) & (wanted > wanted[number])
        later_mates = (block == block[number]) & (apart > wanted[number])
        assert later_kin.any() or later_mates.any()


def test_last_days_are_days_with_samples() -> None:
    days = np.array([10, 10, 13, 20, 20])
    assert last_days(days, 1).tolist() == [False, False, False, True, True]
    assert last_days(days, 2).tolist() == [False, False, True, True, True]
    assert last_days(days, 9).tolist() == [False, False, True, True, True]
    assert last_days(days[:2], 1).tolist() == [False, False]


def test_random_leaks_count_mates_in_train() -> None:
    alone = random_leaks(np.arange(5000), SHARES)
    assert alone.leaked == 0
    assert alone.test_samples == pytest.approx(1000, rel=0.1)

    pairs = random_leaks(np.arange(5000) // 2, SHARES)
    assert pairs.leaked_share == pytest.approx(0.7, abs=0.05)

    bursts = random_leaks(np.arange(5000) // 20, SHARES)
    assert bursts.leaked_share > 0.99
