"""Properties of the loader for any dataset size, batch, ranks, threads and place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shard_farm import Farm
from test_reading import CountingBucket

from besana.shards import Augment, Loader, Manifest
from besana.shards.order import block_order, cut_blocks, global_order, same_group_share
from besana.shards.reading import BlockReader

SOME = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RANKS = st.sampled_from([1, 2, 4, 8])
SHUFFLE = st.sampled_from(["global", "block", "none"])
BLOCKS: dict[str, Any] = {"block_bytes": 6000, "window_blocks": 3}


def taken(loader: Loader, epochs: int = 1) -> list[Any]:
    return [batch for _ in range(epochs) for batch in loader]


@given(st.integers(1, 100), st.integers(1, 5), RANKS, SHUFFLE)
@SOME
def test_evaluation_counts_each_sample_exactly_once(
    hundred: Manifest, count: int, share: int, ranks: int, shuffle: Any
) -> None:
    chosen = np.random.default_rng(count).permutation(100)[:count]
    parts = []
    for rank in range(ranks):
        with Loader(
            hundred, None, ranks * share, 2, positions=chosen, shuffle=shuffle, tail="pad",
            rank=rank, ranks=ranks, threads=1, **BLOCKS,
        ) as loader:  # fmt: skip
            parts.append(taken(loader))
            assert len(parts[-1]) == len(loader) == -(-count // (ranks * share))
    shapes = {batch.images.shape for part in parts for batch in part}
    seen = [n for part in parts for batch in part for n in batch.index[batch.valid].tolist()]

    assert shapes == {(share, 2, 2, 3)}
    assert sorted(seen) == sorted(chosen.tolist())


@given(st.integers(16, 100), RANKS, st.integers(1, 2), st.sampled_from(["drop", "carry"]))
@SOME
def test_all_ranks_get_equal_batches_and_together_the_permutation(
    hundred: Manifest, count: int, ranks: int, share: int, tail: Any
) -> None:
    chosen = np.arange(100)[100 - count :]
    parts = []
    for rank in range(ranks):
        with Loader(
            hundred, None, ranks * share, 2, positions=chosen, seed=count, tail=tail,
            rank=rank, ranks=ranks, threads=1,
        ) as loader:  # fmt: skip
            batches = taken(loader, 2)
            assert {batch.index.shape for batch in batches} == {(share,)}
            parts.append(np.concatenate([batch.index for batch in batches]))
    together = np.stack(parts, axis=1).ravel().tolist()
    orders = [chosen[global_order(count, count, epoch)].tolist() for epoch in (0, 1)]
    kept = count - count % (ranks * share)
    expected = (orders[0] + orders[1])[: len(together)]
    if tail == "drop":
        expected = orders[0][:kept] + orders[1][:kept]

    assert together == expected


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("shuffle", ["global", "block"])
def test_resume_at_every_batch_with_every_number_of_ranks(
    hundred: Manifest, ranks: int, shuffle: Any
) -> None:
    given: dict[str, Any] = {"shuffle": shuffle, "tail": "carry", "threads": 1, "size": 2, **BLOCKS}
    with Loader(hundred, None, 8, **given) as loader:
        whole = [n for batch in taken(loader, 2) for n in batch.index.tolist()]
    states = []
    with Loader(hundred, None, 8, rank=ranks - 1, ranks=ranks, **given) as loader:
        states.append(loader.state_dict())
        for _ in range(2):
            states += [loader.state_dict() for _ in loader]
    loaders = [
        Loader(hundred, None, 8, rank=rank, ranks=8 // ranks, **given) for rank in range(8 // ranks)
    ]
    for number, state in enumerate(states[:-1]):
        text = json.dumps(state)
        assert len(text) < 1000
        parts = []
        for loader in loaders:
            loader.load_state_dict(json.loads(text))
            parts.append(next(iter(loader)).index)
        assert np.stack(parts, axis=1).ravel().tolist() == whole[8 * number : 8 * number + 8]
    for loader in loaders:
        loader.close()


@given(st.integers(0, 99), st.integers(1, 16), st.sampled_from([3, 10, 64]))
@SOME
def test_resume_at_every_sample_gives_the_next_one(
    hundred: Manifest, place: int, threads: int, batch_size: int
) -> None:
    order = [*global_order(100, 0, 0).tolist(), *global_order(100, 0, 1).tolist()]
    with Loader(hundred, None, batch_size, 2, tail="carry", threads=threads) as loader:
        loader.load_state_dict(loader.state_dict() | {"next_sample": place})
        found = next(batch for _ in range(2) for batch in loader).index.tolist()

    assert found == order[place : place + batch_size]


@pytest.fixture(scope="module")
def expected(hundred: Manifest) -> list[bytes]:
    with Loader(hundred, None, 20, 16, threads=1, **LOOKS) as loader:
        return [batch.images.tobytes() for batch in loader]


LOOKS: dict[str, Any] = {
    "augment": Augment(
        crop_area_share=(0.2, 0.9), flip_vertical_share=0.5, quarter_turns=True, contrast=0.3
    ),
    "seed": 11,
}


@given(st.integers(1, 16), st.booleans())
@SOME
def test_crops_flips_and_light_are_the_same_for_any_threads(
    hundred: Manifest, expected: list[bytes], threads: int, far: bool
) -> None:
    shards = CountingBucket(hundred.storage.url) if far else None
    with Loader(hundred, None, 20, 16, shards=shards, threads=threads, **LOOKS) as loader:
        assert [batch.images.tobytes() for batch in loader] == expected


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Pictures of very different size, so that records are."""

    def picture(number: int) -> np.ndarray[Any, Any]:
        side = [8, 24, 60, 120][number % 4]
        return np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)

    folder: Path = tmp_path_factory.mktemp("uneven")
    return Farm(folder, count=160, shards=3, picture=picture).write()


