"""Read labels from class folders, and name the files of samples so that they find back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from besana.errors import NotFoundError
from besana.images.files import escape_name
from besana.images.layouts import Passed, Source, class_of, walk
from besana.labels.statements import Statement

NO_CLASS = "_none"
"""Folder of exported samples of which no class holds."""

_BETWEEN = "~"


def read_class_folders(folder: Path) -> Iterator[Statement]:
    """Read what class folders say: the name of a file's folder is its class.

    A file is either an image that was collected, by its path or name, or a sample that
    `besana export folders` wrote and somebody moved to another class.

    Raises:
        NotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise NotFoundError(f"No folder '{folder}'.", "Check the name.")
    for item in walk(Source(os.path.realpath(folder))):
        if isinstance(item, Passed):
            continue
        path = item[0]
        _, class_name = class_of(path)
        if class_name in (None, NO_CLASS):
            continue
        sample = sample_of(path.rpartition("/")[2])
        if sample:
            image, region = sample
            class_name = unquote(class_name)
        else:
            image, region = path, ""
        yield Statement(
            0,
            image=image,
            region=region,
            class_name=escape_name(class_name),
            source="folders",
        )


def class_folder(class_name: str) -> str:
    """Name the folder of a class, also of one that is no file name.

    >>> class_folder("fat hen"), class_folder("../x"), class_folder(".")
    ('fat hen', '..%2Fx', '%2E')
    """
    folder = _quoted(class_name)
    return folder.replace(".", "%2E") if not folder.strip(".") else folder


def sample_file(frame_id: str, region: str, ending: str) -> str:
    """Name the file of a sample.

    >>> sample_file("pen-a/20210308T020246.299Z-0a6fd3d2", "bed 1", "jpg")
    'pen-a~20210308T020246.299Z-0a6fd3d2~bed 1.jpg'
    """
    return f"{_BETWEEN.join(map(_quoted, (*frame_id.split('/'), region)))}.{ending}"


def sample_of(file: str) -> tuple[str, str] | None:
    """Read frame id and region back from the name of a sample's file; None for other names."""
    parts = os.path.splitext(file)[0].split(_BETWEEN)
    if len(parts) != 3 or not all(parts):
        return None
    camera, moment, region = map(unquote, parts)
    return f"{camera}/{moment}", region


def _quoted(text: str) -> str:
    unsafe = f"/\\%{_BETWEEN}"
    return "".join(
        c if c.isprintable() and c not in unsafe else "".join(f"%{b:02X}" for b in c.encode())
        for c in text
    )
