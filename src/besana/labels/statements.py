"""What a file says about samples, before its images are looked up in the catalog."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from besana.errors import ConfigError
from besana.labels.tables import TableError

Point = tuple[float, float]

_TRUTHS = {
    **dict.fromkeys(("true", "1", "yes", "t", "y"), True),
    **dict.fromkeys(("false", "0", "no", "f", "n"), False),
}
_AHEAD = dt.timedelta(days=1)
_LONGEST = 1 << 20
_TOLD = ("image", "camera", "region", "annotator", "source", "note")


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that a file says about one image.

    Attributes:
        row: Row of the file as a spreadsheet shows it; 0 for a file in a folder.
        image: How the file calls the image: path, file name or frame id.
        camera: Its camera, to tell images of the same name apart; may be empty.
        region: Which part of the image; empty when the image has only one.
        class_name: The class; empty for points.
        holds: Whether the class holds.
        annotator: Who says so; empty when the file does not tell.
        labelled_at: When it was said, aware; None when the file does not tell.
        note: What else was said.
        source: How it came: `csv`, `folders`, `points`, or what an exported file says.
        points: Where something is, in frame pixels; None when it is about a class.
        size_px: Width and height that the points belong to, None when the file does not tell.
        unit: What `row` counts, in files that are no tables.
    """

    row: int
    image: str
    camera: str = ""
    region: str = ""
    class_name: str = ""
    holds: bool = True
    annotator: str = ""
    labelled_at: dt.datetime | None = None
    note: str = ""
    source: str = "csv"
    points: Sequence[Point] | None = None
    size_px: tuple[int, int] | None = None
    unit: str = "row"

    def error(self, column: str, reason: str, problem: str) -> TableError:
        """Say why this statement cannot be used, and where it stands."""
        return TableError(self.row, column, reason, problem, self.unit)


@dataclass(frozen=True)
class Reading:
    """How the statements of one file are to be read.

    Attributes:
        unit: What the numbers of statements count: a task, an annotation, a line.
        source: How statements came that do not say it themselves.
        time_zone: Zone of times without one.
        now: Times well after this one are not believed.
    """

    unit: str
    source: str
    time_zone: str = "UTC"
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def error(self, number: int, column: str, reason: str, problem: str) -> TableError:
        """Say what cannot be used of the file, and where it stands."""
        return TableError(number, column, reason, problem, self.unit)

    def statement(
        self, number: int, class_name: Any, told: Mapping[str, Any]
    ) -> Statement | TableError:
        """Make a statement of what a file tells, or say what is wrong with it.

        Args:
            number: Where it stands.
            class_name: The class.
            told: Texts under `image`, `camera`, `region`, `annotator`, `source`, `note`, `time`
                and `holds`, of whatever type the file holds; missing ones are empty.
        """
        texts = {"class": class_name, **{what: told.get(what) or "" for what in _TOLD}}
        for what, text in texts.items():
            if problem := _problem(text):
                return self.error(number, what, f"bad_{what}", problem)
        for what in ("image", "class"):
            if not texts[what].strip():
                return self.error(number, what, f"no_{what}", "it is empty")
        holds = truth_of(str(told.get("holds", "true")))
        if holds is None:
            problem = f"{str(told['holds'])[:50]!r}, allowed: true or false"
            return self.error(number, "holds", "bad_holds", problem)
        labelled_at, said_at = None, str(told.get("time") or "")
        if said_at and not (labelled_at := time_of(said_at, ZoneInfo(self.time_zone), self.now)):
            problem = f"{said_at[:50]!r} is no past time, write it as 2021-03-08T10:02:46Z"
            return self.error(number, "time", "bad_time", problem)
        return Statement(
            number,
            texts["image"],
            texts["camera"],
            texts["region"],
            texts["class"],
            holds,
            texts["annotator"].strip() and texts["annotator"],
            labelled_at,
            texts["note"],
            texts["source"] or self.source,
            unit=self.unit,
        )


def _problem(text: Any) -> str:
    if not isinstance(text, str):
        return f"{str(text)[:50]!r} is no text"
    if len(text) > _LONGEST:
        return f"{len(text):,} characters, at most {_LONGEST:,}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a character"
    return "a NUL character" if "\0" in text else ""


def truth_of(text: str) -> bool | None:
    """Read whether a class holds; empty means that it does, None that nobody can tell."""
    return _TRUTHS.get(text.strip().lower() or "true")


def time_of(text: str, zone: ZoneInfo, now: dt.datetime) -> dt.datetime | None:
    """Read when something was said, as ISO 8601; None when that is no past time.

    Args:
        text: The time.
        zone: Zone of times without one.
        now: A day after it is the latest that is believed: clocks differ.
    """
    try:
        at = dt.datetime.fromisoformat(text.strip())
        at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
    return at if at <= now + _AHEAD else None


def column_of(
    columns: Sequence[str], what: str, names: Sequence[str], chosen: str | None
) -> str | None:
    """Find the column that holds something.

    Args:
        columns: The columns of the file.
        what: What is looked for.
        names: Names such a column may have, the first one that is there counts.
        chosen: The name that the settings say, None when they say nothing.

    Raises:
        ConfigError: If the file lacks the chosen column.
    """
    if chosen is None:
        return next((name for name in names if name in columns), None)
    if chosen not in columns:
        raise ConfigError(
            f"No column '{chosen}' for the {what}.", f"The file has: {', '.join(columns)}."
        )
    return chosen
