"""Faults: every changed byte is seen, errors reach the caller, nothing hangs."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import Farm, jpeg, loader_threads, smooth_picture
from test_reading import CountingBucket
from typing_extensions import override

from besana.errors import CorruptDataError, NotFoundError, StorageError
from besana.images import resize
from besana.shards import Loader, Manifest, open_manifest
from besana.storage import Folder


@pytest.fixture
def farm(tmp_path: Path) -> Manifest:
    return Farm(tmp_path, count=40, shards=2).write()


def shard(manifest: Manifest, number: int = 0) -> Path:
    return Path(manifest.storage.url) / f"shard-{number}.tfrecord"


def load(manifest: Manifest, **options: Any) -> list[int]:
    options = {"batch_size": 8, "size": 8, "threads": 2} | options
    with Loader(manifest, **options) as loader:
        return [int(n) for batch in loader for n in batch.index[batch.valid]]


def cut_inside(path: Path, manifest: Manifest) -> None:
    os.truncate(path, int(manifest.offset_bytes[19]) + 100)


def cut_between(path: Path, manifest: Manifest) -> None:
    os.truncate(path, int(manifest.offset_bytes[19]))


def flip_payload(path: Path, manifest: Manifest) -> None:
    flip(path, int(manifest.payload_offset_bytes(np.array([5]))[0]) + 300)


def flip_length(path: Path, manifest: Manifest) -> None:
    flip(path, int(manifest.offset_bytes[5]) + 1)


def other_shard(path: Path, manifest: Manifest) -> None:
    shutil.copy(shard(manifest, 1), path)


def bytes_before(path: Path, manifest: Manifest) -> None:
    path.write_bytes(b"junk" + path.read_bytes())


def huge_length(path: Path, manifest: Manifest) -> None:
    data = bytearray(path.read_bytes())
    at = int(manifest.offset_bytes[5])
    data[at : at + 8] = (3 << 30).to_bytes(8, "little")
    path.write_bytes(data)


def bytes_between(path: Path, manifest: Manifest) -> None:
    data, at = path.read_bytes(), int(manifest.offset_bytes[10])
    path.write_bytes(data[:at] + b"junk" + data[at:])


def empty(path: Path, manifest: Manifest) -> None:
    path.write_bytes(b"")


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


KINDS = [
    (cut_inside, "cam/00019/all"),
    (cut_between, "cam/00019/all"),
    (flip_payload, "cam/00005/all"),
    (flip_length, "cam/00005/all"),
    (huge_length, "cam/00005/all"),
    (other_shard, "cam/000"),
    (bytes_before, "cam/000"),
    (bytes_between, "cam/000"),
    (empty, "cam/000"),
]


FAR: dict[str, Any] = {"shuffle": "block", "block_bytes": 6000, "window_blocks": 3}


@pytest.mark.parametrize("options", [{}, FAR], ids=["near", "far"])
@pytest.mark.parametrize(("damage", "sample"), KINDS)
def test_corruption_stops_and_names_shard_offset_and_sample(
    farm: Manifest,
    damage: Callable[[Path, Manifest], None],
    sample: str,
    options: dict[str, Any],
) -> None:
    damage(shard(farm), farm)
    if options:
        options = options | {"shards": CountingBucket(farm.storage.url)}

    with pytest.raises(CorruptDataError, match=r"'shard-0.tfrecord' at byte \d+") as caught:
        load(farm, **options)

    assert sample in str(caught.value)


def test_bytes_behind_the_last_record_change_nothing(farm: Manifest) -> None:
    before = load(farm)
    with shard(farm).open("ab") as file:
        file.write(b"junk" * 100)

    assert load(farm) == before


@pytest.mark.slow
def test_every_byte_changed_at_rest_is_found_before_it_is_used(farm: Manifest) -> None:
    """F19: whatever byte of a shard changes, its record is named and not used."""
    path = shard(farm)
    good = path.read_bytes()
    generator = np.random.default_rng(7)
    with Loader(
        farm, batch_size=40, size=8, threads=2, shuffle="none", on_error="substitute",
        max_dropped_share=1.0,
    ) as loader:  # fmt: skip
        for number in range(1000):
            place = int(generator.integers(len(good)))
            flip(path, place, int(generator.integers(8)))
            loader.set_epoch(number)
            (batch,) = loader
            hit = int(np.searchsorted(farm.offset_bytes[:20], place, side="right")) - 1
            assert np.flatnonzero(~batch.valid).tolist() == [hit]
            assert not batch.images[hit].any()
            assert f"cam/{hit:05d}/all" in loader.dropped()[-1]
            path.write_bytes(good)


@pytest.mark.parametrize(("damage", "sample"), KINDS[:5])
def test_corruption_is_replaced_and_counted(
    farm: Manifest, damage: Callable[[Path, Manifest], None], sample: str
) -> None:
    damage(shard(farm), farm)
    options: dict[str, Any] = {"batch_size": 8, "size": 8, "on_error": "substitute"}
    bad = int(sample[4:9])
    runs = []
    for threads in (1, 5):
        with Loader(farm, max_dropped_share=0.05, threads=threads, **options) as loader:
            batches = [(b.index.tolist(), b.labels.tolist()) for b in loader]
            assert len(loader.dropped()) == loader.stats()["dropped"] == 1
            assert sample in loader.dropped()[0]
        runs.append(batches)
    index = np.array([row[0] for row in runs[0]])

    assert runs[0] == runs[1]
    assert bad not in index
    assert index.size == 40
    assert (np.array([row[1] for row in runs[0]]) == index % 3).all()


def test_evaluation_marks_corrupt_samples_invalid(farm: Manifest) -> None:
    flip_payload(shard(farm), farm)
    found = load(farm, shuffle="none", on_error="substitute", max_dropped_share=0.1)

    assert found == [n for n in range(40) if n != 5]


def test_too_many_corrupt_samples_stop_with_a_list(farm: Manifest) -> None:
    other_shard(shard(farm), farm)

    with pytest.raises(CorruptDataError, match=r"more than the share of 0\.05") as caught:
        load(farm, on_error="substitute", max_dropped_share=0.05)

    assert str(caught.value).count("cannot be used: ") >= 3


def test_an_undecodable_picture_with_a_good_checksum_is_named(tmp_path: Path) -> None:
    broken = Farm(
        tmp_path, count=10, shards=1, encode=lambda p: jpeg(p)[:250] if p[0, 0, 0] == 3 else jpeg(p)
    ).write()

    with pytest.raises(CorruptDataError, match=r"cam/00003/all.*JPEG is corrupt"):
        load(broken, shuffle="none")


def test_a_missing_shard_is_named(farm: Manifest) -> None:
    shard(farm).unlink()

    with pytest.raises(NotFoundError, match=r"No shard 'shard-0\.tfrecord'"):
        load(farm, on_error="substitute")


def test_every_flipped_bit_of_a_record_is_found(farm: Manifest) -> None:
    path = shard(farm)
    good = path.read_bytes()
    start, length = int(farm.offset_bytes[5]), int(farm.length_bytes[5])
    generator = np.random.default_rng(2)
    places = [*range(12), *generator.integers(12, length, 120), *range(length - 4, length)]
    for place in places:
        flip(path, start + int(place), int(generator.integers(8)))
        with pytest.raises(CorruptDataError):
            load(farm, positions=[5], batch_size=1, threads=1)
        path.write_bytes(good)
    assert load(farm, positions=[5], batch_size=1) == [5]


class BrokenFolder(Folder):
    """A bucket whose connection fails for one shard."""

    @override
    def local_path(self, key: str) -> None:  # type: ignore[override]
        return None

    @override
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        if "shard-1" in key:
            raise RuntimeError("the connection broke")
        return super().read_range(key, offset, length)


def test_an_error_in_a_thread_reaches_the_caller_and_ends_the_threads(farm: Manifest) -> None:
    before = loader_threads()

    with pytest.raises(RuntimeError, match="the connection broke"):
        load(farm, shards=BrokenFolder(farm.storage.url))

    assert loader_threads() == before


def test_the_loader_works_again_after_an_error(farm: Manifest) -> None:
    flip_payload(shard(farm), farm)
    with Loader(farm, batch_size=8, size=8, threads=2) as loader:
        with pytest.raises(CorruptDataError):
            list(loader)
        flip_payload(shard(farm), farm)
        assert len(list(loader)) == 5


class StuckFolder(BrokenFolder):
    """A network disk that stopped to answer."""

    @override
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        time.sleep(30)
        return b""


def test_the_watchdog_reports_instead_of_hanging(farm: Manifest) -> None:
    started = time.monotonic()
    loader = Loader(farm, batch_size=8, size=8, shards=StuckFolder("/x"), watchdog_s=0.3)

    with pytest.raises(StorageError, match=r"ready for 0\.3 s: \d batches under way.*waiting for"):
        next(iter(loader))

    assert time.monotonic() - started < 10


SCRIPT = """
    import sys, time
    from besana.shards import Loader
    loader = Loader(sys.argv[1] + "/manifest.parquet", batch_size=8, size=32, threads=4)
    print("started", flush=True)
    while True:
        for batch in loader:
            {body}
