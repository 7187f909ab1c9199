"""What Spark adds to a stage, and what a second executor takes away: `clean` on the same frames.

    python benchmarks/spark.py make /tmp/farm --frames 20000
    python benchmarks/spark.py run /tmp/farm local-2 spark-2 spark-1 local-1

`make` draws frames and collects them in place. Each run starts from that catalog: in worker
processes of this machine (`local-N`) or in N executors of one core (`local-cluster[N,1,1024]`),
which read each frame and send back a summary. Seconds are of the whole command, with its start.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import besana

COPY = ".run"


def make(farm: Path, frames: int, width_px: int) -> None:
    """Draw frames of a pen with something in it and collect them where they are."""
    folder = farm.parent / f"{farm.name}-frames" / "pen"
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    size = (width_px * 3 // 4, width_px)
    ground = cv2.GaussianBlur(random.integers(0, 255, (*size, 3), np.uint8), (0, 0), 3)
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for number in range(frames):
        picture = ground.copy()
        x, y = random.integers(0, width_px), random.integers(0, size[0])
        cv2.ellipse(picture, (int(x), int(y)), (60, 30), int(x) % 180, 0, 360, (230, 230, 230), -1)
        name = f"{start + dt.timedelta(minutes=5 * number):%Y-%m-%dT%H-%M-%S}.jpg"
        cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    workspace = besana.Workspace.create(farm)
    settings = {"source": [str(folder.parent)], "in_place": True, "settle_s": 0}
    besana.run_stage(workspace, "collect", settings)
    workspace.catalog.close()


def run(farm: Path, what: str) -> float:
    """Clean a copy of the farm on an engine; gives the seconds."""
    kind, _, number = what.partition("-")
    copy = farm.with_name(farm.name + COPY)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(farm, copy)
    words = ["-m", "besana", "clean", str(copy), "--workers", number, "--max-dropped-share", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if kind == "spark":
        words += ["--engine", "spark"]
        conf = "--conf spark.ui.enabled=false --conf spark.driver.memory=512m"
        environment["PYSPARK_SUBMIT_ARGS"] = (
            f"--master local-cluster[{number},1,1024] {conf} pyspark-shell"
        )
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, env=environment, capture_output=True)
    seconds = time.perf_counter() - started
    shutil.rmtree(copy)
    return seconds


def main() -> None:
    """Make a farm, or run it on engines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["make", "run", "both"], nargs="?", default="both")
    parser.add_argument("farm", type=Path, nargs="?")
    parser.add_argument("engines", nargs="*", default=["local-2", "spark-2"])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--width-px", type=int, default=640)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        farm = arguments.farm or Path(folder) / "farm"
        if arguments.action != "run":
            make(farm, arguments.frames, arguments.width_px)
        if arguments.action != "make":
            compare(farm, arguments.engines)


def compare(farm: Path, engines: list[str]) -> None:
    """Print the seconds of each engine."""
    print(f"load {os.getloadavg()[0]:.1f}")
    for what in engines:
        print(f"{what}: {run(farm, what):.1f} s", flush=True)


if __name__ == "__main__":
    main()
