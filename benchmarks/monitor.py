"""What the watch costs in false alarms and what it finds: months without pixels, a rendered barn.

python benchmarks/monitor.py streams --months 24
python benchmarks/monitor.py estimates --barns 100
python benchmarks/monitor.py barn --folder /tmp/barn --kinds herd dirt moved dark fog frozen
"""

from __future__ import annotations

import argparse
import csv
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from besana import pipeline
from besana.catalog.watch import drift
from besana.engines import open_engine
from besana.simulation.barn import BarnSettings
from besana.simulation.changes import KINDS, Change, write_changed_barn
from besana.simulation.recording import frame_name
from besana.simulation.streams import draw_samples
from besana.simulation.watching import watch_samples
from besana.watching.look import ACCURACY, MEASURED, drifting
from besana.workspace import Workspace

MONTH_DAYS = 30.44
FIRST_DAYS, LATER_DAYS, INTERVAL_S = 10, 2, 900
_CHANGES = {
    "no change": {},
    "other cows": {"new_herd_from_day": 10.0},
    "cows of another breed": {"new_herd_from_day": 10.0, "strength": 2.0},
    "a little dirt": {"dirt_from_day": 10.0, "strength": 0.5},
    "dirt": {"dirt_from_day": 10.0},
}
TRAIN = {"strategy": "scratch", "epochs": 8, "size_px": 64, "threads": 1}


def streams(months: int) -> None:
    """Count false alarms over camera-months, and hours until another herd is found."""
    episodes, watched, found = 0, 0.0, []
    for seed in range(months):
        looks = list(watch_samples(draw_samples(seed, 41), train_days=10))
        changed = [bool(drifting(one.findings)) for one in looks]
        before = [False, *changed]
        episodes += sum(now and not was for was, now in zip(before, changed, strict=False))
        watched += 30 / MONTH_DAYS
        samples = draw_samples(seed, 16, new_herd_from_day=13.0, strength=2.0)
        hours = [
            (one.end_day - 13) * 24
            for one in watch_samples(samples, train_days=10)
            if one.end_day > 13 and drifting(one.findings)
        ]
        found.append(hours[0] if hours else float("inf"))
    within = sum(hours <= 24 for hours in found)
    print(f"{watched:.1f} camera-months: {episodes} false alarms, {episodes / watched:.2f} a month")
    print(f"another herd found within a day: {within} of {len(found)}")


def estimates(barns: int) -> None:
    """Compare drops of accuracy, estimated and true, on the days after a change."""
    near, days = 0, 0
    for change in _CHANGES:
        away = [abs(points) for seed in range(barns) for points in _missed(seed, change)]
        mine = sum(points <= 0.05 for points in away)
        print(f"{change}: drop within 5 points on {mine} of {len(away)} days", end="")
        print(f" ({mine / len(away):.0%}), {100 * sum(away) / len(away):.1f} points apart")
        near, days = near + mine, days + len(away)
    print(f"all: {near} of {days} days ({near / days:.0%})")


def _missed(seed: int, change: str) -> Iterator[float]:
    """Give by how much the estimated drop of each of the first days of a change is off."""
    samples = draw_samples(seed, FIRST_DAYS + 3, **_CHANGES[change])
    for one in watch_samples(samples, train_days=FIRST_DAYS):
        if one.end_day.is_integer():
            of_camera = {row.signal: row.value for row in one.findings if not row.region}
            yield of_camera[ACCURACY] - of_camera[MEASURED]


def barn(folder: Path, kinds: list[str], seed: int) -> None:
    """Train on a rendered barn, then change it in each way and watch for two days."""
    base = folder / "base"
    settings = BarnSettings(seed=seed, days=FIRST_DAYS, width_px=640, interval_s=INTERVAL_S)
    if not (base / "models").exists():
        made = write_changed_barn(base, settings, [])
        _walk(Workspace(base), "label", {"label": {"file": [str(made.truth_csv)]}})
    print("| change | found after h | first signals | estimated | measured |")
    print("| --- | --- | --- | --- | --- |")
    for kind in kinds:
        place = folder / kind
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place)
        later = settings.model_copy(update={"days": FIRST_DAYS + LATER_DAYS})
        change = [Change(kind, FIRST_DAYS)] if kind != "none" else []
        made = write_changed_barn(place, later, change, from_day=FIRST_DAYS)
        workspace = Workspace(place)
        _walk(workspace, "watch", {"label": {"file": [str(_new_truth(made))]}})
        print(_row(workspace, kind))


def _walk(workspace: Workspace, what: str, overrides: dict) -> None:
    common = {
        "clean": {"max_dropped_share": 1.0},  # a frozen camera sends duplicates only
        "prepare": {"size_px": 96},
        "split": {"method": "last_days", "test_days": 3},
        "train": TRAIN,
        "evaluate": {"replicates": 200, "pictures": 0},
        "predict": {"threads": 1},
        "monitor": {"threads": 1},
    }
    first = ["collect", "clean", "prepare", "label", "split", "train", "evaluate", "register"]
    stages = [*first, "predict"] if what == "label" else [*first[:4], "predict", "monitor"]
    engine = open_engine("local", 1)
    for stage in stages:
        pipeline.run_stage(
            workspace, stage, {**common.get(stage, {}), **overrides.get(stage, {})}, engine
        )


def _new_truth(made) -> Path:  # a simulated barn
    """Write the truth of the later days only: labels that arrive measure the estimate."""
    per_day = 86_400 // INTERVAL_S
    numbers = range(FIRST_DAYS * per_day, (FIRST_DAYS + LATER_DAYS) * per_day)
    names = {frame_name(made.settings, number) for number in numbers}
    path = made.path / "later.csv"
    with made.truth_csv.open(newline="") as file, path.open("w", newline="") as target:
        rows = csv.reader(file)
        writer = csv.writer(target)
        writer.writerow(next(rows))
        writer.writerows(row for row in rows if row[0] in names)
    return path


def _row(workspace: Workspace, kind: str) -> str:
    rows = workspace.catalog.rows(sa.select(drift).order_by(drift.c.window_end))
    changed = [row for row in rows if row.state == "drift"]
    when, signals = "never", ""
    if changed:
        # A look ends 24 h after its window began, and the first window begins with the change.
        first = changed[0].window_end
        hours = (first - rows[0].window_start).total_seconds() / 3600
        when = f"{hours:.0f}"
        signals = ", ".join(sorted({row.signal for row in changed if row.window_end == first})[:4])
    last = {row.signal: row for row in rows if row.region == "" and row.value is not None}
    figures = [
        f"{last[name].value:.3f} (expected {last[name].expected:.3f})" if name in last else "-"
        for name in (ACCURACY, MEASURED)
    ]
    return f"| {kind} | {when} | {signals} | {figures[0]} | {figures[1]} |"


def main() -> None:
    """Read what to measure, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("streams", "estimates", "barn"))
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--barns", type=int, default=24)
    parser.add_argument("--folder", type=Path, default=Path("watched-barn"))
    parser.add_argument("--kinds", nargs="+", default=["none", *KINDS])
    parser.add_argument("--seed", type=int, default=0, help="of the rendered barn")
    given = parser.parse_args()
    started = time.monotonic()
    if given.what == "streams":
        streams(given.months)
    elif given.what == "estimates":
        estimates(given.barns)
    else:
        barn(given.folder, given.kinds, given.seed)
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
