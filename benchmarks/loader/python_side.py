"""How many pictures a second the loader's own Python keeps up with, if decoding had many cores.

Run: python benchmarks/loader/python_side.py FOLDER [--threads 16] [--loaders 1] [--decode-us 640]
                                                    [--native]

Decoding and resizing are replaced by a sleep that holds no lock, as long as both take on one core;
everything else is the loader: order, plan, reading, checksum, parts, batches. With --native it is
the whole call of the native part, which reads and checks too. FOLDER is a picture set in the
format `parts`, as `run.py --folder` keeps it. Several loaders share the threads, each a rank in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from besana.shards import Augment, Loader, decoding, pictures

BATCH, SIZE = 64, 224


def main() -> None:
    """Run some epochs and print pictures a second and processor time a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--loaders", type=int, default=1)
    parser.add_argument("--decode-us", type=float, default=640.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--native", action="store_true", help="the native part fills batches")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        print(json.dumps(measure(options)))
        return
    command = [sys.executable, __file__, *sys.argv[1:], "--rank"]
    started = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE)
        for rank in range(options.loaders)
    ]
    found = [json.loads(process.communicate()[0]) for process in started]
    limit = options.threads / options.decode_us * 1e6
    print("native part," if options.native else "Python alone,", end=" ")
    print(f"{options.threads} threads in {options.loaders} processes that sleep", end=" ")
    print(f"{options.decode_us:g} us a picture instead of decoding it:", end=" ")
    print(f"{sum(rate for rate, _ in found):,.0f} pictures/s (at most {limit:,.0f}),", end=" ")
    print(f"{np.mean([cpu_us for _, cpu_us in found]):.0f} us of the processor a picture;", end=" ")
    print(f"load {os.getloadavg()[0]:.1f}")


def measure(options: argparse.Namespace) -> tuple[float, float]:
    """Measure one loader."""
    (replace_native if options.native else replace)(options.decode_us / 1e6)
    loader = Loader(
        options.folder / "manifest.parquet",
        batch_size=BATCH * options.loaders,
        size=SIZE,
        augment=Augment(crop_area_share=(0.08, 1.0)),
        fit="crop",
        threads=options.threads // options.loaders,
        memory_bytes=2 << 30,
        rank=options.rank,
        ranks=options.loaders,
        native=options.native,
    )
    with loader:
        run(loader, 1.0)
        return run(loader, options.seconds)


def replace(seconds: float) -> None:
    """Put a sleep in place of what works without the interpreter's lock."""
    whole = np.zeros((2048, 2048, 3), np.uint8)

    def decode(data: Any, *settings: Any) -> Any:
        time.sleep(seconds)
        rows, columns, scale = settings[3:6]
        if scale > 1:
            return whole[:rows, :columns]
        height, width = decoding.simplejpeg.decode_jpeg_header(data)[:2]
        return whole[:height, :width]

    decoding.simplejpeg.decode_jpeg = decode
    pictures.resize = lambda pixels, size, out=None: out
    pictures.cv2.flip = lambda pixels, code, dst: dst


def replace_native(seconds: float) -> None:
    """Put a sleep in place of the native part's call."""
    import besana_native

    class Sleeper:
        def __init__(self, *_: Any) -> None:
            pass

        def fill(self, orders: Any, *_: Any) -> tuple[bytes, float]:
            time.sleep(seconds * len(orders))
            return bytes([1]) * len(orders), 0.0

    besana_native.Filler = Sleeper


def run(loader: Loader, seconds: float) -> tuple[float, float]:
    """Take batches for some seconds; give pictures a second and processor microseconds a one."""
    begun, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        for batch in loader:
            count += len(batch.images)
    passed = time.perf_counter() - begun
    return count / passed, 1e6 * (time.process_time() - cpu) / count


if __name__ == "__main__":
    main()
