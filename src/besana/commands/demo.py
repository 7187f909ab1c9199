"""Run the main job on a simulated barn and compare with its truth.

Reads: nothing
Writes: a workspace with frames, a model, answers and reports
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from besana import pipeline
from besana.config import Settings
from besana.console import percent, plain_console
from besana.engines import open_engine
from besana.stages import STAGES
from besana.workspace import Report, Workspace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from besana.simulation.barn import Barn

FARM = "demo-farm"
EXAMPLE = "besana demo demo-farm --days 14"

# Samples are kept at this size and the network sees them at 64 px: enough to tell a cow's posture.
_SAMPLE_PX = 96
_PROBE_PX = 128
_TEST_SHARE = 0.2


class Config(Settings):
    """Settings of `demo`."""

    days: int = Field(default=14, ge=3, description="Days of recording; the last fifth is test.")
    seed: int = Field(default=0, ge=0, description="Another seed, another barn.")
    interval_s: int = Field(default=300, ge=60, le=3600, description="Seconds between two frames.")
    width_px: int = Field(default=1280, ge=160, description="Width of a frame.")
    weights: Path | None = Field(
        default=None,
        description="Pretrained weights (.safetensors) of timm/mobilenetv2_100, or of the backbone"
        " in --train: then a probe on frozen features replaces training from scratch.",
    )
    train: dict[str, Any] = Field(
        default={}, description="Further settings of the stage `train`, as JSON."
    )
    workers: int | None = Field(
        default=None, ge=1, description="Processes at the same time; default: one a core."
    )

    @property
    def test_days(self) -> int:
        """Days at the end that no model is trained on."""
        return max(1, round(self.days * _TEST_SHARE))


def run(path: Path, config: Config) -> dict[str, Report]:
    """Simulate a barn, walk all stages and print what came out beside the truth.

    Started again in the same folder, it goes on where it was stopped.

    Args:
        path: The folder, made when missing.
        config: Settings.

    Returns:
        The reports of the stages by name.

    Raises:
        ConfigError: If the folder holds something else.
    """
    from besana.simulation.barn import BarnSettings, write_barn

    console, started = plain_console(soft_wrap=False), time.monotonic()
    engine = open_engine("local", config.workers)
    values = config.model_dump(include={"days", "seed", "interval_s", "width_px"})
    barn = write_barn(path, BarnSettings(**values), engine)
    _say(console, "simulate", f"{config.days} days of a barn", time.monotonic() - started)
    workspace = Workspace(barn.path)
    overrides = _overrides(barn, config)
    reports: dict[str, Report] = {}
    for name in STAGES:
        report = pipeline.run_stage(workspace, name, overrides.get(name), engine)
        _say(console, name, f"{report.counts_in:,} in, {report.counts_out:,} out", report.seconds)
        reports[name] = report
    console.print()
    console.print(_accuracy_table(reports["evaluate"]))
    console.print(_hours_table(barn, workspace, config.test_days))
    peak = max(report.peak_memory_bytes for report in reports.values())
    console.print(
        f"{time.monotonic() - started:.0f} s in all; the largest process took {peak / 1e6:,.0f} MB."
    )
    console.print(f"Report: {workspace.reports / 'index.html'}", soft_wrap=True)
    return reports


def _overrides(barn: Barn, config: Config) -> dict[str, dict[str, Any]]:
    """Return what the demo sets differently from `besana.toml`, by stage."""
    overrides: dict[str, dict[str, Any]] = {
        "label": {"file": [str(barn.truth_csv)]},
        "prepare": {"size_px": _SAMPLE_PX},
        "split": {"method": "last_days", "test_days": config.test_days},
        "train": {"strategy": "scratch", **config.train},
    }
    if config.weights is not None:
        overrides["prepare"] = {"size_px": _PROBE_PX}
        overrides["train"] = {
            "strategy": "probe",
            "size_px": _PROBE_PX,
            "weights": str(config.weights.absolute()),
            **config.train,
        }
    return overrides


def _say(console: Console, what: str, result: str, seconds: float) -> None:
    console.print(f"{what:<9} {result} ({seconds:.1f} s)")


def _accuracy_table(evaluated: Report) -> Table:
    """Show the accuracy on the test days: all, by light and by bed."""
    from rich.table import Table

    figures = json.loads(evaluated.files["evaluation.json"].read_text())
    table = Table(
        "",
        "samples",
        "accuracy",
        f"{percent(figures['level'], 0)} interval",
        title="On days the model was not trained on",
        title_justify="left",
    )
    parts = {"all": {"samples": figures["samples"], **figures["metrics"]}}
    for slices in ("light", "region"):
        parts |= figures["slices"].get(slices, {})
    for name, part in parts.items():
        accuracy = part["accuracy"]
        low, high = accuracy["low"], accuracy["high"]
        interval = "" if low is None or high is None else f"{percent(low)} to {percent(high)}"
        table.add_row(name, f"{part['samples']:,}", percent(accuracy["value"]), interval)
    return table


def _hours_table(barn: Barn, workspace: Workspace, test_days: int) -> Table:
    """Show the hours lying of each bed and day beside the truth."""
    from rich.table import Table

    answered = _by_bed_and_day(workspace.reports / "answers" / "days.csv")
    true = _by_bed_and_day(barn.budgets_csv)
    beds = sorted({bed for bed, _ in true})
    days = sorted({day for _, day in true})
    tested = set(days[-test_days:])
    table = Table(
        "day",
        *beds,
        title="Hours lying, besana / truth (* not trained on)",
        title_justify="left",
        caption=_difference(answered, true, tested),
        caption_justify="left",
    )
    for day in days:
        hours = [f"{_hours(answered, bed, day)} / {_hours(true, bed, day)}" for bed in beds]
        table.add_row(f"{day}{' *' if day in tested else ''}", *hours)
    return table


Row = Mapping[str, str]


def _by_bed_and_day(path: Path) -> dict[tuple[str, str], Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["region"], row["day"]): row for row in csv.DictReader(file)}


def _hours(rows: Mapping[tuple[str, str], Row], bed: str, day: str) -> str:
    row = rows.get((bed, day))
    return "-" if row is None else f"{float(row['lying_hours']):4.1f}"


def _difference(
    answered: Mapping[tuple[str, str], Row],
    true: Mapping[tuple[str, str], Row],
    days: Iterable[str],
) -> str:
    """Say how far the answers are from the truth on some days, and how much stays unknown."""
    places = [place for place in true if place[1] in set(days) and place in answered]
    gaps = [
        abs(float(answered[place]["lying_hours"]) - float(true[place]["lying_hours"]))
        for place in places
    ]
    unknown = [float(answered[place]["unknown_hours"]) for place in places]
    mean_gap = dt.timedelta(hours=sum(gaps) / len(gaps))
    mean_unknown = dt.timedelta(hours=sum(unknown) / len(unknown))
    return (
        f"On *: {mean_gap / dt.timedelta(minutes=1):.0f} min from the truth on average;"
        f" {mean_unknown / dt.timedelta(minutes=1):.0f} min a day unknown, because of faults."
    )
