"""Read and write tasks of Label Studio: one task a sample, one annotation a person and moment."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qs, quote, unquote, urlsplit

from besana.config import suggestion
from besana.errors import ConfigError
from besana.labels.exports import LabelledFrame, Word
from besana.labels.json_stream import stream_json
from besana.labels.statements import Reading, Statement
from besana.labels.tables import TableError

_LOCAL = "/data/local-files/"
_UPLOADED = re.compile(r"^/data/upload/.*?(?:[0-9a-f]{8}-)?([^/]+)$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_OWN = "besana"
_HOLDS, _HOLDS_NOT = "class", "class_not"
_WHAT = ("frame", "region", "camera")
_SAVED_AT_ONCE = dt.timedelta(seconds=1)


def read_label_studio(
    path: Path, *, columns: Mapping[str, str], time_zone: str
) -> Iterator[Statement | TableError]:
    """Read the choices in a JSON export of Label Studio, task by task.

    Who, when and how comes from what besana wrote into an annotation, as long as nobody changed
    it in Label Studio; else from `completed_by` and `updated_at`. Skipped annotations say
    nothing, and neither do predictions.

    Args:
        path: The file, a list of tasks.
        columns: `frame`, `region` or `camera` -> its key in the data of a task.
        time_zone: Zone of times without one.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is no list of tasks.
    """
    for what in columns:
        if what not in _WHAT:
            raise ConfigError(f"'{what}' in columns is unknown.", suggestion(what, _WHAT))
    reading = Reading("task", "label-studio", time_zone)
    for key, number, task in stream_json(path):
        if key:
            raise ConfigError(
                f"'{path}' is no list of tasks, it has '{key[:50]}'.", "Export from it as JSON."
            )
        yield from _of_task(number, task, columns, reading)


def image_of(text: str) -> str:
    """Read from the address of an image in Label Studio the path that it had before.

    >>> image_of("/data/upload/3/0a1b2c3d-cow.jpg"), image_of("/data/local-files/?d=pen/a%20b.jpg")
    ('cow.jpg', 'pen/a b.jpg')
    >>> image_of("https://farm.example/pen/cow.jpg?key=1"), image_of("pen/50%.jpg")
    ('pen/cow.jpg', 'pen/50%.jpg')
    """
    if not text.startswith(("http://", "https://", "/data/")):
        return text.split("/", 3)[-1] if _SCHEME.match(text) else text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    if parts.path == _LOCAL:
        return parse_qs(parts.query).get("d", [text])[0]
    uploaded = _UPLOADED.match(parts.path)
    return unquote(uploaded[1] if uploaded else parts.path).lstrip("/")


def _of_task(
    number: int, task: Any, columns: Mapping[str, str], reading: Reading
) -> Iterator[Statement | TableError]:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        problem = "no task with data; export as JSON, not as JSON-MIN"
        yield reading.error(number, "data", "no_task", problem)
        return
    about: dict[str, Any] = {what: data.get(columns.get(what, what)) for what in _WHAT}
    image = about.pop("frame") or data.get("image") or _only_text(data)
    if not isinstance(image, str):
        problem = f"no image; name its key in columns, as {{frame = {next(iter(data), '...')!r}}}"
        yield reading.error(number, "data", "no_image", problem)
        return
    about["image"] = image if data.get("frame") == image else image_of(image)
    annotations = task.get("annotations", task.get("completions")) or []
    for annotation in annotations if isinstance(annotations, list) else [None]:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result", []), list):
            yield reading.error(number, "annotations", "no_annotation", "it has no result")
        elif not annotation.get("was_cancelled"):
            yield from _of_annotation(number, annotation, about, reading)


def _only_text(data: Mapping[str, Any]) -> Any:
    texts = [value for value in data.values() if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else None


def _of_annotation(
    number: int, annotation: Mapping[str, Any], about: Mapping[str, Any], reading: Reading
) -> Iterator[Statement | TableError]:
    time = annotation.get("updated_at") or annotation.get("created_at")
    told = {**about, "annotator": _who(annotation.get("completed_by")), "time": time}
    results = [r if isinstance(r, dict) else {} for r in annotation.get("result", [])]
    told["note"] = _notes(results)
    changed = _was_changed(annotation)
    for result in results:
        names = _choices(result)
        if result.get("type") == "textarea":
            continue
        if names is None:
            problem = f"{str(result.get('type'))[:50]!r} is read by nobody, only choices are"
            yield reading.error(number, "result", "no_choices", problem)
            continue
        own = {} if changed else _own(result)
        holds = result.get("from_name") != _HOLDS_NOT
        for name in names:
            yield reading.statement(number, name, {**told, **own, "holds": holds})


def _choices(result: Mapping[str, Any]) -> list[Any] | None:
    """Give what was chosen for the whole image; None for anything else."""
    value = result.get("value")
    if result.get("type") != "choices" or not isinstance(value, dict) or "x" in value:
        return None
    names = value.get("choices")
    return names if isinstance(names, list) else None


def _own(result: Mapping[str, Any]) -> dict[str, Any]:
    """Read what besana wrote beside a choice."""
    meta = result.get("meta")
    own = meta.get(_OWN) if isinstance(meta, dict) else None
    return own if isinstance(own, dict) else {}


def _notes(results: Iterable[Mapping[str, Any]]) -> str:
    """Put together what people wrote into text areas and beside choices."""
    metas = (r.get("meta") for r in results if r.get("type") == "choices")
    beside = [{"value": meta} for meta in metas if isinstance(meta, dict) and _OWN not in meta]
    areas = [r for r in results if r.get("type") == "textarea"]
    return "\n".join(filter(None, map(_text, [*areas, *beside])))


def _was_changed(annotation: Mapping[str, Any]) -> bool:
    """Tell whether somebody changed an annotation in Label Studio after it came there."""
    try:
        first, last = (
            dt.datetime.fromisoformat(annotation[key]) for key in ("created_at", "updated_at")
        )
        return last - first > _SAVED_AT_ONCE
    except (KeyError, TypeError, ValueError):
        return False


def _text(result: Mapping[str, Any]) -> str:
    value = result.get("value")
    texts = value.get("text", []) if isinstance(value, dict) else []
    return "\n".join(map(str, texts)) if isinstance(texts, list) else str(texts)


def _who(completed_by: Any) -> Any:
    if not isinstance(completed_by, dict):
        return f"user-{completed_by}" if isinstance(completed_by, int) else completed_by
    names = " ".join(str(completed_by.get(key) or "") for key in ("first_name", "last_name"))
    return completed_by.get("email") or names.strip() or f"user-{completed_by.get('id')}"


def write_label_studio(file: TextIO, frames: Iterable[LabelledFrame]) -> int:
    """Write tasks that Label Studio imports and `read_label_studio` reads; give the labels.

    `completed_by` is left out, because Label Studio refuses people whom it does not know.
    """
    count = 0
    file.write("[")
    for frame in frames:
        for region, words in itertools.groupby(frame.words, key=lambda word: word.region):
            said = list(words)
            file.write(",\n" if count else "\n")
            json.dump(_task(frame, region, said), file, ensure_ascii=False)
            count += len(said)
    file.write("\n]\n")
    return count


def _task(frame: LabelledFrame, region: str, words: Iterable[Word]) -> dict[str, Any]:
    together: dict[tuple[Any, ...], list[Word]] = {}
    for word in words:
        key = (word.annotator, word.labelled_at, word.source, word.note)
        together.setdefault(key, []).append(word)
    image = f"{_LOCAL}?d={quote(frame.name)}"
    return {
        "data": {"image": image, "frame": frame.id, "region": region, "camera": frame.camera},
        "annotations": [_annotation(said) for said in together.values()],
    }


def _annotation(words: list[Word]) -> dict[str, Any]:
    told, note = words[0].told(), words[0].note
    meta = {**({"text": [note]} if note else {}), _OWN: {**told, "note": note}}
    results = [
        {
            "id": f"{name}-{number}",
            "from_name": name,
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [word.class_name]},
            "meta": meta,
        }
        for number, word in enumerate(words)
        for name in [_HOLDS if word.holds else _HOLDS_NOT]
    ]
    at = {"created_at": told["time"], "updated_at": told["time"]} if "time" in told else {}
    return {"result": results, "was_cancelled": False, "ground_truth": False, **at}
