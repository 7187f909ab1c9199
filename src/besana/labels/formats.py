"""Which files of labels besana reads, how it knows them, and who reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from besana.errors import ConfigError
from besana.labels.coco import read_coco
from besana.labels.csv import is_label_table, read_labels
from besana.labels.cvat import read_cvat
from besana.labels.folders import read_class_folders
from besana.labels.label_studio import read_label_studio
from besana.labels.points import is_points_table, read_points
from besana.labels.statements import Statement
from besana.labels.tables import TableError, open_text, read_header

Format = Literal["csv", "points", "folders", "label-studio", "cvat", "coco"]

_BEGINNINGS: Mapping[str, Format] = {"<": "cvat", "[": "label-studio", "{": "coco"}


def read_statements(
    path: Path,
    kind: Literal["auto"] | Format,
    *,
    columns: Mapping[str, str],
    points_column: str,
    time_zone: str,
    temporary: Path,
) -> Iterator[Statement | TableError]:
    """Read a file of labels, whatever it is, in memory that does not grow with it.

    Args:
        path: File, or folder of class folders.
        kind: What it is; `auto`: as it looks.
        columns: What -> its column, or its key in the data of a Label Studio task.
        points_column: Column of JSON points; empty: the first with `points` in its name.
        time_zone: Zone of times without one.
        temporary: A folder for what has to wait on disk.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is nothing that can be read.
    """
    if kind == "auto":
        kind = format_of(path, columns=columns, points_column=points_column)
    if kind == "folders":
        return read_class_folders(path)
    if kind == "points":
        return read_points(path, column=points_column)
    if kind == "label-studio":
        return read_label_studio(path, columns=columns, time_zone=time_zone)
    if kind == "cvat":
        return read_cvat(path, time_zone=time_zone)
    if kind == "coco":
        return read_coco(path, time_zone=time_zone, temporary=temporary)
    return read_labels(path, columns=columns, time_zone=time_zone)


def format_of(path: Path, *, columns: Mapping[str, str], points_column: str) -> Format:
    """Tell what a file is by how it begins, never by its name.

    Args:
        path: File or folder.
        columns: As in `read_statements`; naming columns says that it is a table of labels.
        points_column: As in `read_statements`.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is an archive, or a table of something else.
    """
    if path.is_dir():
        return "folders"
    with open_text(path) as file:
        beginning = file.buffer.read(64).decode("utf-8-sig", "replace").lstrip()
    if beginning.startswith("PK\x03\x04"):
        raise ConfigError(f"'{path}' is a zip archive.", "Unpack it and give the file in it.")
    kind = _BEGINNINGS.get(beginning[:1])
    if beginning.startswith("\ufffd") and "<\0?" in beginning:
        kind = "cvat"  # UTF-16
    return kind or _table_kind(path, columns, points_column)


def _table_kind(
    path: Path, columns: Mapping[str, str], points_column: str
) -> Literal["csv", "points"]:
    header = read_header(path)
    if columns or is_label_table(header):
        return "csv"
    if points_column or is_points_table(header):
        return "points"
    raise ConfigError(
        f"'{path}' has neither a column 'class' nor points.", f"It has: {', '.join(header)}."
    )
