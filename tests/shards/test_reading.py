"""Reading from a bucket: each byte once, few blocks at a time, the same batches as from files."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import Farm
from typing_extensions import override

from besana.errors import MemoryLimitError
from besana.shards import Loader, Manifest, open_manifest
from besana.shards.reading import BlockReader
from besana.storage import Folder, open_storage


class CountingBucket(Folder):
    """A folder that is read as a bucket is: by ranges, through the network's door."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.ranges: list[tuple[str, int, int]] = []

    @override
    def local_path(self, key: str) -> None:  # type: ignore[override]
        return None

    @override
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        self.ranges.append((key, offset, length))
        return super().read_range(key, offset, length)


def batches(manifest: Manifest, shards: Any, **options: Any) -> list[tuple[list[int], bytes]]:
    options = {"batch_size": 16, "size": 12, "threads": 3} | options
    with Loader(manifest, shards=shards, **options) as loader:
        return [(b.index.tolist(), b.images.tobytes()) for _ in range(2) for b in loader]


BLOCKS: dict[str, Any] = {"shuffle": "block", "block_bytes": 6000, "window_blocks": 3}


@pytest.mark.parametrize("options", [{"shuffle": "global"}, {"shuffle": "none"}, BLOCKS])
def test_a_bucket_gives_the_same_batches_as_files(hundred: Manifest, options: Any) -> None:
    bucket = CountingBucket(hundred.storage.url)

    assert batches(hundred, bucket, **options) == batches(hundred, None, **options)
    assert bucket.ranges


def test_block_shuffle_reads_each_byte_once(hundred: Manifest) -> None:
    bucket = CountingBucket(hundred.storage.url)
    with Loader(hundred, batch_size=20, size=8, shards=bucket, tail="pad", **BLOCKS) as loader:
        assert len({n for batch in loader for n in batch.index.tolist()}) == 100
    read = sum(length for _, _, length in bucket.ranges)

    assert read == int(hundred.length_bytes.sum())
    assert len(bucket.ranges) < 50
    assert len(set(bucket.ranges)) == len(bucket.ranges)


def test_block_shuffle_holds_few_segments(hundred: Manifest) -> None:
    bucket = CountingBucket(hundred.storage.url)
    with Loader(hundred, batch_size=4, size=8, shards=bucket, threads=1, **BLOCKS) as loader:
        live = []
        for _ in loader:
            reader = loader._pass._reader  # type: ignore[union-attr]
            assert isinstance(reader, BlockReader)
            live.append(reader.live)

    # Window, the two at the border of a batch, four ahead, and those of batches on their way.
    assert max(live) <= 3 + 1 + 4 + loader.memory.slots
    assert live[-1] <= 4


def test_far_records_of_a_block_are_read_apart(tmp_path: Path) -> None:
    def noise(number: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng(number).integers(0, 255, (200, 200, 3), dtype=np.uint8)

    manifest = Farm(tmp_path, count=30, shards=1, picture=noise).write()
    bucket = CountingBucket(tmp_path)
    with Loader(
        manifest, batch_size=3, size=8, positions=[0, 1, 20, 21, 22, 29], shards=bucket,
        shuffle="block", block_bytes=10**7,
    ) as loader:  # fmt: skip
        assert sum(len(batch.index) for batch in loader) == 6
    needed = int(manifest.length_bytes[[0, 1, 20, 21, 22, 29]].sum())

    assert len(bucket.ranges) == 3
    assert sum(length for _, _, length in bucket.ranges) == needed


def test_a_window_that_does_not_fit_is_refused(hundred: Manifest) -> None:
    options: dict[str, Any] = {"batch_size": 8, "size": 8, "threads": 1, **BLOCKS}
    with Loader(hundred, shards=CountingBucket("/x"), **options) as loader:
        needed = loader.memory.total_bytes

    assert needed > 4 * 6000
    with pytest.raises(MemoryLimitError, match="window_blocks"):
        Loader(hundred, shards=CountingBucket("/x"), memory_bytes=needed // 2, **options)


def test_ranks_resume_from_a_bucket(hundred: Manifest) -> None:
    bucket = CountingBucket(hundred.storage.url)
    with Loader(hundred, batch_size=10, size=8, **BLOCKS) as loader:
        whole = [batch.index.tolist() for batch in loader]
        iterator = iter(loader)
        for _ in range(4):
            next(iterator)
        state = loader.state_dict()
    with Loader(hundred, batch_size=10, size=8, shards=bucket, rank=1, ranks=2, **BLOCKS) as loader:
        loader.load_state_dict(state | {"epoch": 0})
        mine = [batch.index.tolist() for batch in loader]

    assert mine == [batch[1::2] for batch in whole[4:]]


@pytest.fixture
def s3_bucket() -> Iterator[str]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        boto3.client("s3").create_bucket(Bucket="farms")
        yield f"s3://farms/{uuid.uuid4().hex}"
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", ["global", "block"])
def test_an_s3_server_gives_the_same_batches(
    s3_bucket: str, hundred: Manifest, shuffle: Any
) -> None:
    remote = open_storage(s3_bucket)
    for key in [*hundred.shards, hundred.key]:
        remote.write(key, hundred.storage.read(key))
    there = open_manifest(remote)

    assert there.fingerprint == hundred.fingerprint
    assert there.sample_ids([99]) == hundred.sample_ids([99])
    assert batches(there, None, shuffle=shuffle) == batches(hundred, None, shuffle=shuffle)
