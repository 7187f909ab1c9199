"""Fifty epochs of every kind of loader: memory, threads, processes and open files do not grow."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import Farm

SOAK = textwrap.dedent("""
    import json, os, sys, time
    import psutil
    sys.path.insert(0, sys.argv[3])
    from test_cache import TaggedBucket
    from besana.shards import Augment, Loader

    def held_bytes(pid):
        lines = open(f"/proc/{pid}/smaps_rollup").read().splitlines()
        return sum(int(l.split()[1]) << 10 for l in lines if l.startswith(("Anonymous:", "Shmem")))

    def count_files(pids):
        time.sleep(0.02)
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)

    def state():
        children = psutil.Process().children()
        pids = [os.getpid(), *(child.pid for child in children)]
        # A process of its own closes the files of an epoch a moment after the loop has left it.
        files = min(count_files(pids) for _ in range(5 if children else 1))
        threads = sum(psutil.Process(pid).num_threads() for pid in pids)
        return sum(map(held_bytes, pids)), threads, files, len(pids)

    options = json.loads(sys.argv[2])
    if options.pop("far"):
        options["shards"] = TaggedBucket(sys.argv[1])
    marks = []
    with Loader(
        sys.argv[1] + "/manifest.parquet", batch_size=20, size=48, threads=2,
        augment=Augment(brightness=0.2), **options
    ) as loader:
        for epoch in range(50):
            for number, batch in enumerate(loader):
                if epoch % 10 == 7 and number == 3:
                    break  # someone leaves in the middle of an epoch
            loader.load_state_dict(loader.state_dict())
            marks.append(state())
        print(json.dumps(marks))
""")

KINDS: list[dict[str, Any]] = [
    {"far": False},
    {"far": False, "process": True},
    {"far": True, "shuffle": "block", "block_bytes": 40_000, "window_blocks": 4},
    {"far": True, "shuffle": "block", "block_bytes": 40_000, "window_blocks": 4, "cache": True},
    {"far": False, "on_error": "substitute", "dtype": "float32"},
]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def noise(number: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)

    folder = tmp_path_factory.mktemp("soak")
    Farm(folder, count=160, picture=noise).write()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("options", KINDS, ids=lambda options: "-".join(map(str, options)))
def test_fifty_epochs_leave_nothing_behind(
    farm: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    given = options | ({"cache": str(tmp_path)} if options.get("cache") else {})
    done = subprocess.run(
        [sys.executable, "-c", SOAK, str(farm), json.dumps(given), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    held, threads, files, processes = zip(*json.loads(done.stdout), strict=True)

    assert max(held[40:]) - max(held[20:30]) < 3 << 20
    assert set(threads[2:]) == {threads[-1]}
    assert max(files[10:]) <= max(files[2:10])
    assert set(processes) == {1 + bool(options.get("process"))}