@given(st.integers(100, 40_000), st.integers(1, 40), st.integers(1, 24), st.integers(0, 5), RANKS)
@SOME
def test_block_reads_never_hold_more_than_was_planned(
    uneven: Manifest, block_bytes: int, window: int, batch_size: int, seed: int, ranks: int
) -> None:
    with Loader(
        uneven, None, batch_size * ranks, 2, seed=seed, shuffle="block", block_bytes=block_bytes,
        window_blocks=window, shards=CountingBucket(uneven.storage.url), tail="pad", threads=2,
        rank=ranks - 1, ranks=ranks,
    ) as loader:  # fmt: skip
        most = 0
        for _ in loader:
            reader = loader._pass._reader  # type: ignore[union-attr]
            assert isinstance(reader, BlockReader)
            most = max(most, reader.most_bytes)
        assert reader.held_bytes == 0
        assert 0 < most <= loader.memory.ahead_bytes


@given(st.integers(0, 10**6), st.sampled_from([8, 20, 60]))
@settings(max_examples=10, deadline=None)
def test_blocks_mix_as_a_true_shuffle_of_the_window_does(seed: int, window: int) -> None:
    """Samples of a block meet as often as in a window of blocks that is truly shuffled."""
    count, per_block, batch = 24_000, 100, 60
    place = np.arange(count)
    block = cut_blocks(np.zeros(count, np.int64), place, per_block)
    orders = [block_order(block, None, seed, epoch, window).order for epoch in range(3)]
    share = np.mean([same_group_share(order, block, batch) for order in orders])
    generator = np.random.default_rng(seed)
    windows = [generator.permutation(window * per_block) for _ in range(20)]
    names = np.arange(window * per_block) // per_block
    truth = np.mean([same_group_share(order, names, batch) for order in windows])

    assert share == pytest.approx(truth, rel=0.1)
    whole = same_group_share(global_order(count, seed, 0), block, batch)
    assert share == pytest.approx(whole * count / per_block / window, rel=0.12)
