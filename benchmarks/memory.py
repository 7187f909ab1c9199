"""Peak memory of every stage at growing numbers of samples: it must stay flat.

Run: python benchmarks/memory.py --samples 2000 20000 200000
Each stage runs in a process of its own; the figure is what its report says: the largest resident
memory of the driver or of one of its workers. Pictures are small and different from each other.
With --keep the workspaces stay, and a later call continues with the stages that it names.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg

STAGES = [
    "collect",
    "clean",
    "prepare",
    "label",
    "split",
    "train",
    "evaluate",
    "register",
    "predict",
    "answers",
]
SETTINGS = """
[cameras.north]
files = "north/*"
[cameras.south]
files = "south/*"
[collect]
in_place = true
[label]
classes = ["light", "dim"]
[split]
method = "last_days"
[train]
strategy = "scratch"
epochs = 1
size_px = 32
"""


def frames(samples: int) -> Iterator[tuple[str, dt.datetime, int]]:
    """Name the frames: two cameras, one frame every five minutes each, two brightnesses."""
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    for number in range(samples):
        at = start + dt.timedelta(minutes=5 * (number // 2))
        camera = ("north", "south")[number % 2]
        yield f"{camera}/{at:%Y-%m-%dT%H-%M-%S}.jpg", at, (number // 7) % 2


def write_farm(folder: Path, samples: int) -> None:
    """Write the pictures, their labels and a workspace."""
    photos = folder / "photos"
    for camera in ("north", "south"):
        (photos / camera).mkdir(parents=True)
    random = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "region", "class", "annotator", "time"])
        for name, at, bright in frames(samples):
            low = 120 if bright else 60
            pixels = random.integers(low, low + 90, (48, 48, 3), dtype=np.uint8)
            (photos / name).write_bytes(simplejpeg.encode_jpeg(pixels, quality=80))
            writer.writerow([name, "all", "light" if bright else "dim", "truth", at.isoformat()])
    (folder / "farm").mkdir()
    (folder / "farm" / "besana.toml").write_text(SETTINGS)


def run_stage(folder: Path, stage: str) -> tuple[float, float]:
    """Run a stage as a user would; return its peak in MB and its seconds."""
    extra = {"collect": [str(folder / "photos")], "label": [str(folder / "labels.csv")]}
    command = [sys.executable, "-m", "besana", stage, str(folder / "farm"), *extra.get(stage, [])]
    started = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{stage} failed:\n{done.stdout}\n{done.stderr}")
    report = json.loads((folder / "farm" / "reports" / f"{stage}.json").read_text())
    return report["peak_memory_bytes"] / 1e6, time.perf_counter() - started


def main() -> None:
    """Print one line a stage: megabytes and seconds at each size, and largest over smallest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results/memory"))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--keep", action="store_true", help="keep the workspaces")
    options = parser.parse_args()
    measured: dict[str, list[tuple[float, float]]] = {stage: [] for stage in options.stages}
    for samples in options.samples:
        folder = options.folder / str(samples)
        if not (folder / "farm").exists():
            shutil.rmtree(folder, ignore_errors=True)
            write_farm(folder, samples)
        for stage in options.stages:
            measured[stage].append(run_stage(folder, stage))
            peak, seconds = measured[stage][-1]
            print(f"{samples:>9,} {stage:<9} {peak:8.0f} MB {seconds:8.1f} s", flush=True)
        if not options.keep:
            shutil.rmtree(folder)
    print(f"\n{'stage':<10}" + "".join(f"{n:>12,}" for n in options.samples) + "   last/first")
    for stage, values in measured.items():
        peaks = "".join(f"{peak:>9.0f} MB" for peak, _ in values)
        print(f"{stage:<10}{peaks}   {values[-1][0] / values[0][0]:.2f}")


if __name__ == "__main__":
    main()
