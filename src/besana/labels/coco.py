"""Read and write COCO files whose annotations are tags of whole images.

COCO has classes, images and annotations; it knows no region, annotator, time or note, and cannot
say that a class does not hold. Those lie in the `attributes` of an annotation, as CVAT and
Datumaro write them, and are left alone by programs that do not know them.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from besana.errors import ConfigError
from besana.labels.exports import LabelledFrame, Word
from besana.labels.json_stream import stream_json
from besana.labels.statements import Reading, Statement
from besana.labels.tables import TableError

_MOST_CLASSES = 100_000
_SHAPES = ("bbox", "segmentation", "keypoints")
_TOLD = ("frame", "region", "annotator", "time", "source", "note", "holds", "camera")

Place = tuple[str, int]


def read_coco(path: Path, *, time_zone: str, temporary: Path) -> Iterator[Statement | TableError]:
    """Read the image tags of a COCO file; it is gone through twice, images wait on disk.

    Args:
        path: The file.
        time_zone: Zone of times without one.
        temporary: A folder for the images.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is no COCO file, or its lists of images or classes cannot be used.
    """
    reading = Reading("annotation", "coco", time_zone)
    with tempfile.NamedTemporaryFile(dir=temporary, suffix=".sqlite") as scratch:
        connection = sqlite3.connect(scratch.name)
        with closing(connection):
            # Scratch data: nothing is lost when it is torn.
            connection.execute("PRAGMA journal_mode=OFF")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("CREATE TABLE images (id TEXT PRIMARY KEY, name TEXT)")
            classes = _read_lists(path, connection)
            for key, number, annotation in stream_json(path):
                if key == "annotations" and number:
                    yield _of_annotation(number, annotation, classes, connection, reading)


def _read_lists(path: Path, connection: sqlite3.Connection) -> dict[str, str]:
    """Keep the images on disk, and give the names of the classes by their ids."""
    classes: dict[str, str] = {}
    keys = set()
    for key, number, item in stream_json(path):
        keys.add(key)
        if not number or key not in ("images", "categories"):
            continue
        name = item.get("file_name" if key == "images" else "name") if _has_id(item) else None
        if not isinstance(name, str):
            raise _wrong(path, f"item {number} of '{key}' has no id or no name")
        if key == "categories":
            if len(classes) >= _MOST_CLASSES:
                raise _wrong(path, f"there are more than {_MOST_CLASSES:,} categories")
            if classes.setdefault(_id(item["id"]), name) != name:
                raise _wrong(path, f"item {number} of '{key}' has the id of another one")
        else:
            _keep(path, connection, number, item, name)
    if "annotations" not in keys or "categories" not in keys or "images" not in keys:
        raise _wrong(path, "it needs images, categories and annotations")
    return classes


def _keep(
    path: Path, connection: sqlite3.Connection, number: int, item: dict[str, Any], name: str
) -> None:
    try:
        connection.execute("INSERT INTO images VALUES (?, ?)", (_id(item["id"]), name))
    except sqlite3.IntegrityError:
        raise _wrong(path, f"item {number} of 'images' has the id of another one") from None
    except UnicodeEncodeError:
        raise _wrong(path, f"item {number} of 'images' has half of a character") from None


def _of_annotation(
    number: int,
    annotation: Any,
    classes: dict[str, str],
    connection: sqlite3.Connection,
    reading: Reading,
) -> Statement | TableError:
    if not isinstance(annotation, dict):
        return reading.error(number, "", "no_annotation", "it is no object")
    shape = next((name for name in _SHAPES if annotation.get(name)), None)
    if shape:
        problem = f"it has a {shape}; only tags of whole images are read"
        return reading.error(number, shape, "no_tag", problem)
    name = classes.get(_id(annotation.get("category_id")))
    if name is None:
        problem = f"{str(annotation.get('category_id'))[:50]} is no id of a category"
        return reading.error(number, "category_id", "no_class", problem)
    image = _id(annotation.get("image_id"))
    found = connection.execute("SELECT name FROM images WHERE id = ?", (image,)).fetchone()
    if found is None:
        problem = f"{str(annotation.get('image_id'))[:50]} is no id of an image"
        return reading.error(number, "image_id", "no_image", problem)
    more = annotation.get("attributes")
    told = {what: more[what] for what in _TOLD if what in more} if isinstance(more, dict) else {}
    frame = told.pop("frame", "")
    return reading.statement(number, name, {**told, "image": frame or found[0]})


def _has_id(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("id"), (int, str))


def _id(value: Any) -> str:
    """Write an id so that 1 and "1" stay two; it is ASCII whatever it holds."""
    return json.dumps(value)


def _wrong(path: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"'{path}' is no COCO file that can be read: {problem}.", "Correct or export it again."
    )


def write_coco(
    file: TextIO, frames: Iterable[LabelledFrame], classes: Sequence[str], temporary: Path
) -> int:
    """Write images, and one annotation a label; give the number of labels.

    Args:
        file: The file, UTF-8.
        frames: What was said.
        classes: All classes; their ids are their places, from 1.
        temporary: A folder where annotations wait until the images are written.
    """
    ids = {name: number for number, name in enumerate(classes, 1)}
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    file.write(f'{{"info": {{}}, "licenses": [],\n"categories": {_json(categories)},\n"images": [')
    count = 0
    with tempfile.TemporaryFile("w+", dir=temporary, encoding="utf-8") as spool:
        for image, frame in enumerate(frames, 1):
            file.write(f"{',' if image > 1 else ''}\n{_json(_image(image, frame))}")
            for word in frame.words:
                count += 1
                annotation = _annotation(count, image, ids[word.class_name], frame.id, word)
                spool.write(f"{',' if count > 1 else ''}\n{_json(annotation)}")
        file.write('\n],\n"annotations": [')
        spool.seek(0)
        shutil.copyfileobj(spool, file)
    file.write("\n]}\n")
    return count


def _image(number: int, frame: LabelledFrame) -> dict[str, Any]:
    size = {"width": frame.size_px[0], "height": frame.size_px[1]} if frame.size_px else {}
    return {"id": number, "file_name": frame.name, **size}


def _annotation(
    number: int, image: int, category: int, frame_id: str, word: Word
) -> dict[str, Any]:
    told: dict[str, Any] = {"frame": frame_id, "region": word.region, **word.told()}
    if word.note:
        told["note"] = word.note
    if not word.holds:
        told["holds"] = False
    return {"id": number, "image_id": image, "category_id": category, "attributes": told}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
