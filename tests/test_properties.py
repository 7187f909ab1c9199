"""Properties that hold for all inputs: TFRecord round trip, order and resume of the loader."""

from __future__ import annotations

import io
import json
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from besana.errors import CorruptDataError
from besana.shards import Loader, Manifest, ManifestWriter, ShardWriter, open_manifest
from besana.shards.example import encode_example, locate_features, parse_example
from besana.shards.order import block_order, cut_blocks, global_order
from besana.shards.tfrecord import RecordWriter, read_records
from besana.shards.writer import sample_example
from besana.storage import open_storage

WHOLE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(width=32, allow_nan=False)
FEATURE = st.one_of(
    st.binary(max_size=300),
    WHOLE,
    REAL,
    st.lists(st.binary(max_size=40), max_size=4),
    st.lists(WHOLE, max_size=5),
    st.lists(REAL, max_size=5),
)
SLOW_DATA = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(st.dictionaries(st.text(max_size=12), FEATURE, max_size=6))
def test_an_example_reads_back_as_it_was_written(features: dict[str, Any]) -> None:
    data, places = encode_example(features)

    assert parse_example(data) == {
        name: value if isinstance(value, list) else [value] for name, value in features.items()
    }
    assert locate_features(data) == places
    for name, (offset, length) in places.items():
        value = features[name]
        assert data[offset : offset + length] == (value[0] if isinstance(value, list) else value)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_example_or_corrupt(data: bytes) -> None:
    try:
        features, places = parse_example(data), locate_features(data)
    except CorruptDataError:
        return
    assert places.keys() <= features.keys()


@given(st.lists(st.binary(max_size=200), max_size=8), st.data())
def test_records_read_back_and_any_change_is_seen(records: list[bytes], data: Any) -> None:
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for record in records:
        writer.write(record)
    written = stream.getvalue()

    assert [record for _, record in read_records(io.BytesIO(written))] == records
    if written:
        place = data.draw(st.integers(0, len(written) - 1))
        changed = bytearray(written)
        changed[place] ^= data.draw(st.integers(1, 255))
        with pytest.raises(CorruptDataError):
            list(read_records(io.BytesIO(changed)))


@given(st.integers(0, 500), st.integers(0, 2**70), st.integers(0, 10**6))
def test_a_global_order_holds_every_sample_once(count: int, seed: int, epoch: int) -> None:
    order = global_order(count, seed, epoch)

    assert np.sort(order).tolist() == list(range(count))
    assert (order == global_order(count, seed, epoch)).all()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2000)), max_size=200, unique=True),
    st.integers(1, 700),
    st.integers(1, 20),
    st.integers(0, 99),
)
def test_a_block_order_holds_every_sample_once_and_few_segments(
    places: list[tuple[int, int]], block_bytes: int, window: int, epoch: int
) -> None:
    shard, offset = (np.array([place[i] for place in places], np.int64) for i in (0, 1))
    block = cut_blocks(shard, offset, block_bytes)
    order, segment = block_order(block, offset, 5, epoch, window)
    assert segment is not None
    used = segment[order].tolist()
    last = {name: place for place, name in enumerate(used)}

    assert np.sort(order).tolist() == list(range(len(places)))
    live: set[int] = set()
    for place, name in enumerate(used):
        live.add(name)
        assert len(live) <= window + 1
        live -= {name for name in live if last[name] <= place}
    for name in set(block.tolist()):
        assert len(set(shard[block == name].tolist())) == 1


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Twenty-five tiny pictures in three shards."""
    storage = open_storage(tmp_path_factory.mktemp("few"))
    encoded = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    with ManifestWriter(storage) as manifest:
        for number, count in enumerate([10, 1, 14]):
            with ShardWriter(storage, f"{number}.tfrecord") as writer:
                for sample in range(count):
                    name = f"cam/{number}-{sample}"
                    example = sample_example(
                        f"{name}/all",
                        encoded,
                        image_format="png",
                        height_px=4,
                        width_px=4,
                        channels=3,
                    )
                    place = writer.add(example)
                    row = {field: getattr(place, field) for field in place.__slots__}
                    manifest.write(
                        [row | {"frame_id": name, "height_px": 4, "width_px": 4, "channels": 3}]
                    )
    return open_manifest(storage)


def taken(loader: Loader, batches: int | None = None) -> list[list[int]]:
    found: list[list[int]] = []
    if batches == 0:
        return found
    for batch in loader:
        found.append(batch.index.tolist())
        if len(found) == batches:
            break
    return found


SHUFFLE = st.sampled_from(["global", "block", "none"])
RANKS = st.sampled_from([1, 2, 4, 8])


@given(SHUFFLE, RANKS, st.integers(0, 9), st.sampled_from(["drop", "carry", "pad"]))
@SLOW_DATA
def test_ranks_together_make_the_global_batches(
    few: Manifest, shuffle: Any, ranks: int, seed: int, tail: Any
) -> None:
    options: dict[str, Any] = {"batch_size": 8, "size": 2, "threads": 1, "block_bytes": 900}
    options |= {"shuffle": shuffle, "seed": seed, "tail": tail, "window_blocks": 2, "split": None}
    with Loader(few, **options) as loader:
        alone = taken(loader) + taken(loader)
    parts = []
    for rank in range(ranks):
        with Loader(few, rank=rank, ranks=ranks, **options) as loader:
            parts.append(taken(loader) + taken(loader))

    assert [np.stack(batch, axis=1).ravel().tolist() for batch in zip(*parts, strict=True)] == alone
    if tail == "pad":
        first = [n for batch in alone[: len(alone) // 2] for n in batch if n >= 0]
        assert sorted(first) == list(range(25))


@given(
    SHUFFLE,
    st.integers(0, 12),
    st.sampled_from([(8, 1), (8, 4), (4, 2), (12, 1), (5, 5)]),
    st.sampled_from([(8, 1), (8, 8), (6, 2), (25, 1), (3, 3)]),
    st.integers(1, 16),
)
@SLOW_DATA
def test_resume_at_any_sample_with_other_ranks_batches_and_threads(
    few: Manifest,
    shuffle: Any,
    steps: int,
    before: tuple[int, int],
    after: tuple[int, int],
    threads: int,
) -> None:
    def run(batch: tuple[int, int], state: Any, epochs: int, stop: int | None) -> Any:
        """Go on from a state on all ranks; give the global samples and the last state."""
        parts, last = [], None
        for rank in range(batch[1]):
            with Loader(
                few, None, batch[0], 2, rank=rank, ranks=batch[1], threads=threads,
                shuffle=shuffle, tail="carry", seed=3, block_bytes=900, window_blocks=2,
            ) as loader:  # fmt: skip
                if state:
                    loader.load_state_dict(state)
                found: list[list[int]] = []
                while loader.epoch < epochs and stop != len(found):
                    found += taken(loader, None if stop is None else stop - len(found))
                parts.append([n for row in found for n in row])
                assert last in (None, loader.state_dict())
                last = json.loads(json.dumps(loader.state_dict()))
        return np.stack(parts, axis=1).ravel().tolist(), last

    whole, _ = run((1, 1), None, 4, None)
    first, state = run(before, None, 4, steps)
    second, _ = run(after, state, 4, None)

    assert len(json.dumps(state)) < 1000
    assert first + second == whole[: len(first) + len(second)]
    assert len(first) + len(second) > 100 - max(before[0], after[0])