"""


def script(body: str) -> str:
    return textwrap.dedent(SCRIPT).format(body=body)


def test_ctrl_c_ends_the_process_at_once(farm: Manifest) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", script("pass"), farm.storage.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)

    assert errors.strip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in errors


def test_leaving_in_the_middle_of_an_epoch_is_quiet(farm: Manifest) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script("sys.exit(0)"), farm.storage.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def make_in_child(folder: str, counts: Any) -> None:
    with Loader(f"{folder}/manifest.parquet", batch_size=8, size=8, threads=2) as loader:
        counts.put([n for batch in loader for n in batch.index.tolist()])


def test_a_spawned_child_makes_the_same_batches(farm: Manifest) -> None:
    context = multiprocessing.get_context("spawn")
    counts = context.Queue()
    child = context.Process(target=make_in_child, args=(farm.storage.url, counts))
    child.start()
    found = counts.get(timeout=60)
    child.join(timeout=10)

    assert found == load(farm)
    assert child.exitcode == 0


def count_in_child(loader: Loader, counts: Any) -> None:
    counts.put(sum(len(batch.index) for batch in loader))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_forked_child_opens_its_own_threads(farm: Manifest, dtype: Any) -> None:
    pytest.importorskip("torch")  # whose kernel resizes from now on, after taking a lock
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    with Loader(farm, batch_size=8, size=8, threads=2, dtype=dtype) as loader:
        next(iter(loader))
        with resize._LOCK, loader._pass._finishing:  # type: ignore[union-attr]
            child = context.Process(target=count_in_child, args=(loader, counts))
            child.start()
        assert counts.get(timeout=20) == 40
        child.join(timeout=10)
        assert sum(len(batch.index) for batch in loader) == 40
    assert child.exitcode == 0


def test_a_manifest_of_other_shards_is_found_at_once(tmp_path: Path) -> None:
    Farm(tmp_path / "a", count=10, shards=1).write()
    Farm(tmp_path / "b", count=10, shards=1, picture=lambda n: smooth_picture(n + 100)).write()

    with pytest.raises(CorruptDataError, match=r"'shard-0\.tfrecord' at byte"):
        load(open_manifest(tmp_path / "a/manifest.parquet"), shards=tmp_path / "b")
