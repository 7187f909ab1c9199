"""The truth about a simulated barn as files that besana and people read."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from besana.simulation.faults import ISSUES
from besana.simulation.herd import CLASSES
from besana.simulation.recording import (
    CAMERA,
    FIRST_DAY,
    TIME_PATTERN,
    TIME_ZONE,
    Barn,
    faults_of,
    frame_count,
    frame_name,
    herd_of,
    region_name,
    view_of,
)
from besana.simulation.view import DISTORTION

ANNOTATOR = "simulation"


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def write_truth(barn: Barn) -> None:
    """Write labels, time budgets, faults and a `besana.toml` beside the frames of a barn.

    Frames on which a fault hides the beds have no label, as if a person had passed them over;
    the time budgets know nothing of faults.
    """
    settings, herd, faults = barn.settings, herd_of(barn.settings), faults_of(barn.settings)
    numbers = range(frame_count(settings))
    said_at = (FIRST_DAY + dt.timedelta(days=settings.days)).astimezone(dt.UTC).isoformat()
    write_table(
        barn.truth_csv,
        ("frame", "region", "class", "annotator", "time"),
        (
            (frame_name(settings, number), region_name(bed), state, ANNOTATOR, said_at)
            for number in numbers
            if number not in faults
            for bed in range(settings.beds)
            for state in [herd.state_at(bed + 1, float(number * settings.interval_s))]
        ),
    )
    write_table(
        barn.budgets_csv,
        ("camera", "region", "day", *(f"{state}_hours" for state in CLASSES)),
        (
            (
                CAMERA,
                region_name(bed),
                (FIRST_DAY + dt.timedelta(days=day)).date().isoformat(),
                *(f"{herd.hours(bed + 1, day)[state]:.4f}" for state in CLASSES),
            )
            for bed in range(settings.beds)
            for day in range(settings.days)
        ),
    )
    write_table(
        barn.faults_csv,
        ("frame", "kind", "issue", "detail"),
        (
            (frame_name(settings, number), fault.kind, ISSUES[fault.kind], fault.detail)
            for number, fault in sorted(faults.items())
        ),
    )
    barn.settings_toml.write_text(settings_text(barn))


def settings_text(barn: Barn) -> str:
    """Return a `besana.toml` for the simulated camera: lens, regions, classes."""
    view = view_of(barn.settings)
    regions = "\n".join(
        f"{region_name(bed)} = {list(view.region(bed))}" for bed in range(barn.settings.beds)
    )
    return f"""\
name = "simulated barn"

[collect]
source = ["{barn.frames.name}"]

[label]
classes = {json.dumps(CLASSES)}

[cameras.{CAMERA}]
files = "{CAMERA}/*"
time_zone = "{TIME_ZONE}"
time_from = "name"
time_pattern = "{TIME_PATTERN}"
frame_interval_s = {barn.settings.interval_s}

[cameras.{CAMERA}.lens]
model = "fisheye"
focal_px = [{view.focal_px}, {view.focal_px}]
centre_px = {list(view.centre_px)}
distortion = {list(DISTORTION)}
size_px = [{view.width_px}, {view.height_px}]

[cameras.{CAMERA}.regions]
{regions}
"""
