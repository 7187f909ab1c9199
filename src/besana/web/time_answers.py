"""Hours of regions: rows written down as they come, tables and pictures of bounded size."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.labels.tables import neutralised
from besana.statistics.days import RegionDay
from besana.statistics.timelines import UNKNOWN, cow_comfort_index, occupancy
from besana.web.csv_files import Write, figure, finite
from besana.web.timeline import Day, Row, days_that_fit, ethogram_svg, mean_day_svg
from besana.workspace import Plot, Report, Table

POSTURES = ("lying", "standing", "empty")
TABLE_ROWS = 1000
"""Rows of a table on the page, the newest ones; the CSV beside it has them all."""
CAMERAS_DRAWN = 12
REGIONS_DRAWN = 60

_INDICES = ("occupancy_share", "cow_comfort_index_share")


@dataclass(frozen=True)
class States:
    """What classes mean: a state is a posture, or a class that is no posture.

    Attributes:
        classes: The classes, by number.
        names: The states, by number; postures first, in the order of `POSTURES`.
        of_class: (classes,) the number of the state of each class.
    """

    classes: Sequence[str]
    names: Sequence[str]
    of_class: NDArray[np.int64]

    @staticmethod
    def of(classes: Sequence[str], postures: Mapping[str, str]) -> States:
        """Number the states.

        Args:
            classes: The classes.
            postures: Class -> posture, for those that have one.
        """
        used = [posture for posture in POSTURES if posture in postures.values()]
        names = [*used, *(name for name in classes if name not in postures)]
        numbers = [names.index(postures.get(name, name)) for name in classes]
        return States(classes, names, np.array(numbers, dtype=np.int64))

    def seconds(self, by_class: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up (classes + 1,) seconds to (states + 1,), unknown last."""
        sums = np.zeros(len(self.names) + 1)
        np.add.at(sums, self.of_class, by_class[:-1])
        sums[-1] = by_class[-1]
        return sums

    def numbers(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn numbers of classes into numbers of states; unknown stays unknown."""
        known = self.of_class[np.maximum(classes, 0)]
        return np.where(classes == UNKNOWN, UNKNOWN, known)

    def shares(self, seconds: NDArray[np.float64]) -> tuple[float | None, float | None]:
        """Give occupancy and cow comfort index of (states + 1,) seconds; None without postures."""
        by_name = dict(zip(self.names, seconds[:-1], strict=True))
        known = seconds[:-1].sum()
        occupied = occupancy(known - by_name.get("empty", 0.0), known)
        comfort = cow_comfort_index(
            np.asarray(by_name.get("lying", 0.0)), np.asarray(by_name.get("standing", 0.0))
        )
        return (
            finite(occupied) if "empty" in by_name else None,
            finite(comfort) if "lying" in by_name else None,
        )


@dataclass
class _Total:
    """What one region was in over all its days."""

    days: int
    seconds: NDArray[np.float64]


@dataclass
class TimeAnswers:
    """Write down days as they come, and keep what the page shows of them.

    Attributes:
        states: What classes mean.
        days_csv: Where rows of regions and days go.
        classes_csv: Where rows of regions, days and classes go.
        spans_csv: Where rows of spans of time go.
        days_drawn: How many of the last days the pictures show.
    """

    states: States
    days_csv: Write
    classes_csv: Write
    spans_csv: Write
    days_drawn: int
    rows: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=TABLE_ROWS))
    totals: dict[tuple[str, str], _Total] = field(default_factory=dict)
    drawn: dict[str, dict[str, list[Row]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hours = [neutralised(f"{name}_hours") for name in [*self.states.names, "unknown"]]
        self.days_csv.writerow(["camera", "region", "day", *hours, *_INDICES])
        self.classes_csv.writerow(["camera", "region", "day", "class", "hours"])
        self.spans_csv.writerow(["camera", "region", "start", "end", "class"])

    def add(self, camera: str, region_day: RegionDay) -> None:
        """Add one region's day."""
        seconds = self.states.seconds(region_day.seconds)
        place = (neutralised(camera), neutralised(region_day.region))
        hours = [value / 3600 for value in seconds]
        row = [*hours, *self.states.shares(seconds)]
        self.days_csv.writerow([*place, region_day.day, *map(figure, row)])
        self.rows.append((camera, region_day.region, region_day.day, *row))
        for name, value in zip([*self.states.classes, ""], region_day.seconds, strict=True):
            self.classes_csv.writerow(
                [*place, region_day.day, neutralised(name), figure(value / 3600)]
            )
        self._write_spans(place, region_day)
        total = self.totals.setdefault(
            (camera, region_day.region), _Total(0, np.zeros(len(seconds)))
        )
        total.days += 1
        total.seconds = total.seconds + seconds
        self._keep_for_picture(camera, region_day)

    def show(self, report: Report, folder: Path, language: str, *, plots: bool) -> list[Path]:
        """Put tables and pictures on the page and write the pictures' files.

        Returns:
            The files written.
        """
        names = self.states.names
        paths: list[Path] = []
        for number, (camera, days) in enumerate(self.drawn.items()):
            panels = [Day(day, rows) for day, rows in days.items()]
            means = self._means(camera)
            if number < CAMERAS_DRAWN:
                note = "Local time. Hatched time is unknown: no frame, or a frame nobody can judge."
                report.add(Plot(f"Hour by hour: {camera}", ethogram_svg(panels, names), note))
                report.add(Plot(f"A mean day: {camera}", mean_day_svg(means, names)))
            if plots:
                from besana.web.plot_files import file_name, save_ethogram, save_mean_days

                stem = file_name(camera)
                paths += save_ethogram(panels, names, folder, f"hours-{stem}", language)
                paths += save_mean_days(means, names, folder, f"mean-day-{stem}", language)
        report.add(self._summary())
        columns = ["camera", "region", "day", *self._columns()]
        note = "The newest days; days.csv has all of them." if len(self.rows) == TABLE_ROWS else ""
        report.add(Table("Hours by region and day", columns, list(self.rows), note))
        return paths

    def _columns(self) -> list[str]:
        names = [
            f"{name}_hours" if name in POSTURES else f"{name} (h)" for name in self.states.names
        ]
        return [*names, "unknown_hours", *_INDICES]

    def _summary(self) -> Table:
        rows = []
        for (camera, region), total in self.totals.items():
            known = float(total.seconds[:-1].sum() / max(total.seconds.sum(), 1e-9))
            hours = [value / 3600 / total.days for value in total.seconds]
            rows.append(
                (camera, region, total.days, *hours, *self.states.shares(total.seconds), known)
            )
        return Table(
            "A mean day of each region",
            ["camera", "region", "days", *self._columns(), "known_share"],
            rows[:TABLE_ROWS],
            "Hours are means over all days. Occupancy is the share of the known time in which the "
            "place was not empty; the cow comfort index is lying / (lying + standing).",
        )

    def _means(self, camera: str) -> dict[str, list[float]]:
        means: dict[str, list[float]] = {}
        for (own, region), total in self.totals.items():
            if own == camera and len(means) < REGIONS_DRAWN:
                means[region] = [value / 3600 / total.days for value in total.seconds]
        return means

    def _keep_for_picture(self, camera: str, region_day: RegionDay) -> None:
        days = self.drawn.setdefault(camera, {})
        rows = days.setdefault(region_day.day, [])
        line = region_day.line
        edges_h = (line.edges_s - line.edges_s[0]) / 3600
        if len(rows) < REGIONS_DRAWN:
            rows.append(Row(region_day.region, edges_h, self.states.numbers(line.states)))
        while len(days) > days_that_fit(len(rows), self.days_drawn):
            del days[next(iter(days))]

    def _write_spans(self, place: tuple[str, str], region_day: RegionDay) -> None:
        line = region_day.line
        for start, end, state in zip(line.edges_s, line.edges_s[1:], line.states, strict=False):
            name = "" if state == UNKNOWN else self.states.classes[int(state)]
            self.spans_csv.writerow([*place, _utc(start), _utc(end), neutralised(name)])


def _utc(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(float(seconds), dt.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
