"""Labels go out to Label Studio, CVAT and COCO files and come back as the same events."""

from __future__ import annotations

import datetime as dt
import io
import json
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from besana import catalog as tables
from besana.commands.export import export_labels
from besana.errors import ConfigError, NotFoundError
from besana.labels.coco import read_coco, write_coco
from besana.labels.cvat import read_cvat, write_cvat
from besana.labels.events import Event, add_events
from besana.labels.exports import LabelledFrame, Word
from besana.labels.formats import format_of
from besana.labels.json_stream import LONGEST_ITEM, stream_json
from besana.labels.label_studio import read_label_studio, write_label_studio
from besana.labels.statements import Statement
from besana.labels.tables import TableError
from besana.stages import label
from besana.workspace import Workspace

NOW = dt.datetime(2024, 5, 1, 8, 30, 0, 123456, tzinfo=dt.UTC)
FORMATS = ("label-studio", "cvat", "coco")
SETTINGS = """
[cameras.pen]
regions = { "bed-1" = [0, 0, 50, 50], "bed-2" = [50, 0, 100, 50] }
"""

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
names = texts.filter(str.strip) | st.sampled_from(
    ["=1+1", "<b>&amp;", "\\u{41}", "a\x0bb", "\x01", "\ufffe", "x\r\ny", "\u202e", "\"'", "🐄"]
)
moments = st.integers(0, 10**15).map(
    lambda us: dt.datetime(1990, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)
)
words = st.builds(
    Word,
    region=st.sampled_from(["bed-1", "bed-2"]),
    class_name=names,
    holds=st.booleans(),
    annotator=names,
    labelled_at=moments,
    source=names,
    note=texts,
)


def write(kind: str, frames: list[LabelledFrame], folder: Path) -> Path:
    classes = sorted({word.class_name for frame in frames for word in frame.words})
    file = io.StringIO()
    if kind == "label-studio":
        write_label_studio(file, frames)
    elif kind == "cvat":
        write_cvat(file, frames, classes)
    else:
        write_coco(file, frames, classes, folder)
    path = folder / f"labels.{kind}"
    path.write_bytes(file.getvalue().encode())
    return path


def read(kind: str, path: Path, **columns: str) -> Iterator[Statement | TableError]:
    if kind == "label-studio":
        return read_label_studio(path, columns=columns, time_zone="UTC")
    if kind == "cvat":
        return read_cvat(path, time_zone="UTC")
    return read_coco(path, time_zone="UTC", temporary=path.parent)


def said(frame: str, word: Word) -> tuple[Any, ...]:
    told = (word.annotator, word.labelled_at, word.note, word.source)
    return (frame, word.region, word.class_name, word.holds, *told)


@pytest.mark.parametrize("kind", FORMATS)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(names, st.lists(words, min_size=1, max_size=4)), max_size=3))
def test_whatever_was_said_comes_back(
    tmp_path: Path, kind: str, given_frames: list[tuple[str, list[Word]]]
) -> None:
    frames = [
        LabelledFrame(f"pen/{n:03d}", name, "pen", (100, 50), said_there)
        for n, (name, said_there) in enumerate(given_frames)
    ]
    path = write(kind, frames, tmp_path)
    found = [
        (s.image, s.region, s.class_name, s.holds, s.annotator, s.labelled_at, s.note, s.source)
        for s in read(kind, path)
        if isinstance(s, Statement)
    ]
    expected = [said(frame.id, word) for frame in frames for word in frame.words]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert not frames or format_of(path, columns={}, points_column="") == kind


def make_farm(folder: Path) -> Workspace:
    workspace = Workspace.create(folder, SETTINGS)
    rows = [
        {
            "id": f"pen/{n}-x",
            "camera": "pen",
            "captured_at": NOW,
            "time_source": "name",
            "name": f"day 1/cow #{n} 50%.jpg",
            "source": "",
            "source_size_bytes": 1,
            "source_modified_ns": 1,
            "bands": [],
            "sha256": f"{n:064x}",
            "size_bytes": 1,
            "width_px": 100,
            "height_px": 50,
            "metadata": {},
            "collected_at": NOW,
        }
        for n in range(4)
    ]
    workspace.catalog.insert(tables.frames, rows)
    return workspace


def events(workspace: Workspace) -> set[tuple[Any, ...]]:
    rows = workspace.catalog.rows(sa.select(tables.labels))
    return {(row.id, row.class_name, row.note, row.labelled_at) for row in rows}


