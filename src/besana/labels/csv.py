"""Read and write labels as CSV: one row for one word of one person about one sample."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from besana.config import suggestion
from besana.errors import ConfigError
from besana.labels.statements import Statement, column_of, time_of, truth_of
from besana.labels.tables import TableError, TableRow, read_header, read_rows

COLUMNS: Mapping[str, Sequence[str]] = {
    "frame": ("frame", "file", "image", "filename", "name", "path"),
    "region": ("region",),
    "class": ("class", "label", "class_name"),
    "holds": ("holds",),
    "annotator": ("annotator", "user"),
    "time": ("time", "labelled_at"),
    "camera": ("camera",),
    "note": ("note",),
    "source": ("source",),
}
"""What a column may hold -> the names it may have."""

EXPORTED = ("frame", "region", "class", "holds", "annotator", "time", "source", "note")
"""Columns of an export; importing one adds nothing that is there already."""


def is_label_table(columns: Sequence[str]) -> bool:
    """Tell whether columns are those of a file of labels."""
    return any(name in columns for name in COLUMNS["class"])


def read_labels(
    path: Path, *, columns: Mapping[str, str], time_zone: str
) -> Iterator[Statement | TableError]:
    """Read a CSV of labels row by row.

    Args:
        path: The file.
        columns: What is in a column -> its name in the file. When given, columns that are not
            named are ignored; else an unknown column is an error.
        time_zone: Zone of times without one.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If a column is missing or unknown, or the file is no table.
    """
    places = _places(path, columns)
    zone = ZoneInfo(time_zone)
    now = dt.datetime.now(dt.UTC)
    for row in read_rows(path):
        yield row.error or _statement(row, places, zone, now)


def _places(path: Path, chosen: Mapping[str, str]) -> dict[str, str]:
    header = read_header(path)
    for what in chosen:
        if what not in COLUMNS:
            raise ConfigError(f"'{what}' in columns is unknown.", suggestion(what, COLUMNS))
    places = {}
    for what, names in COLUMNS.items():
        if column := column_of(header, what, names, chosen.get(what)):
            places[what] = column
    for needed in ("frame", "class"):
        if needed not in places:
            raise ConfigError(
                f"'{path}' has no column '{needed}'.",
                f'It has: {", ".join(header)}. Name it in columns, as {{{needed} = "..."}}.',
            )
    unknown = [column for column in header if column not in places.values()]
    if unknown and not chosen:
        raise ConfigError(
            f"'{path}', row 1: unknown column '{unknown[0]}'.",
            f"Allowed: {', '.join(COLUMNS)}. To ignore others, name the ones to read in columns.",
        )
    return places


def _statement(
    row: TableRow, places: Mapping[str, str], zone: ZoneInfo, now: dt.datetime
) -> Statement | TableError:
    cells = {what: row.cells[column] for what, column in places.items()}
    texts = {what: cell.strip() for what, cell in cells.items()}
    for needed in ("frame", "class"):
        if not texts[needed]:
            return TableError(row.number, places[needed], f"no_{needed}", "the cell is empty")
    holds = truth_of(texts.get("holds", ""))
    if holds is None:
        problem = f"{texts['holds'][:50]!r}, allowed: true or false"
        return TableError(row.number, places["holds"], "bad_holds", problem)
    labelled_at = None
    if texts.get("time"):
        labelled_at = time_of(texts["time"], zone, now)
        if labelled_at is None:
            problem = f"{texts['time'][:50]!r} is no past time, write it as 2021-03-08T10:02:46Z"
            return TableError(row.number, places["time"], "bad_time", problem)
    return Statement(
        row.number,
        image=cells["frame"],
        camera=texts.get("camera", ""),
        region=texts.get("region", ""),
        class_name=texts["class"],
        holds=holds,
        annotator=texts.get("annotator", ""),
        labelled_at=labelled_at,
        note=cells.get("note", ""),
        source=texts.get("source", "") or "csv",
    )
