"""The cache on disk: never above its cap, and never in the way of the bytes."""

import os
import resource
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import Farm
from test_reading import BLOCKS, CountingBucket
from typing_extensions import override

from besana.errors import CorruptDataError, StorageError
from besana.shards import Loader, Manifest
from besana.shards.cache import BlockCache, Ledger

PIECE = 1000


def used_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.iterdir() if p.name != "ledger")


def data(number: int, length: int = PIECE) -> bytes:
    return np.random.default_rng(number).bytes(length)


def test_ranges_come_back_as_they_were(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 10**6)
    whole = data(0, 3000)
    cache.put("a 1", 500, whole[:1000])
    cache.put("a 1", 1500, whole[1000:])

    assert cache.get("a 1", 500, 3000) == whole
    assert cache.get("a 1", 700, 100) == whole[200:300]
    assert cache.get("a 1", 1400, 200) == whole[900:1100]
    assert cache.get("a 1", 499, 10) is None
    assert cache.get("a 1", 3400, 101) is None
    assert cache.get("a 2", 500, 10) is None
    assert cache.counts.errors == 0
    assert BlockCache(tmp_path, 10**6).get("a 1", 500, 3000) == whole


def test_overlapping_pieces_serve_what_any_of_them_holds(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 10**6)
    whole = data(0, 3000)
    cache.put("a", 100, whole[100:200])
    cache.put("a", 0, whole)
    cache.put("a", 0, whole[:50])

    assert cache.get("a", 0, 3000) == whole
    assert cache.get("a", 150, 1000) == whole[150:1150]
    assert used_bytes(tmp_path) == 104 + 3004


def test_the_cap_holds_to_the_byte(tmp_path: Path) -> None:
    cap = 3 * (PIECE + 4)
    cache = BlockCache(tmp_path, cap)
    for number in range(5):
        cache.put("a", number * PIECE, data(number))
        assert used_bytes(tmp_path) <= cap

    assert used_bytes(tmp_path) == cap
    assert [cache.get("a", n * PIECE, PIECE) is not None for n in range(5)] == [True] * 3 + [
        False
    ] * 2
    assert BlockCache(tmp_path, cap - 1).get("a", 0, PIECE) == data(0)


FILL = textwrap.dedent("""
    import os, sys
    from besana.shards.cache import BlockCache
    cache = BlockCache(sys.argv[1], int(sys.argv[2]))
    for number in range(60):
        cache.put(sys.argv[3], number * 1000, os.urandom(1000))
""")


def test_processes_that_share_a_folder_keep_the_cap_together(tmp_path: Path) -> None:
    cap = 100 * (PIECE + 4) + 17
    processes = [
        subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), str(cap), f"a {number}"])
        for number in range(4)
    ]
    most = 0
    while any(process.poll() is None for process in processes):
        names = [name for name in os.listdir(tmp_path) if "-" in name and name[0] != "."]
        most = max(most, sum(int(name.rpartition("-")[2]) + 4 for name in names))
        time.sleep(0.01)

    assert [process.returncode for process in processes] == [0] * 4
    assert most <= cap
    assert used_bytes(tmp_path) == 100 * (PIECE + 4)


def test_what_nobody_uses_makes_room(tmp_path: Path) -> None:
    cap = 3 * (PIECE + 4)
    old = BlockCache(tmp_path, cap)
    for number in range(3):
        old.put("old", number * PIECE, data(number))
    hour_ago = time.time() - 3700
    for path in list(tmp_path.iterdir())[:4]:
        if path.name != "ledger":
            os.utime(path, (hour_ago, hour_ago))
    new = BlockCache(tmp_path, cap)
    for number in range(3):
        new.put("new", number * PIECE, data(number + 10))

    assert [new.get("new", n * PIECE, PIECE) for n in range(3)] == [data(n + 10) for n in range(3)]
    assert used_bytes(tmp_path) == cap
    young = BlockCache(tmp_path, cap)
    young.put("third", 0, data(99))
    assert young.get("third", 0, PIECE) is None


