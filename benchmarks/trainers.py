"""Several trainers: time, accuracy and traffic of each way to learn together, on one machine.

One farm of seedlings; each way trains the same network from the same weights on the same batches.
Each run is a row of `results/trainers.csv`, with the load of the machine beside it.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import time
from pathlib import Path
from typing import Any

import besana
from besana.learning.runs import open_run

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "trainers.csv"
WAYS = ("single", "ddp", "hybrid", "local-sgd", "delayed")
COLUMNS = (
    *("way", "trainers", "epochs", "size_px", "seed", "epoch_s", "train_s"),
    *("validation_accuracy", "validation_loss", "sent_mb", "wire_mb", "load"),
)


def prepare(data: Path, folder: Path) -> besana.Workspace:
    """Make the farm: seedlings by class folder, a fifth for validation."""
    farm = besana.Workspace.create(folder)
    if not (folder / "datasets").is_dir():
        source = str(data / "seedlings" / "train")
        shares = {"method": "fractions", "test_share": 0.0, "validation_share": 0.2}
        settings = {"collect": {"source": [source], "in_place": True}, "split": shares}
        besana.run(farm, last="split", overrides=settings)
    return farm


def wire_bytes() -> int:
    """Read what went over the loopback interface since the machine started."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def measure(farm: besana.Workspace, settings: dict[str, Any]) -> dict[str, Any]:
    """Train once; returns a row."""
    wire, started, load = wire_bytes(), time.monotonic(), os.getloadavg()[0]
    besana.run_stage(farm, "train", settings)
    seconds = time.monotonic() - started
    record = open_run(farm).record
    metrics = record["metrics"]
    return {
        "way": settings["parallel"],
        "trainers": metrics.get("trainers", 1),
        "epochs": settings["epochs"],
        "size_px": settings["size_px"],
        "seed": settings["seed"],
        "epoch_s": round(statistics.median(e["seconds"] for e in record["history"]), 2),
        "train_s": round(seconds, 1),
        "validation_accuracy": round(metrics["validation_accuracy"], 4),
        "validation_loss": round(metrics["validation_loss"], 4),
        "sent_mb": round(metrics.get("sent_bytes", 0) / 1e6, 1),
        "wire_mb": round((wire_bytes() - wire) / 1e6, 1),
        "load": round(load, 1),
    }


def main() -> None:
    """Measure one way, or all, and add rows to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of real images")
    parser.add_argument("farm", type=Path, help="folder for the farm, kept between calls")
    parser.add_argument("--way", choices=WAYS, nargs="+", default=WAYS)
    parser.add_argument("--trainers", type=int, nargs="+", default=[2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size-px", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{arguments.farm.absolute()}/mlflow.db")
    farm = prepare(arguments.data, arguments.farm)
    common = {
        "strategy": "finetune",
        "weights": str(arguments.data / "weights" / "mobilenetv2_100_same_1001.safetensors"),
        "backbone_options": {"pad_type": "same"},
        "input_mean": [128.0],
        "input_std": [128.0],
        "augment": "turned",
        "colourless_share": 0.0,
        "blurred_share": 0.0,
        "epochs": arguments.epochs,
        "size_px": arguments.size_px,
        "seed": arguments.seed,
    }
    for way in arguments.way:
        for trainers in [1] if way == "single" else arguments.trainers:
            row = measure(farm, {**common, "parallel": way, "trainers": trainers})
            print(row, flush=True)
            is_new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                rows = csv.DictWriter(file, COLUMNS)
                if is_new:
                    rows.writeheader()
                rows.writerow(row)


if __name__ == "__main__":
    main()
