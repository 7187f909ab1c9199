"""What ten million samples cost the loader: seconds to the first batch, and memory.

Run: python benchmarks/manifest.py [--samples 10000 1000000 10000000]

The manifest is synthetic: it names the records of one small shard again and again, so that every
sample can be loaded. Each size is measured in a process of its own. Memory is anonymous and
shared memory together (`smaps_rollup`), as the system would have to keep it; the mapped index
is the page cache's, which gives way.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from besana.shards import Augment, Loader, Manifest, ManifestWriter, ShardWriter, open_manifest
from besana.shards.mapped import MAPPED_ROWS
from besana.shards.writer import sample_example
from besana.storage import open_storage

RESULTS = Path(__file__).parent / "results"
BATCHES, EPOCHS = 60, 5
COLUMNS = ("offset_bytes", "length_bytes", "payload_length_bytes", "crc32c", "height_px")
COLUMNS += ("width_px", "channels")
STEP = 200_000


def main() -> None:
    """Write each manifest, measure it in a fresh process, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--shuffle", nargs="+", default=["global", "block"])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.shuffle[0])))
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        small = write_shard(Path(scratch))
        for samples in options.samples:
            path = Path(scratch) / f"{samples}.parquet"
            write_manifest(small, path, samples)
            started = time.perf_counter()
            index_bytes = open_manifest(path).held_bytes / samples
            opened_s = time.perf_counter() - started
            for shuffle in options.shuffle:
                rows.append(run_apart(path, shuffle))
                rows[-1] |= {
                    "samples": samples,
                    "shuffle": shuffle,
                    "index_bytes_a_sample": round(index_bytes, 1),
                    "first_open_s": round(opened_s, 2) if samples >= MAPPED_ROWS else None,
                }
                print(rows[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


def run_apart(path: Path, shuffle: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", str(path), "--shuffle", shuffle]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(path: Path, shuffle: Any) -> dict[str, Any]:
    """Open, load the first batch, then some batches of several epochs."""
    started = time.perf_counter()
    with Loader(path, "train", 64, 224, augment=Augment(), shuffle=shuffle) as loader:
        next(iter(loader))
        first_s = time.perf_counter() - started
        marks = []
        for number in range(EPOCHS):
            loader.set_epoch(number)
            for _, _batch in zip(range(BATCHES), loader, strict=False):
                pass
            marks.append(round(held_bytes() / 1e6))
    return {"first_batch_s": round(first_s, 2), "peak_mb": peak_mb(), "held_mb": marks}


def held_bytes() -> int:
    """Tell the anonymous and shared memory of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(s.split()[1]) << 10 for s in lines if s.startswith(("Anonymous:", "Shmem")))


def peak_mb() -> int:
    """Tell the largest resident memory so far, the mapped index included."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1000


def write_shard(folder: Path) -> Manifest:
    """Write a hundred pictures."""
    import simplejpeg

    generator = np.random.default_rng(0)
    storage = open_storage(folder)
    size = {"height_px": 256, "width_px": 341, "channels": 3}
    with ManifestWriter(storage) as writer, ShardWriter(storage, "a.tfrecord") as shard:
        for number in range(100):
            coarse = generator.integers(0, 256, (32, 43, 3), dtype=np.uint8)
            pixels = coarse.repeat(8, 0).repeat(8, 1)[:256, :341]
            encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 90)
            example = sample_example(f"{number}/all", encoded, image_format="jpeg", **size)
            place = shard.add(example)
            fields = {name: getattr(place, name) for name in place.__slots__}
            writer.write([{"frame_id": str(number), **size, **fields}])
    return open_manifest(storage)


def write_manifest(small: Manifest, path: Path, samples: int) -> None:
    """Name the same records again and again, sorted by their place."""
    columns = {name: np.asarray(getattr(small, name)) for name in COLUMNS}
    columns["payload_offset_bytes"] = small.payload_offset_bytes(np.arange(len(small)))
    with ManifestWriter(path) as writer:
        for start in range(0, samples, STEP):
            count = min(STEP, samples - start)
            at = (start + np.arange(count)) * len(small) // samples
            rows = {name: column[at] for name, column in columns.items()}
            rows["frame_id"] = pa.array(np.char.mod("cam/%08d", start + np.arange(count)))
            rows["shard"] = pa.array(["a.tfrecord"] * count)
            rows["split"] = pa.array(["train"] * count)
            rows["label"] = (at % 10).astype(np.int32)
            writer.write(pa.table(rows))


if __name__ == "__main__":
    main()
