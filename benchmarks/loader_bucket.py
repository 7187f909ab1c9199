"""How the loader does from a bucket: an S3 server behind a link of 50 ms and 200 Mbit/s.

Run: python benchmarks/loader_bucket.py [--pictures 6000]

The server is moto's, the link a proxy, each in a process of its own on this machine; credentials
are made up. What is measured: bytes that crossed the link beside the bytes of the records, the
rate beside that of the link, the longest wait for a batch (by a loop that takes no time itself, and
by one that needs 0.9 of the link), and the rate of later epochs from the cache on disk beside the
same shards in a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from besana.shards import Loader, Manifest, ManifestWriter, ShardWriter, open_manifest
from besana.shards.writer import sample_example
from besana.storage import Storage, open_storage

LATENCY_S, RATE = 0.05, 200e6 / 8
BATCH, PICTURE = 64, (120, 160)
BATCH_S = BATCH * 3 * PICTURE[0] * PICTURE[1] / RATE
SHARD_BYTES = 16 << 20  # moto reads a whole object for each range of it
RESULTS = Path(__file__).parent / "results"
LINK = Path(__file__).parent.parent / "tests" / "shards" / "bucket_link.py"


def main() -> None:
    """Write shards, serve them, load them, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--folder", type=Path, help="where to keep the shards between runs")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = options.folder or scratch / "shards"
        manifest = write_shards(folder, options.pictures)
        server = stack.enter_context(serve())
        set_environment(server)
        remote = open_storage("s3://farms/shards")
        upload(manifest, remote)
        link = stack.enter_context(Linked(server))
        set_environment(link.port)
        rows = [
            {"what": "link", "rate_mb_s": RATE / 1e6, "pictures_per_s": None},
            *measure(manifest, scratch, link),
        ]
    report(rows, manifest)


def measure(manifest: Manifest, scratch: Path, link: Linked) -> Iterator[dict[str, Any]]:
    """Load from the bucket, block by block, then from the cache, then from the folder."""
    needed = int(manifest.length_bytes.sum())
    remote = open_storage("s3://farms/shards")  # a new client: it goes through the link
    given: dict[str, Any] = {"size": PICTURE, "shuffle": "block", "tail": "pad"}
    with Loader(manifest, None, BATCH, shards=remote, cache=scratch / "cache", **given) as loader:
        for name in ("bucket", "cache, 1st epoch", "cache, 2nd epoch"):
            before = link.counts()
            yield row(name, epoch(loader), link.counts(), before, needed)
    with Loader(manifest, None, BATCH, shards=remote, **given) as loader:
        before = link.counts()
        pace_s = needed / len(manifest) * BATCH / RATE / 0.9
        found = row(
            "bucket, a loop of 0.9 of its rate",
            epoch(loader, pace_s),
            link.counts(),
            before,
            needed,
        )
        yield found
    with Loader(manifest, None, BATCH, **given) as loader:
        for name in ("folder, 1st epoch", "folder, 2nd epoch"):
            yield row(name, epoch(loader), (0, 0), (0, 0), needed)


def epoch(loader: Loader, pace_s: float = 0.0) -> dict[str, float]:
    """Go through an epoch; give seconds to the first batch, in all, and the longest wait.

    Args:
        loader: What to go through.
        pace_s: Seconds that the loop spends on a batch itself.
    """
    started = time.perf_counter()
    times, waits = [], []
    asked = started
    for _ in loader:
        times.append(time.perf_counter())
        waits.append(times[-1] - asked)
        time.sleep(pace_s)
        asked = time.perf_counter()
    return {
        "first_s": times[0] - started,
        "whole_s": times[-1] - started,
        "longest_wait_s": max(waits[1:]),
        "waits_above_a_batch": sum(wait > max(pace_s, BATCH_S) for wait in waits[1:]),
        "pictures": len(loader.positions),
    }


def row(
    name: str,
    times: dict[str, float],
    after: tuple[int, int],
    before: tuple[int, int],
    needed: int,
) -> dict[str, Any]:
    """Make one line of the table."""
    requests, crossed = (b - a for a, b in zip(before, after, strict=True))
    batch_s = needed / times["pictures"] * BATCH / RATE
    return {
        "what": name,
        "rate_mb_s": crossed / times["whole_s"] / 1e6,
        "of_link": crossed / times["whole_s"] / RATE,
        "bytes_of_needed": crossed / needed,
        "requests": requests,
        "first_batch_s": times["first_s"],
        "longest_wait_s": times["longest_wait_s"],
        "waits_above_a_batch": times["waits_above_a_batch"],
        "batch_on_link_s": batch_s,
        "pictures_per_s": times["pictures"] / times["whole_s"],
    }


def report(rows: list[dict[str, Any]], manifest: Manifest) -> None:
    """Print the table and write it as CSV."""
    needed = int(manifest.length_bytes.sum())
    print(f"{len(manifest)} pictures, {needed / 1e6:.0f} MB, blocks of 2 MiB, window of 32")
    names = list(rows[1])
    for line in rows[1:]:
        figures = (f"{key} {value:.3g}" for key, value in line.items() if key != "what")
        print(f"{line['what']:18} " + "  ".join(figures))
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "loader_bucket.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {load:.1f}, see {RESULTS}")


def write_shards(folder: Path, pictures: int) -> Manifest:
    """Write PNG pictures of noise, not compressed: 57 KB each that cost next to nothing to decode.

    So what is measured is the link and not the processor, which server and link share here.
    """
    import cv2

    path = folder / "manifest.parquet"
    if path.exists():
        return open_manifest(path)
    storage = open_storage(folder)
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (100, *PICTURE, 3), dtype=np.uint8)
    plain = [cv2.IMWRITE_PNG_COMPRESSION, 0]
    drawn = [cv2.imencode(".png", pixels, plain)[1].tobytes() for pixels in noise]
    with ManifestWriter(path) as writer:
        number = 0
        while number < pictures:
            with ShardWriter(storage, f"shard-{number:06d}.tfrecord") as shard:
                while number < pictures and shard.size_bytes < SHARD_BYTES:
                    writer.write([_add(shard, number, drawn[number % len(drawn)])])
                    number += 1
    return open_manifest(path)


def _add(shard: ShardWriter, number: int, encoded: bytes) -> dict[str, Any]:
    size = {"height_px": PICTURE[0], "width_px": PICTURE[1], "channels": 3}
    place = shard.add(sample_example(f"cam/{number}/all", encoded, image_format="png", **size))
    fields = {name: getattr(place, name) for name in place.__slots__}
    return {"frame_id": f"cam/{number}", **size, **fields}


def upload(manifest: Manifest, remote: Storage) -> None:
    """Copy the shards to the server, past the link."""
    for key in manifest.shards:
        remote.write(key, manifest.storage.read(key))


@contextlib.contextmanager
def serve() -> Iterator[int]:
    """Run moto's S3 server with an empty bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    try:
        make = urllib.request.Request(f"http://127.0.0.1:{port}/farms", method="PUT")
        for _ in range(100):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(make).close()
                break
            time.sleep(0.2)
        yield port
    finally:
        process.kill()
        process.wait()


class Linked:
    """The link in a process of its own."""

    def __init__(self, target: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(LINK), str(target), str(LATENCY_S), str(RATE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read())

    def counts(self) -> tuple[int, int]:
        """Give requests and bytes of answers so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        requests, sent = self._read().split()
        return int(requests), int(sent)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __enter__(self) -> Linked:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def set_environment(port: int) -> None:
    """Point clients at a port of this machine."""
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
    }
    os.environ.pop("AWS_CA_BUNDLE", None)


if __name__ == "__main__":
    main()