def label_some(workspace: Workspace, *, multi: bool) -> None:
    at = dt.timedelta(minutes=1)
    add_events(
        workspace.catalog,
        [
            Event("pen/0-x", "bed-1", "lying", True, "Ana", "web", NOW, "a calf, <too>\n=1"),
            Event("pen/0-x", "bed-1", "standing", True, "Eva", "grid", NOW + at),
            Event("pen/0-x", "bed-1", "lying", not multi, "Eva", "grid", NOW + at),
            Event("pen/1-x", "bed-2", "maíz/otro", True, "Ana", "web", NOW + 2 * at),
            Event("pen/1-x", "bed-2", "lying", True, "Ana", "review", NOW + 3 * at),
        ],
        now=NOW,
        multi=multi,
    )


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_exported_labels_are_the_same_events_in_another_workspace(
    tmp_path: Path, kind: Any, multi: bool
) -> None:
    farm, other = make_farm(tmp_path / "farm"), make_farm(tmp_path / "other")
    label_some(farm, multi=multi)
    path = tmp_path / "labels"
    assert export_labels(farm, path, format=kind) == 5
    for workspace in (farm, other):
        label.run(workspace, label.Config(file=[str(path)]))
        assert events(workspace) == events(farm)


@pytest.mark.parametrize("kind", FORMATS)
def test_current_labels_are_one_a_sample(tmp_path: Path, kind: Any) -> None:
    farm, other = make_farm(tmp_path / "farm"), make_farm(tmp_path / "other")
    label_some(farm, multi=False)
    path = tmp_path / "labels"
    export_labels(farm, path, format=kind, current=True)
    label.run(other, label.Config(file=[str(path)], annotator="Leo"))
    rows = other.catalog.rows(sa.select(tables.labels))
    assert {(row.frame_id, row.region, row.class_name, row.annotator) for row in rows} == {
        ("pen/0-x", "bed-1", "lying", "Leo"),
        ("pen/1-x", "bed-2", "lying", "Leo"),
    }


def task(**more: Any) -> dict[str, Any]:
    choice = {"from_name": "what", "to_name": "img", "type": "choices"}
    annotation = {
        "id": 7,
        "completed_by": {"id": 3, "email": "ana@example.org", "first_name": "Ana"},
        "result": [
            {**choice, "value": {"choices": ["lying"]}},
            {"type": "textarea", "value": {"text": ["hidden by a post"]}},
        ],
        "was_cancelled": False,
        "created_at": "2024-05-01T08:00:00.5Z",
        "updated_at": "2024-05-01T09:00:00.5Z",
        **more.pop("annotation", {}),
    }
    data = {"image": "/data/upload/2/0a1b2c3d-cow.jpg"}
    return {"id": 1, "data": data, "annotations": [annotation], **more}


def statements(tmp_path: Path, content: Any, **columns: str) -> list[Statement | TableError]:
    path = tmp_path / "f"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(read(format_of(path, columns={}, points_column=""), path, **columns))


def test_export_of_label_studio_tells_who_when_and_what_else(tmp_path: Path) -> None:
    (one,) = statements(tmp_path, [task()])
    at = dt.datetime(2024, 5, 1, 9, 0, 0, 500000, tzinfo=dt.UTC)
    assert one == Statement(
        row=1,
        image="cow.jpg",
        class_name="lying",
        annotator="ana@example.org",
        labelled_at=at,
        note="hidden by a post",
        source="label-studio",
        unit="task",
    )


def test_skipped_annotations_and_predictions_say_nothing(tmp_path: Path) -> None:
    skipped = task(annotation={"was_cancelled": True}, predictions=[{"result": []}])
    assert statements(tmp_path, [skipped, {"data": {"image": "a.jpg"}}]) == []


