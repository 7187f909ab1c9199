"""Memory of the loader: flat from two thousand to two hundred thousand samples, and over epochs."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from shard_farm import Farm

from besana.shards import ManifestWriter
from besana.shards.manifest_writer import MANIFEST_SCHEMA

MEASURE = textwrap.dedent("""
    import json, os, sys, threading
    from besana.shards import Augment, Loader

    def held_bytes():
        lines = open("/proc/self/smaps_rollup").read().splitlines()
        return sum(int(l.split()[1]) << 10 for l in lines if l.startswith(("Anonymous:", "Shmem")))

    def state():
        return held_bytes(), threading.active_count(), len(os.listdir("/proc/self/fd"))

    options = json.loads(sys.argv[2])
    epochs, most = options.pop("epochs"), options.pop("batches")
    marks = []
    with Loader(sys.argv[1], augment=Augment(brightness=0.2), **options) as loader:
        for _ in range(epochs):
            for number, batch in enumerate(loader):
                if number + 1 == most:
                    break
            marks.append(state())
        status = open("/proc/self/status").read()
        peak = int(status.split("VmHWM:")[1].split()[0]) << 10
        budget = loader.memory.total_bytes
        print(json.dumps({"marks": marks, "budget": budget, "peak": peak}))
""")


def measure(manifest: Path, **options: int | str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(manifest), json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    )
    return json.loads(done.stdout)


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred pictures, and manifests that name them again and again."""
    folder = tmp_path_factory.mktemp("many")
    manifest = Farm(folder, count=200, picture=noise).write()
    columns = {
        name: np.asarray(getattr(manifest, name))
        for name in ("offset_bytes", "length_bytes", "payload_length_bytes", "crc32c")
    }
    columns["payload_offset_bytes"] = manifest.payload_offset_bytes(np.arange(200))
    for name in ("height_px", "width_px", "channels"):
        columns[name] = getattr(manifest, name)
    for count in (2_000, 200_000):
        with ManifestWriter(folder / f"{count}.parquet") as writer:
            for start in range(0, count, 2_000):
                at = np.arange(start, start + 2_000) % 200
                rows = pa.table({name: column[at] for name, column in columns.items()})
                names = pa.array([f"cam/{start + n:07d}" for n in range(2_000)])
                shards = pa.array([manifest.shards[manifest.shard[n]] for n in at])
                rows = rows.append_column("frame_id", names).append_column("shard", shards)
                splits = pa.array(["train"] * 2_000)
                writer.write(rows.append_column("split", splits))
    assert set(rows.column_names) < set(MANIFEST_SCHEMA.names)
    return folder


@pytest.mark.slow
def test_memory_is_flat_from_2_thousand_to_200_thousand_samples(folder: Path) -> None:
    few = measure(folder / "2000.parquet", epochs=1, batches=20)
    many = measure(folder / "200000.parquet", epochs=1, batches=20)

    assert many["peak"] < 1.1 * few["peak"]  # type: ignore[operator]
    grown = many["marks"][0][0] - few["marks"][0][0]  # type: ignore[index]
    assert grown / 198_000 < 80  # index, selection and order


@pytest.mark.slow
def test_nothing_grows_over_epochs(folder: Path) -> None:
    found = measure(folder / "2000.parquet", epochs=10, batches=0, size=64)
    marks = found["marks"]
    assert isinstance(marks, list)
    bytes_held, threads, files = zip(*marks, strict=True)

    assert max(bytes_held[5:]) < 1.05 * bytes_held[2]
    assert len(set(threads)) == 1
    assert files[-1] <= files[1]


@pytest.mark.slow
def test_a_small_budget_is_kept(folder: Path) -> None:
    """What the loader adds to the process stays under its budget, whatever threads are asked."""
    least = measure(folder / "2000.parquet", epochs=1, batches=1, size=8, batch_size=1, threads=1)
    found = measure(folder / "2000.parquet", epochs=2, batches=0, threads=16, memory_bytes=60 << 20)
    base, peak = least["marks"][0][0], found["marks"][1][0]  # type: ignore[index]

    assert found["budget"] <= 60 << 20  # type: ignore[operator]
    assert peak - base < 60 << 20