def test_half_written_pieces_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 10**4)
    assert ledger.take(b"12345678", 5000)
    part = tmp_path / f".part-{b'12345678'.hex()}-5000"
    part.write_bytes(b"half")
    assert BlockCache(tmp_path, 10**4)._ledger.total() == 5000  # type: ignore[union-attr]
    hour_ago = time.time() - 3700
    os.utime(part, (hour_ago, hour_ago))

    assert BlockCache(tmp_path, 10**4)._ledger.total() == 0  # type: ignore[union-attr]
    assert not part.exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "gone", "folder", "link"])
def test_a_damaged_piece_is_read_through_and_replaced(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "cache"
    cache = BlockCache(folder, 10**6)
    cache.put("a", 0, data(0))
    (piece,) = [path for path in folder.iterdir() if path.name != "ledger"]
    content = bytearray(piece.read_bytes())
    if damage == "flip":
        content[500] ^= 1
        piece.write_bytes(content)
    elif damage == "cut":
        os.truncate(piece, 300)
    elif damage == "longer":
        piece.write_bytes(content + b"x")
    elif damage == "gone":
        piece.unlink()
    elif damage == "folder":
        shutil.rmtree(folder)
    else:
        piece.unlink()
        piece.symlink_to("/dev/zero")

    assert cache.get("a", 0, PIECE) is None
    assert cache.counts.errors == 1
    cache.put("a", 0, data(0))
    assert cache.get("a", 0, PIECE) == data(0)


def test_a_full_disk_keeps_nothing_and_takes_no_room(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 10**6)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        cache.put("a", 0, data(0, 5000))
        assert cache.get("a", 0, 5000) is None
        assert cache.counts.errors == 1
        assert used_bytes(tmp_path) == cache._ledger.total() == 0  # type: ignore[union-attr]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    cache.put("a", 0, data(0, 5000))
    assert cache.get("a", 0, 5000) == data(0, 5000)


def test_a_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = BlockCache(tmp_path / "file", 10**6)
    cache.put("a", 0, data(0))

    assert cache.get("a", 0, PIECE) is None
    assert cache.counts.errors == 1


class TaggedBucket(CountingBucket):
    """A bucket whose objects have tags, as S3's have."""

    asked = 0

    @override
    def read_version(self, key: str, offset: int, length: int, tag: str) -> tuple[bytes, str]:
        state = (self.root / key).stat()
        found = f"{state.st_mtime_ns}"
        if tag and tag != found:
            raise StorageError(f"'{key}' in {self.url} was replaced.", "Start again.")
        self.asked += length == 0
        return self.read_range(key, offset, length) if length else b"", found


@pytest.mark.parametrize("options", [BLOCKS, {"shuffle": "global"}])
def test_a_cached_epoch_asks_the_bucket_for_nothing(
    hundred: Manifest, tmp_path: Path, options: dict[str, Any]
) -> None:
    bucket = TaggedBucket(hundred.storage.url)
    given = {"batch_size": 20, "size": 8, "threads": 2, **options}
    with Loader(hundred, shards=bucket, cache=tmp_path, **given) as loader:
        epochs = []
        asked = []
        for _ in range(3):
            epochs.append([(b.index.tolist(), b.images.tobytes()) for b in loader])
            asked.append(len(bucket.ranges))
        stats = loader.stats()
    with Loader(hundred, shards=CountingBucket(hundred.storage.url), **given) as loader:
        expected = [[(b.index.tolist(), b.images.tobytes()) for b in loader] for _ in range(3)]

    assert epochs == expected
    assert asked[0] == asked[1] == asked[2]
    assert bucket.asked == 4
    assert stats["requests"] == asked[2] + 4
    assert stats["fetched_bytes"] == int(hundred.length_bytes.sum())
    assert stats["cached_bytes"] == 2 * int(hundred.length_bytes.sum())
    assert stats["cache_errors"] == 0


def test_a_cache_that_holds_half_of_it_helps_with_half(hundred: Manifest, tmp_path: Path) -> None:
    bucket = TaggedBucket(hundred.storage.url)
    needed = int(hundred.length_bytes.sum())
    with Loader(
        hundred, batch_size=20, size=8, shards=bucket, cache=tmp_path, cache_bytes=needed // 2,
        **BLOCKS,
    ) as loader:  # fmt: skip
        for _ in range(3):
            assert len(list(loader)) == 5
        fetched = loader.stats()["fetched_bytes"]

    assert used_bytes(tmp_path) <= needed // 2
    assert needed * 1.8 < fetched < needed * 2.5


def test_a_cache_deleted_or_damaged_meanwhile_changes_nothing(
    hundred: Manifest, tmp_path: Path
) -> None:
    bucket = TaggedBucket(hundred.storage.url)
    folder = tmp_path / "cache"
    given: dict[str, Any] = {"batch_size": 20, "size": 8, "threads": 2, **BLOCKS}
    with Loader(hundred, shards=bucket, cache=folder, **given) as loader:
        list(loader)
        shutil.rmtree(folder)
        second = [batch.index.tolist() for batch in loader]
        for path in folder.iterdir():
            if path.name != "ledger":
                path.write_bytes(os.urandom(path.stat().st_size))
        third = [batch.images.tobytes() for batch in loader]
        errors = loader.stats()["cache_errors"]
    with Loader(hundred, **given) as loader:
        list(loader)
        assert [batch.index.tolist() for batch in loader] == second
        assert [batch.images.tobytes() for batch in loader] == third

    assert errors > 0


class NoisyBucket(TaggedBucket):
    """A bucket behind a link that changes a byte of every large answer, or of all."""

    always = False

    @override
    def read_version(self, key: str, offset: int, length: int, tag: str) -> tuple[bytes, str]:
        data, found = super().read_version(key, offset, length, tag)
        if self.always or length > 3000:
            changed = bytearray(data)
            changed[length // 2 : length // 2 + 1] = b"?"
            return bytes(changed), found
        return data, found


@pytest.mark.parametrize("cached", [True, False])
def test_what_broke_on_its_way_is_fetched_again(
    hundred: Manifest, tmp_path: Path, *, cached: bool
) -> None:
    bucket = NoisyBucket(hundred.storage.url)
    given: dict[str, Any] = {"batch_size": 20, "size": 8, "threads": 2, **BLOCKS}
    with Loader(hundred, **given) as loader:
        expected = [(b.index.tolist(), b.images.tobytes()) for _ in range(2) for b in loader]
    folder = tmp_path if cached else None
    with Loader(hundred, shards=bucket, cache=folder, **given) as loader:
        found = [(b.index.tolist(), b.images.tobytes()) for _ in range(2) for b in loader]
        fetched = loader.stats()["fetched_bytes"]

    assert found == expected
    assert fetched > int(hundred.length_bytes.sum())


def test_what_stays_broken_is_named(hundred: Manifest) -> None:
    bucket = NoisyBucket(hundred.storage.url)
    bucket.always = True

    with (
        Loader(hundred, batch_size=20, size=8, shards=bucket) as loader,
        pytest.raises(CorruptDataError, match=r"Sample 'cam/\d+/all' in 'shard-"),
    ):
        list(loader)


@pytest.mark.parametrize("cached", [True, False])
def test_a_shard_replaced_under_the_loader_is_found(tmp_path: Path, *, cached: bool) -> None:
    manifest = Farm(tmp_path / "farm", count=80, shards=1).write()
    bucket = TaggedBucket(tmp_path / "farm")
    cache = tmp_path / "cache" if cached else None
    with Loader(manifest, batch_size=4, size=8, threads=1, shards=bucket, cache=cache) as loader:
        iterator = iter(loader)
        next(iterator)
        shard = tmp_path / "farm/shard-0.tfrecord"
        shutil.copyfile(shard, tmp_path / "copy")
        (tmp_path / "copy").replace(shard)
        with pytest.raises(StorageError, match=r"'shard-0\.tfrecord'.*replaced"):
            list(iterator)