def test_what_was_changed_in_label_studio_is_its_persons_word(tmp_path: Path) -> None:
    frame = LabelledFrame("pen/1", "a.jpg", "pen", None, [Word("all", "lying", True, "Ana", NOW)])
    path = write("label-studio", [frame], tmp_path)
    tasks = json.loads(path.read_text())
    annotation = tasks[0]["annotations"][0]
    # On import, Label Studio sets both times and who brought it; a change sets the second.
    annotation |= {"completed_by": 4, "created_at": "2024-06-01T10:00:00Z"}
    annotation["updated_at"] = "2024-06-01T10:00:00.4Z"
    (kept,) = statements(tmp_path, tasks)
    annotation["updated_at"] = "2024-06-01T11:00:00Z"
    annotation["result"][0]["value"]["choices"] = ["empty"]
    (changed,) = statements(tmp_path, tasks)
    assert isinstance(kept, Statement)
    assert isinstance(changed, Statement)
    assert (kept.class_name, kept.annotator, kept.labelled_at) == ("lying", "Ana", NOW)
    assert (changed.class_name, changed.annotator) == ("empty", "user-4")
    assert changed.labelled_at == dt.datetime(2024, 6, 1, 11, tzinfo=dt.UTC)


def test_keys_of_tasks_can_be_named(tmp_path: Path) -> None:
    named = task(data={"photo": "https://x.example/pen/cow%201.jpg?k=1", "spot": "bed-2"})
    (one,) = statements(tmp_path, [named], frame="photo", region="spot")
    assert isinstance(one, Statement)
    assert (one.image, one.region) == ("pen/cow 1.jpg", "bed-2")


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
  <meta><task><labels><label><name>lying</name></label></labels></task></meta>
  <image id="0" name="pen/a &amp; b.jpg" width="100" height="50">
    <tag label="lying" source="manual"><attribute name="region">bed-1</attribute>
      <attribute name="colour">brown</attribute></tag>
    {more}
  </image>
