"""Batches from a process of its own: the same as from threads; either side may die."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from shard_farm import Farm
from typing_extensions import override

from besana.errors import ConfigError, CorruptDataError, StorageError
from besana.shards import Augment, Loader, Manifest
from besana.storage import Folder

OPTIONS: dict[str, Any] = {"batch_size": 16, "size": 12, "threads": 2}


def taken(manifest: Manifest, **options: Any) -> list[tuple[list[int], list[int], bytes]]:
    with Loader(manifest, **(OPTIONS | options)) as loader:
        return [
            (b.index.tolist(), b.labels.tolist(), b.images.tobytes())
            for _ in range(2)
            for b in loader
        ]


def child_of(loader: Loader) -> psutil.Process:
    return psutil.Process(loader._feed._child._process.pid)  # type: ignore[attr-defined]


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


@pytest.mark.parametrize("shuffle", ["global", pytest.param("none", marks=pytest.mark.slow)])
def test_a_process_gives_the_same_batches_as_threads(hundred: Manifest, shuffle: str) -> None:
    options: dict[str, Any] = {"shuffle": shuffle, "augment": Augment(brightness=0.2), "seed": 3}

    assert taken(hundred, process=True, **options) == taken(hundred, **options)


def test_it_resumes_breaks_off_and_counts(hundred: Manifest) -> None:
    with Loader(hundred, **OPTIONS) as loader:
        whole = [batch.index.tolist() for _ in range(2) for batch in loader]
    with Loader(hundred, process=True, **OPTIONS) as loader:
        for _, _batch in zip(range(3), loader, strict=False):
            state = loader.state_dict()
        again = [batch.index.tolist() for batch in loader]
        loader.load_state_dict(state)
        rest = [batch.index.tolist() for _ in range(2) for batch in loader]
        stats = loader.stats()

    assert again == whole[:6]
    assert rest[: len(whole) - 3] == whole[3:]
    assert stats["pictures"] >= 16 * 18
    assert stats["bound_by"] in ("reading", "decoding", "consumer")


def test_kept_batches_are_never_overwritten(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=5, size=16, threads=2, process=True) as loader:
        kept = list(loader)
        assert loader.stats()["extra_batches"] == 20 - loader.memory.slots
    with Loader(hundred, batch_size=5, size=16, threads=2) as loader:
        for mine, batch in zip(kept, loader, strict=True):
            assert (mine.images == batch.images).all()


@pytest.mark.slow
def test_slots_come_back_when_batches_are_let_go(hundred: Manifest) -> None:
    with Loader(hundred, batch_size=5, size=16, threads=2, process=True) as loader:
        places = {b.images.__array_interface__["data"][0] for _ in range(2) for b in loader}
        assert loader.stats()["extra_batches"] == 0
        slots = loader.memory.slots

    assert len(places) <= slots


@pytest.mark.slow
def test_a_corrupt_record_is_named(tmp_path: Path) -> None:
    manifest = Farm(tmp_path, count=40, shards=2).write()
    path = tmp_path / "shard-0.tfrecord"
    data = bytearray(path.read_bytes())
    data[int(manifest.payload_offset_bytes(np.array([5]))[0]) + 300] ^= 1
    path.write_bytes(data)
    with Loader(manifest, batch_size=8, size=8, threads=2, process=True) as loader:
        with pytest.raises(CorruptDataError, match=r"cam/00005/all.*'shard-0\.tfrecord'"):
            list(loader)
        data[int(manifest.payload_offset_bytes(np.array([5]))[0]) + 300] ^= 1
        path.write_bytes(data)
        assert len(list(loader)) == 5


@pytest.mark.slow
def test_a_replaced_manifest_is_found(tmp_path: Path) -> None:
    manifest = Farm(tmp_path, count=20, shards=1).write()
    Farm(tmp_path, count=24, shards=1).write()

    with (
        Loader(manifest, batch_size=8, size=8, process=True) as loader,
        pytest.raises(CorruptDataError, match="replaced"),
    ):
        next(iter(loader))


def test_a_killed_process_is_reported_and_started_again(hundred: Manifest) -> None:
    with Loader(hundred, process=True, **OPTIONS) as loader:
        iterator = iter(loader)
        first = next(iterator).index.tolist()
        state = loader.state_dict()
        child_of(loader).kill()
        with pytest.raises(StorageError, match=r"process died \(exit status -9\)"):
            list(iterator)
        loader.load_state_dict(state)
        rest = [batch.index.tolist() for batch in loader]

    assert [first, *rest] == [row[0] for row in taken(hundred)[:6]]


@pytest.mark.slow
def test_a_stopped_process_does_not_hang_the_loop(hundred: Manifest) -> None:
    with Loader(hundred, process=True, watchdog_s=0.2, **OPTIONS) as loader:
        iterator = iter(loader)
        next(iterator)
        child = loader._feed._child  # type: ignore[attr-defined]
        child._wait_s = 0.3
        os.kill(child._process.pid, signal.SIGSTOP)
        with pytest.raises(StorageError, match="did not answer"):
            list(iterator)


@pytest.mark.slow
def test_closing_and_forgetting_end_the_process(hundred: Manifest) -> None:
    loader = Loader(hundred, process=True, **OPTIONS)
    batch = next(iter(loader))
    before = batch.images.copy()
    child = child_of(loader)
    loader.close()
    assert not child.is_running()
    assert (batch.images == before).all()
    loader = Loader(hundred, process=True, **OPTIONS)
    next(iter(loader))
    child = child_of(loader)
    del loader
    wait_for(lambda: not child.is_running())


SCRIPT = textwrap.dedent("""
    import sys, time
    from besana.shards import Loader
    loader = Loader(
        sys.argv[1] + "/manifest.parquet", batch_size=16, size=12, threads=2, process=True
    )
    for batch in loader:
        print(loader._feed._child._process.pid, flush=True)
        {then}
""")  # without an `if __name__` guard: the process does not run the script again


def start(manifest: Manifest, then: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    script = SCRIPT.replace("{then}", then)
    process = subprocess.Popen(
        [sys.executable, "-c", script, manifest.storage.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, psutil.Process(int(process.stdout.readline()))


@pytest.mark.slow
def test_the_process_ends_when_its_user_is_killed(hundred: Manifest) -> None:
    process, child = start(hundred, "time.sleep(60)")
    process.kill()
    process.communicate()

    wait_for(lambda: not child.is_running())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupt", "leave"])
def test_ctrl_c_and_leaving_are_quiet(hundred: Manifest, how: str) -> None:
    process, child = start(hundred, "time.sleep(60)" if how == "interrupt" else "sys.exit(0)")
    if how == "interrupt":
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert errors == "" or errors.strip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in errors
    wait_for(lambda: not child.is_running())


class OtherFolder(Folder):
    """A storage that only this process knows."""

    @override
    def local_path(self, key: str) -> Path:
        return super().local_path(key)


def test_a_storage_that_only_this_process_knows_is_refused(hundred: Manifest) -> None:
    with pytest.raises(ConfigError, match="OtherFolder"):
        Loader(hundred, shards=OtherFolder(hundred.storage.url), process=True, **OPTIONS)
