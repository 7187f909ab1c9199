"""Answers on their way out: the files and the page that people get."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from besana.web.area_answers import AreaAnswers
from besana.web.csv_files import Write, open_csv
from besana.web.time_answers import States, TimeAnswers
from besana.workspace import Report

_OURS = re.compile(r"(days|class-hours|timelines|shares)\.csv$|(hours|mean-day|share)-")


@dataclass(frozen=True)
class Look:
    """What answers should look like; the settings of the stage say what each means."""

    days_drawn: int
    block_frames: int
    confidence: float
    language: str
    plots: bool


class Answers:
    """Open the answers by time and by area when the first of their kind comes.

    Args:
        folder: Where files go.
        classes: Names of the classes, by number.
        postures: Class -> posture, for those that have one.
        look: What answers should look like.
        files: Keeps the files open until the stage has ended well.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        postures: Mapping[str, str],
        look: Look,
        files: contextlib.ExitStack,
    ) -> None:
        self._folder, self._classes, self._postures = folder, classes, postures
        self._look, self._files = look, files
        self._paths: dict[str, Path] = {}
        self._time: TimeAnswers | None = None
        self._area: AreaAnswers | None = None

    def time(self) -> TimeAnswers:
        """Give the answers by time."""
        if self._time is None:
            self._time = TimeAnswers(
                States.of(self._classes, self._postures),
                self._csv("days.csv"),
                self._csv("class-hours.csv"),
                self._csv("timelines.csv"),
                self._look.days_drawn,
            )
        return self._time

    def area(self) -> AreaAnswers:
        """Give the answers by area."""
        if self._area is None:
            look = self._look
            self._area = AreaAnswers(self._classes, look.block_frames, look.confidence)
        return self._area

    def show(self, report: Report) -> None:
        """Put everything on the page and write the pictures' files."""
        paths: list[Path] = []
        folder, language, plots = self._folder, self._look.language, self._look.plots
        if self._time is not None:
            paths += self._time.show(report, folder, language, plots=plots)
        if self._area is not None:
            csv_file = self._csv("shares.csv")
            paths += self._area.show(report, csv_file, folder, language, plots=plots)
        report.files.update(self._paths)
        report.files.update({path.name: path for path in paths})
        self._forget_earlier(set(report.files))

    def _forget_earlier(self, written: set[str]) -> None:
        """Remove an earlier run's files that this one did not write again."""
        for pattern in ("*.csv", "*.png", "*.svg"):
            for path in self._folder.glob(pattern):
                if path.name not in written and _OURS.match(path.name):
                    path.unlink()

    def _csv(self, name: str) -> Write:
        self._paths[name] = self._folder / name
        return self._files.enter_context(open_csv(self._folder, name))
