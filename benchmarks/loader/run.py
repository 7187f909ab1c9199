"""How fast the loader is beside tf.data, the loaders of the PyTorch world, and the bare decoder.

Run: python benchmarks/loader/run.py [--python PEERS/bin/python] [--groups ...] [--rounds 3]

Every contender runs in a process of its own, in turn, in rounds; the page cache is warm. Compare
ratios: each is of two rates of the same round. Contenders that are not installed here are looked
for in the interpreter given by --python; those that are nowhere are named with the reason.
Results go to benchmarks/results/loader.*; --add keeps earlier rounds of the same groups.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from report import write_report

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
OWN = (
    *("besana_native_parts", "besana_native_plain", "besana_process", "besana_parts"),
    *("besana_plain", "tf_data", "bare_parts", "bare_work", "bare_plain"),
)
PEERS = (
    *("torchvision_v2", "image_folder", "web_dataset", "lit_data", "mosaic_streaming"),
    *("hf_datasets", "lance_table", "spdl_threads", "grain_arrays", "dali_cpu"),
)
LIMIT_S = 120


class Entry(NamedTuple):
    """One line of a table.

    Attributes:
        contender: A module of `contenders/`.
        pictures: The picture set it reads.
        workers: Threads or processes.
    """

    contender: str
    pictures: str
    workers: int


def groups(workers: int) -> dict[str, tuple[str, list[Entry]]]:
    """Give the dtype and the entries of each group that is measured in turn."""
    found = {}
    for pictures in ("500x375", "1920x1080", "500x375-real", "1280x960-real"):
        everyone = OWN + (() if "real" in pictures else PEERS)
        entries = [Entry(name, pictures, workers) for name in everyone]
        found[f"{pictures} uint8"] = "uint8", entries
        floats = [entry for entry in entries if not entry.contender.startswith("bare")]
        found[f"{pictures} float32"] = "float32", floats
    small, large = Entry("besana_native_parts", "455x256", workers), "1920x1080"
    frames = [Entry(name, large, workers) for name in ("tf_data", "besana_native_parts")]
    found["working resolution"] = "uint8", [small, *frames]
    threads = [Entry("besana_native_parts", "500x375", n) for n in (1, 2)]
    found["threads"] = "uint8", threads
    return found


def main() -> None:
    """Write what is missing of the formats, run everyone in turn, write the results."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="", help="interpreter that has the peers")
    parser.add_argument("--groups", nargs="*", choices=list(groups(cores)))
    parser.add_argument("--contenders", nargs="*", choices=OWN + PEERS, default=OWN + PEERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--folder", type=Path, help="keeps the pictures from run to run")
    parser.add_argument("--add", action="store_true", help="keep earlier rounds of the groups")
    options = parser.parse_args()
    chosen = options.groups or list(groups(cores))
    pythons = [python for python in (sys.executable, options.python) if python]
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        known = {name: describe(name, pythons) for name in options.contenders}
        entries = {name: groups(cores)[name] for name in chosen}
        for _, group in entries.values():
            for entry in group:
                prepare(folder, entry, known)
        rows = earlier(chosen, options.add)
        for _ in range(options.rounds):
            for name, (dtype, group) in entries.items():
                for row in measure_round(name, dtype, group, folder, known, options.seconds):
                    rows.append(row)
                    write(rows, known)  # so that a run that is stopped loses nothing


def describe(name: str, pythons: list[str]) -> dict[str, Any]:
    """Ask each interpreter for a contender; tell which has it, or why none does."""
    reasons = []
    for python in pythons:
        done = call([python, "measure.py", name], {})
        if done.returncode == 0:
            print(f"{name}: {done.stdout.strip().splitlines()[-1]}")
            return json.loads(done.stdout.splitlines()[-1]) | {"python": python}
        reasons.append((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    print(f"{name}: missing: {reasons[-1]}")
    return {"missing": reasons[-1]}


def prepare(folder: Path, entry: Entry, known: dict[str, Any]) -> None:
    """Write the pictures of an entry in its format, if they are not there yet."""
    contender = known.get(entry.contender, {"missing": ""})
    if "missing" in contender:
        return
    place = folder / entry.pictures
    for form in ("jpeg", contender["format"]):
        if not (place / f".{form}").exists():
            done = call([contender["python"], "formats.py", form, str(place)], {}, limit_s=900)
            if done.returncode:
                raise SystemExit(f"{entry.pictures} as {form}: {done.stderr}")


def measure_round(
    group: str,
    dtype: str,
    entries: list[Entry],
    folder: Path,
    known: dict[str, Any],
    seconds: float,
) -> Iterator[dict[str, Any]]:
    """Measure each entry of a group once, one after the other."""
    round_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for entry in entries:
        contender = known.get(entry.contender, {"missing": ""})
        if "missing" in contender:
            continue
        place = [str(folder / entry.pictures), dtype, str(entry.workers), str(seconds)]
        command = [contender["python"], "measure.py", entry.contender, *place]
        done = call(command, contender["environment"])
        if done.returncode or not done.stdout.strip():
            print(f"{group}: {entry.contender} failed: {done.stderr[-400:]}")
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        load = os.getloadavg()[0]
        print(f"{group}: {entry.contender} {figures['pictures_per_s']:,.0f} pictures/s", flush=True)
        yield {"group": group, "round": round_at, **entry._asdict(), **figures, "load": load}


def call(
    command: list[str], environment: dict[str, str], limit_s: int = LIMIT_S
) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts beside this one."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
    try:
        return subprocess.run(
            command,
            cwd=HERE,
            env=os.environ | quiet | environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"took more than {limit_s} s")


def earlier(chosen: list[str], add: bool) -> list[dict[str, Any]]:
    """Read the results of earlier runs that are kept."""
    path = RESULTS / "loader.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if add or row["group"] not in chosen]


def write(rows: list[dict[str, Any]], known: dict[str, Any]) -> None:
    """Write figures, what they were measured with, table and plot."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "loader.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    about_path = RESULTS / "loader.json"
    about = json.loads(about_path.read_text()) if about_path.exists() else {"contenders": {}}
    about["machine"] = f"{len(os.sched_getaffinity(0))} processors, {platform.machine()}, {cpu()}"
    about["python"] = platform.python_version()
    for name, facts in known.items():
        if "missing" not in facts or name not in about["contenders"]:
            about["contenders"][name] = {k: v for k, v in facts.items() if k != "python"}
    about_path.write_text(json.dumps(about, indent=1) + "\n")
    write_report(RESULTS)


def cpu() -> str:
    """Name the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
