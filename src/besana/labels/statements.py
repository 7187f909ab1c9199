"""What a file says about samples, before its images are looked up in the catalog."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from besana.errors import ConfigError

Point = tuple[float, float]


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
