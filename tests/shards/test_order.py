"""The order: the same for years, truly mixed, readable through a small window."""

import numpy as np
import pytest

from besana.shards.order import (
    block_order,
    cut_blocks,
    global_order,
    hashes,
    key_of,
    permutation,
    same_group_share,
)

COUNT, PER_BLOCK = 20_000, 100
BLOCK = np.arange(COUNT) // PER_BLOCK
PLACE = np.arange(COUNT) % PER_BLOCK


GOLDEN_GLOBAL = [10, 9, 1, 5, 2, 4, 7, 8, 6, 0, 11, 3]
GOLDEN_BLOCK = [2, 6, 8, 7, 9, 11, 3, 10, 4, 5, 1, 0]
GOLDEN_HASHES = [1321962074176129191, 15925659190040627001]


def test_orders_never_change() -> None:
    # If this fails, saved trainings would go on in another order: never change the expected values.
    assert global_order(12, seed=0, epoch=0).tolist() == GOLDEN_GLOBAL
    order = block_order(np.arange(12) // 3, np.arange(12) % 3, 7, 3, 2).order
    assert order.tolist() == GOLDEN_BLOCK
    assert hashes(key_of(1, 2, 3), np.array([0, 1])).tolist() == GOLDEN_HASHES


def test_splitmix64_matches_its_reference() -> None:
    # First outputs of the reference implementation (Vigna, splitmix64.c) for seed 1234567.
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423]

    assert hashes(1234567, np.arange(3)).tolist() == reference


@pytest.mark.parametrize("count", [0, 1, 2, 3, 64, 65, 100_000])
def test_a_permutation_is_the_order_of_the_hashes(count: int) -> None:
    expected = np.argsort(hashes(77, np.arange(count, dtype=np.uint64)), kind="stable")

    assert (permutation(count, 77) == expected).all()


@pytest.mark.slow
def test_equal_upper_bits_of_hashes_are_settled_by_the_lower_ones() -> None:
    count = 6_000_000  # of 41 bits: some are equal
    hashed = hashes(77, np.arange(count, dtype=np.uint64))
    assert len(np.unique(hashed >> np.uint64(23))) < count

    assert (permutation(count, 77) == np.argsort(hashed, kind="stable")).all()


def test_blocks_of_samples_in_order_and_mixed_up_are_the_same() -> None:
    generator = np.random.default_rng(0)
    shard = np.sort(generator.integers(0, 5, 3000))
    offset = generator.integers(0, 10**6, 3000)
    offset = offset[np.lexsort((offset, shard))]
    mixed = generator.permutation(3000)
    block = cut_blocks(shard, offset, 50_000)

    assert (cut_blocks(shard[mixed], offset[mixed], 50_000) == block[mixed]).all()
    ordered = block_order(block, None, 1, 2, 9)
    given = block_order(block, offset, 1, 2, 9)
    assert (ordered.order == given.order).all()
    assert ordered.segment is not None
    assert (ordered.segment == given.segment).all()


def test_all_permutations_are_about_as_likely() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(12_000):
        order = tuple(permutation(4, key_of(seed, 0)).tolist())
        counts[order] = counts.get(order, 0) + 1
    expected = 12_000 / 24
    chi_squared = sum((n - expected) ** 2 / expected for n in counts.values())

    assert len(counts) == 24
    assert chi_squared < 49.7  # 0.1 % of chi-squared with 23 degrees of freedom


@pytest.mark.parametrize("window", [1, 2, 7, 32, 199, 200, 500])
def test_block_order_needs_few_segments_at_a_time(window: int) -> None:
    order, segment = block_order(BLOCK, PLACE, 3, 1, window)
    assert segment is not None
    assert np.sort(order).tolist() == list(range(COUNT))
    used = segment[order]
    first = np.full(used.max() + 1, COUNT)
    np.minimum.at(first, used, np.arange(COUNT))
    last = np.full(used.max() + 1, -1)
    np.maximum.at(last, used, np.arange(COUNT))
    there = last >= 0
    change = np.zeros(COUNT + 1, np.int64)
    np.add.at(change, first[there], 1)
    np.add.at(change, last[there] + 1, -1)

    assert np.cumsum(change).max() <= min(window, COUNT // PER_BLOCK) + 1


def test_segments_are_neighbours_in_their_block() -> None:
    _, segment = block_order(BLOCK, PLACE, 3, 1, 20)
    assert segment is not None
    assert (segment // 2 == BLOCK).all()
    for block in range(COUNT // PER_BLOCK):
        inside = segment[block == BLOCK]
        assert (np.diff(inside) >= 0).all()


@pytest.mark.parametrize("part", ["start", "middle", "end"])
def test_block_order_mixes_as_a_shuffle_within_the_window(part: str) -> None:
    window, batch = 50, 64
    order = np.concatenate(
        [
            {
                "start": whole[: 4 * batch],
                "middle": whole[COUNT // 2 :][: 4 * batch],
                "end": whole[-4 * batch :],
            }[part]
            for epoch in range(60)
            for whole in [block_order(BLOCK, PLACE, 0, epoch, window).order]
        ]
    )
    share = same_group_share(order, BLOCK, batch)

    # Two samples drawn at random from a window of 50 blocks share a block in 1 of 50 cases.
    assert share == pytest.approx(1 / window, rel=0.12)


def test_global_order_mixes_as_chance_says() -> None:
    order = global_order(COUNT, 0, 0)

    assert same_group_share(order, BLOCK, 64) == pytest.approx(1 / 200, rel=0.1)
    assert same_group_share(np.arange(COUNT), BLOCK, 64) > 0.7


def test_blocks_are_cut_at_shards_and_sizes() -> None:
    shard = np.array([1, 0, 0, 0, 1])
    offset = np.array([0, 0, 90, 110, 500])

    assert cut_blocks(shard, offset, 100).tolist() == [2, 0, 0, 1, 3]
    assert cut_blocks(shard[:0], offset[:0], 100).tolist() == []
