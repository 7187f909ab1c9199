"""What Spark adds to a stage, and what a second executor takes away: `clean` on the same frames.

    python benchmarks/spark.py make /tmp/farm --frames 20000
    python benchmarks/spark.py run /tmp/farm local-2 spark-2 spark-1 spark-inside-2

`make` draws frames and collects them in place. Each run starts from that catalog: in worker
processes of this machine (`local-N`), in N executors of one core (`spark-N`, which is the master
local-cluster[N,1,1024]), or in Spark's own process with N tasks at a time (`spark-inside-N`, which
is local[N]). Tasks read frames and send back summaries. Seconds are of the whole command.
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
MASTERS = {"spark": "local-cluster[{},1,1024]", "spark-inside": "local[{}]"}


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
    kind, _, number = what.rpartition("-")
    copy = farm.with_name(farm.name + COPY)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(farm, copy)
    words = ["-m", "besana", "clean", str(copy), "--workers", number, "--max-dropped-share", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if kind.startswith("spark"):
        words += ["--engine", "spark"]
        java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # docs/how-to/spark.md, "What Spark adds"
        conf = (
            "--conf spark.ui.enabled=false --conf spark.driver.memory=512m"
            f" --conf 'spark.driver.extraJavaOptions={java}'"
            f" --conf 'spark.executor.extraJavaOptions={java}'"
        )
        environment["PYSPARK_SUBMIT_ARGS"] = (
            f"--master {MASTERS[kind].format(number)} {conf} pyspark-shell"
        )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], check=False, env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 3):  # 3: frames were kept out, as near-duplicates are
        raise SystemExit(done.stderr[-3000:])
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
    for what in engines:
        before = os.getloadavg()[0]
        seconds = run(farm, what)
        print(f"{what}: {seconds:.1f} s, load {before:.1f} to {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
