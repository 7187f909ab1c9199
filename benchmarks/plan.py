"""How far off a plan is: seconds planned from one trial, beside what the stages then took.

The trial sees 256 frames in three sizes; the farms have other sizes, and each is planned from the
trial alone. Every stage runs in a process of its own, as somebody at a terminal would have it.
With `--strategy probe` the training is an embedding with a frozen network, and a probe on it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import besana
from besana.costs.bills import BILLS_FILE, read_lines
from besana.simulation.barn import BarnSettings, write_barn
from besana.trial import measure

STAGES = ("clean", "prepare", "train")
SETTINGS = '\n[train]\nstrategy = "{}"\nweights = "random"\n{}[engine]\nworkers = 2\n'
EPOCHS = {"scratch": "epochs = 6\n", "probe": ""}


def make_farm(made: Path, folder: Path, days: int, strategy: str) -> besana.Workspace:
    """Take the first days of a simulated barn into a farm of its own."""
    settings = SETTINGS.format(strategy, EPOCHS[strategy])
    farm = besana.Workspace.create(folder, (made / "besana.toml").read_text() + settings)
    pictures = sorted((made / "recorded").rglob("*.jpg"))
    dates = sorted({path.name[:10] for path in pictures})[:days]
    for path in pictures:
        if path.name[:10] in dates:
            target = folder / path.relative_to(made)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    besana.run_stage(farm, "collect", {"source": [str(folder / "recorded")], "settle_s": 0})
    return farm


def walk(farm: besana.Workspace, truth: Path) -> None:
    """Run the stages up to train, each in a process of its own; bills say what was planned."""
    words = {
        "clean": [],
        "prepare": [],
        "label": [str(truth)],
        "split": ["--method", "fractions"],
        "train": [],
    }
    for name, own in words.items():
        command = [sys.executable, "-m", "besana", name, str(farm.path), *own]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr[-2000:]


def main() -> None:
    """Print planned and billed seconds, and the error, for each size and stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--width-px", type=int, default=640)
    parser.add_argument("--strategy", choices=list(EPOCHS), default="scratch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        barn = BarnSettings(days=max(arguments.days), interval_s=1800, width_px=arguments.width_px)
        made = write_barn(root / "made", barn)
        tried = make_farm(made.path, root / "tried", max(arguments.days), arguments.strategy)
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
        for note in measure(tried, tried.open_engine(), 300):
            print(note)
        trial = [line for line in read_lines(tried) if line["trial"]]
        ledger = (tried.reports / BILLS_FILE).read_text().splitlines(keepends=True)
        for line in trial:
            print(f"trial: {line['stage']}, {line['items']} items, {line['seconds']:.2f} s")
        print("| days | stage | items | planned s | billed s | error | within |")
        for days in arguments.days:
            farm = make_farm(made.path, root / f"farm-{days}", days, arguments.strategy)
            own = "".join(line for line in ledger if '"trial": true' in line)
            (farm.reports / BILLS_FILE).write_text(own)
            walk(farm, made.truth_csv)
            for line in read_lines(farm):
                if line["stage"] in STAGES and line["planned"]:
                    show(days, line)
        print(f"load {os.getloadavg()[0]:.1f}")


def show(days: int, line: dict) -> None:
    """Print one bill beside its plan, scaled to the items that really came."""
    share = line["items"] / line["planned"]["items"]
    low, likely, high = (line["planned"]["seconds"][k] * share for k in ("low", "likely", "high"))
    seconds = line["seconds"]
    within = "yes" if low <= seconds <= high else "no"
    print(
        f"| {days} | {line['stage']} | {line['items']} | {low:.1f} .. {likely:.1f} .. {high:.1f} |"
        f" {seconds:.1f} | {seconds / likely - 1:+.0%} | {within} |"
    )


if __name__ == "__main__":
    main()