</annotations>"""


def test_tags_of_cvat_are_read_with_their_line(tmp_path: Path) -> None:
    (one,) = statements(tmp_path, CVAT.format(more=""))
    assert one == Statement(
        row=5,
        image="pen/a & b.jpg",
        region="bed-1",
        class_name="lying",
        source="cvat",
        unit="line",
    )


def coco(**more: Any) -> dict[str, Any]:
    return {
        "annotations": [{"id": 1, "image_id": 9, "category_id": 2, "bbox": [], "iscrowd": 0}],
        "images": [{"id": 9, "file_name": "pen/a.jpg"}],
        "categories": [{"id": 2, "name": "lying", "supercategory": ""}],
        **more,
    }


def test_coco_may_have_its_lists_in_any_order(tmp_path: Path) -> None:
    (one,) = statements(tmp_path, coco())
    assert isinstance(one, Statement)
    assert (one.image, one.class_name, one.region, one.labelled_at) == (
        "pen/a.jpg",
        "lying",
        "",
        None,
    )


def box(kind: str) -> Any:
    if kind == "cvat":
        return CVAT.format(more='<box label="cow" xtl="1" ytl="1" xbr="2" ybr="2"/>')
    if kind == "coco":
        return coco(annotations=[{"image_id": 9, "category_id": 2, "bbox": [1, 2, 3, 4]}])
    value = {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["cow"]}
    return [task(annotation={"result": [{"type": "rectanglelabels", "value": value}]})]


ROWS: list[tuple[Any, str]] = [
    (box("cvat"), "line 7, 'box': a box is read by nobody, only tags are"),
    (box("coco"), "annotation 1, 'bbox': it has a bbox; only tags of whole images are read"),
    (box("label-studio"), "task 1, 'result': 'rectanglelabels' is read by nobody"),
    ([{"image": "a.jpg", "what": "lying"}], "task 1, 'data': no task with data; export as JSON"),
    ([task(data={"a": "1", "b": "2"})], "task 1, 'data': no image; name its key in columns"),
    ([task(annotation={"updated_at": "31.12.2023"})], "task 1, 'time': '31.12.2023' is no past"),
    ([task(annotation={"updated_at": "2140-01-01"})], "task 1, 'time': '2140-01-01' is no past"),
    ([task(annotation={"completed_by": ["x"]})], "task 1, 'annotator': \"['x']\" is no text"),
    ([task(annotation={"result": None})], "task 1, 'annotations': it has no result"),
    (coco(annotations=[{"image_id": "9", "category_id": 2}]), "annotation 1, 'image_id': 9 is no"),
    (coco(annotations=[{"image_id": 9, "category_id": 3}]), "annotation 1, 'category_id': 3 is no"),
    (coco(annotations=[7]), "annotation 1: it is no object"),
    (coco(categories=[{"id": 2, "name": "\ud800"}]), "'class': half of a character"),
    (coco(categories=[{"id": 2, "name": " "}]), "annotation 1, 'class': it is empty"),
    (
        coco(
            annotations=[{"image_id": 9, "category_id": 2, "attributes": {"note": "a\0"}}],
        ),
        "annotation 1, 'note': a NUL character",
    ),
    (CVAT.format(more='<tag label=""/>'), "line 7, 'class': it is empty"),
]


@pytest.mark.parametrize(("content", "place"), ROWS)
def test_one_bad_entry_is_named_with_its_place(tmp_path: Path, content: Any, place: str) -> None:
    errors = [str(one) for one in statements(tmp_path, content) if isinstance(one, TableError)]
    assert len(errors) == 1
    assert place in errors[0]


FILES: list[tuple[str | bytes, str]] = [
    ('[{"data": {}', "it breaks off"),
    ('[{"data": {}}', "it breaks off"),
    ("[{}] trailing", "there is more behind its end"),
    ("[{} {}]", "instead of ','"),
    ("[" * 100_000, "too deep"),
    (b'[{"data": "\xff"}]', "not UTF-8"),
    ("[" + "9" * 5000 + "]", "4300 digits"),
    ('{"tasks": []}', "needs images, categories and annotations"),
    (json.dumps(coco(images=[{"id": 9}])), "item 1 of 'images' has no id or no name"),
    (
        json.dumps(coco(images=[{"id": 9, "file_name": "a"}, {"id": 9, "file_name": "b"}])),
        "item 2 of 'images' has the id of another one",
    ),
    ("PK\x03\x04", "zip archive"),
    ("<html><body/></html>", "begins with <html>"),
    ("<annotations><image", "unclosed token"),
    ("<annotations><track/></annotations>", "of a video"),
    ("<annotations>" + "<a>" * 100, "too deep"),
    ('<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "it has a DOCTYPE"),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "it has a DOCTYPE"),
    ("<annotations>&lol;</annotations>", "undefined entity"),
    ('<?xml version="1.0" encoding="big5"?><annotations/>', "encoding"),
]


@pytest.mark.parametrize(("content", "problem"), FILES)
def test_files_that_cannot_be_read_say_why(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as raised:
        list(read(format_of(path, columns={}, points_column=""), path))
    assert problem in str(raised.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_file_is_not_found(tmp_path: Path, kind: str) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        list(read(kind, tmp_path / "nowhere"))


def test_nothing_of_a_file_is_imported_while_a_part_of_it_is_bad(tmp_path: Path) -> None:
    farm = make_farm(tmp_path / "farm")
    good = task(data={"image": "cow #1 50%.jpg", "region": "bed-1"})
    path = tmp_path / "f.json"
    path.write_text(json.dumps([good, {"no": "task"}]))
    with pytest.raises(ConfigError, match="task 2, 'data': no task with data"):
        label.run(farm, label.Config(file=[str(path)]))
    assert not events(farm)
    label.run(farm, label.Config(file=[str(path)], partial=True))
    assert len(events(farm)) == 1


def many(kind: str, folder: Path, count: int) -> Path:
    word = Word("bed-1", "lying", True, "Ana", NOW, "web", "n" * 2000)
    frames = (LabelledFrame(f"pen/{n}", f"{n}.jpg", "pen", None, [word]) for n in range(count))
    path = folder / f"{kind}-{count}"
    with path.open("w", encoding="utf-8") as file:
        writers: dict[str, Callable[[], int]] = {
            "label-studio": lambda: write_label_studio(file, frames),
            "cvat": lambda: write_cvat(file, frames, ["lying"]),
            "coco": lambda: write_coco(file, frames, ["lying"], folder),
        }
        writers[kind]()
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    path = many(kind, tmp_path, 5_000)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read(kind, path))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 5_000
    assert path.stat().st_size > 10_000_000
    assert peak_bytes < 5_000_000


@pytest.mark.parametrize(
    ("opening", "rest"),
    [("[", '"' + "x" * (LONGEST_ITEM + (2 << 20)) + '"]'), ("<annotations><!--", "-" * 6_000_000)],
)
def test_one_endless_item_is_refused(tmp_path: Path, opening: str, rest: str) -> None:
    path = tmp_path / "f"
    path.write_text(opening + rest.replace("--", "- "))
    with pytest.raises(ConfigError, match="4 MB"):
        list(read("cvat" if opening[0] == "<" else "label-studio", path))


@settings(deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_lists_are_streamed_as_json_reads_them(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_text(json.dumps([value, value], indent=1))
        assert [item for _, _, item in stream_json(path)] == [value, value]
