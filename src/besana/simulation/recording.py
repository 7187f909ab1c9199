"""What is recorded in a simulated barn: its settings, its places on disk, names and times."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from besana.config import Settings
from besana.simulation.faults import Fault, faults_of_day
from besana.simulation.herd import DAY_S, Herd, keep_herd
from besana.simulation.view import FULL_WIDTH_PX, View

CAMERA = "barn-1"
# A dairy region without summer time, so that every day has 24 hours.
TIME_ZONE = "America/Bogota"
FIRST_DAY = dt.datetime(2025, 3, 3, tzinfo=ZoneInfo(TIME_ZONE))
TIME_PATTERN = "%Y-%m-%dT%H-%M-%S"


class BarnSettings(Settings):
    """What the simulated barn is like."""

    days: int = Field(default=14, ge=1, le=3650, description="Days of recording.")
    seed: int = Field(default=0, ge=0, description="The same seed gives the same bytes.")
    interval_s: int = Field(
        default=300, ge=60, le=3600, description="Seconds between two frames; divides a day."
    )
    beds: int = Field(default=3, ge=1, le=3, description="Labelled beds in view.")
    width_px: int = Field(
        default=FULL_WIDTH_PX, ge=160, le=3840, multiple_of=16, description="Width of a frame."
    )
    quality: int = Field(default=85, ge=40, le=100, description="JPEG quality.")
    faults: bool = Field(default=True, description="Whether files and pictures go wrong at times.")
    moved_from_day: int | None = Field(
        default=None, ge=0, description="Day from which on the camera hangs askew; none: never."
    )

    @field_validator("interval_s")
    @classmethod
    def _divides_a_day(cls, value: int) -> int:
        if DAY_S % value:
            raise ValueError("a day has no whole number of such intervals")
        return value


@dataclass(frozen=True)
class Barn:
    """A simulated barn on disk.

    Attributes:
        path: The folder.
        settings: What it was made from.
    """

    path: Path
    settings: BarnSettings

    @property
    def frames(self) -> Path:
        """The folder to collect from; names in `truth_csv` are relative to it."""
        return self.path / "recorded"

    @property
    def truth_csv(self) -> Path:
        """What each bed shows: `frame,region,class,annotator,time`."""
        return self.path / "truth.csv"

    @property
    def budgets_csv(self) -> Path:
        """Hours lying, standing and empty of each bed and day: `camera,region,day,...`."""
        return self.path / "budgets.csv"

    @property
    def faults_csv(self) -> Path:
        """What is wrong with which frame: `frame,kind,issue,detail`."""
        return self.path / "faults.csv"

    @property
    def settings_toml(self) -> Path:
        """A `besana.toml` that fits: lens, regions, classes and what they mean."""
        return self.path / "besana.toml"


def frame_count(settings: BarnSettings) -> int:
    """Return how many frames the camera takes."""
    return settings.days * (int(DAY_S) // settings.interval_s)


def frame_name(settings: BarnSettings, number: int) -> str:
    """Return a frame's name relative to the folder of frames; it carries local time."""
    taken_at = FIRST_DAY + dt.timedelta(seconds=number * settings.interval_s)
    return f"{CAMERA}/{taken_at.strftime(TIME_PATTERN)}.jpg"


def faults_of(settings: BarnSettings) -> dict[int, Fault]:
    """Return every fault of a barn by frame number."""
    if not settings.faults:
        return {}
    faults: dict[int, Fault] = {}
    for day in range(settings.days):
        faults |= faults_of_day(settings.seed, day, settings.interval_s)
    return faults


def view_of(settings: BarnSettings) -> View:
    """Return the camera of a barn."""
    return View(settings.width_px, settings.beds)


def herd_of(settings: BarnSettings) -> Herd:
    """Return what the cows do; bed 0 and the last one are neighbours that nobody labels."""
    return keep_herd(settings.seed, settings.days, settings.beds + 2)


def region_name(bed: int) -> str:
    """Return the name of a labelled bed, counted from 0 at the left."""
    return f"bed-{bed + 1}"
