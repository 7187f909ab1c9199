"""What `label` takes from files, what it refuses, and what it reports."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from besana import catalog as tables
from besana.errors import ConfigError, NotFoundError
from besana.labels.folders import sample_file
from besana.stages import label
from besana.workspace import Report, Table, Workspace

NOW = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
SETTINGS = """
[cameras.barn]
regions = { "bed-1" = [0, 0, 50, 50], "bed-2" = [50, 0, 100, 50] }
[cameras.tiled]
grid = { size_px = 50 }
"""


@pytest.fixture
def farm(tmp_path: Path) -> Workspace:
    """Two plain frames, one name twice in two cameras, and frames with regions and a grid."""
    workspace = Workspace.create(tmp_path / "farm", SETTINGS)
    names = {
        "default/a-1": ("default", "day/a.jpg"),
        "default/b-1": ("default", "day/b.jpg"),
        "one/x-1": ("one", "one/x.jpg"),
        "two/x-2": ("two", "two/x.jpg"),
        "barn/f-1": ("barn", "barn/f.jpg"),
        "tiled/g-1": ("tiled", "tiled/g.jpg"),
    }
    add_frames(workspace, names)
    return workspace


def add_frames(workspace: Workspace, names: dict[str, tuple[str, str]]) -> None:
    rows = [
        {
            "id": frame_id,
            "camera": camera,
            "captured_at": NOW,
            "time_source": "name",
            "name": name,
            "source": f"file:///{name}",
            "source_size_bytes": 1,
            "source_modified_ns": 1,
            "bands": [],
            "sha256": f"{number:064x}",
            "size_bytes": 1,
            "width_px": 100,
            "height_px": 50,
            "metadata": {},
            "collected_at": NOW,
        }
        for number, (frame_id, (camera, name)) in enumerate(names.items())
    ]
    workspace.catalog.insert(tables.frames, rows)


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def run(workspace: Workspace, *files: Path, **settings: Any) -> Report:
    return label.run(workspace, label.Config(file=[str(file) for file in files], **settings))


def said(workspace: Workspace) -> set[tuple[str, str, str, bool, str]]:
    select = sa.select(tables.labels)
    return {
        (row.frame_id, row.region, row.class_name, row.holds, row.annotator)
        for row in workspace.catalog.rows(select)
    }


def table(report: Report, title: str) -> list[tuple[Any, ...]]:
    (found,) = (s for s in report.sections if isinstance(s, Table) and s.title == title)
    return [tuple(row) for row in found.rows]


def test_csv_is_imported_by_path_name_and_id(farm: Workspace, tmp_path: Path) -> None:
    file = put(
        tmp_path / "l.csv",
        "frame,region,class,annotator,time\n"
        "day/a.jpg,,cow,ana,2024-05-01T10:00:00+02:00\n"
        "b.jpg,all,empty,,\n"
        "one/x-1,,cow,ana,2024-05-01 10:00:00\n"
        "barn/f.jpg,bed-2,lying,eva,\n"
        "C:\\photos\\tiled\\g.jpg,r00c01,cow,ana,\n",
    )

    report = run(farm, file, annotator="someone")

    assert (report.counts_in, report.counts_out, dict(report.dropped)) == (5, 5, {})
    assert said(farm) == {
        ("default/a-1", "all", "cow", True, "ana"),
        ("default/b-1", "all", "empty", True, "someone"),
        ("one/x-1", "all", "cow", True, "ana"),
        ("barn/f-1", "bed-2", "lying", True, "eva"),
        ("tiled/g-1", "r00c01", "cow", True, "ana"),
    }
    at = farm.catalog.scalar(
        sa.select(tables.labels.c.labelled_at).where(tables.labels.c.frame_id == "default/a-1")
    )
    assert at == dt.datetime(2024, 5, 1, 8, tzinfo=dt.UTC)


def test_importing_again_adds_nothing_and_an_edit_only_itself(
    farm: Workspace, tmp_path: Path
) -> None:
    file = put(tmp_path / "l.csv", "frame,class\na.jpg,cow\nb.jpg,cow\n")
    assert run(farm, file).counts_out == 2
    again = run(farm, file)
    assert (again.counts_out, dict(again.dropped)) == (0, {"already_there": 2})
    for class_name in ("empty", "cow", "empty"):
        put(file, f"frame,class\na.jpg,{class_name}\nb.jpg,cow\n")
        assert run(farm, file).counts_out == 1
    current = farm.catalog.rows(sa.select(tables.current_labels))
    assert {row.frame_id: row.class_name for row in current} == {
        "default/a-1": "empty",
        "default/b-1": "cow",
    }


def test_a_camera_column_tells_equal_names_apart(farm: Workspace, tmp_path: Path) -> None:
    file = put(tmp_path / "l.csv", "frame,camera,class\nx.jpg,two,cow\n")
    run(farm, file)
    assert {row[0] for row in said(farm)} == {"two/x-2"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("frame,class\na.jpg,cwo\n", ["row 2, column 'class'", "mean 'cow'?), allowed: cow"]),
        ("frame,class\na.jpg,cow\na.jpg,cow,extra\n", ["row 3", "3 cells"]),
        ("frame,class,colour\na.jpg,cow,red\n", ["row 1: unknown column 'colour'", "annotator"]),
        ("frame,class\na.jpg,c\0ow\n", ["row 2, column 'class'", "NUL"]),
        (f"frame,class,note\na.jpg,cow,{'x' * 10_000_000}\n", ["row 2, column 'note'", "10,000"]),
        ("frame,class\nx.jpg,cow\n", ["row 2", "fits several frames"]),
        ("frame,class\nf.jpg,cow\n", ["row 2, column 'region'", "has 2 regions"]),
        ("frame,region,class\nf.jpg,bed-3,cow\n", ["row 2", "bed-3", "did you mean 'bed-"]),
        ("frame,class,time\na.jpg,cow,yesterday\n", ["row 2, column 'time'", "yesterday"]),
        ("frame,class,time\na.jpg,cow,2106-01-01\n", ["row 2, column 'time'", "2106"]),
        ("frame,class,holds\na.jpg,cow,maybe\n", ["row 2, column 'holds'", "true or false"]),
        ("frame,class\n,cow\n", ["row 2, column 'frame'", "empty"]),
        ("frame,class\na.jpg,\n", ["row 2, column 'class'", "empty"]),
        ("frame,class\na.jpg,old\n", ["row 2, column 'class'", "retired"]),
        ('frame,class,note\n\na.jpg,cow,"two\nlines"\n"q\nq.jpg",cwo,\n', ["row 4", "cwo"]),
        ('frame,class\n"a.jpg,cow\n', ["row 2", "unexpected end"]),
        ("frame,frame,class\n", ["twice"]),
        ("class\ncow\n", ["no column 'frame'"]),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_nothing_is_imported(
    farm: Workspace, tmp_path: Path, text: str, says: list[str]
) -> None:
    header, rest = text.split("\n", 1)
    good = "b.jpg" + "," * (header.count(",")) + "\n"
    good = good.replace(",", ",cow", 1) if header.startswith("frame,class") else ""
    file = put(tmp_path / "l.csv", f"{header}\n{rest}{good}")
    add_frames(farm, {"default/q-1": ("default", r"q\x0aq.jpg")})

    with pytest.raises(ConfigError) as error:
        run(farm, file, classes=["cow", "empty"], retired_classes=["old"])

    message = str(error.value)
    assert [part for part in says if part not in message] == []
    assert said(farm) == set()


def test_partial_imports_the_good_rows_and_lists_the_others(
    farm: Workspace, tmp_path: Path
) -> None:
    file = put(tmp_path / "l.csv", "frame,class\na.jpg,cow\nb.jpg,cwo\nnowhere.jpg,cow\n")

    report = run(farm, file, classes=["cow"], partial=True)

    assert (report.counts_in, report.counts_out) == (3, 1)
    assert dict(report.dropped) == {"unknown_class": 1, "unknown_image": 1}
    assert table(report, "Rows that were not imported")[0][1:4] == (3, "class", "unknown_class")
    assert table(report, "Unknown images") == [(str(file), "nowhere.jpg")]


@pytest.mark.parametrize(
    "data",
    [
        b'\xef\xbb\xbfframe;class;note\r\na.jpg;cow;"two\r\nlines"\r\n',
        b"frame\tclass\tnote\na.jpg\tcow\ttwo\n",
        b"frame,class,note\ra.jpg,cow,two\r",
    ],
)
def test_csv_of_any_program_is_read(farm: Workspace, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "l.csv"
    file.write_bytes(data)
    assert run(farm, file).counts_out == 1
    (row,) = farm.catalog.rows(sa.select(tables.labels))
    assert (row.class_name, row.note[:3]) == ("cow", "two")


def test_a_file_that_is_not_utf8_is_refused(farm: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "l.csv"
    file.write_bytes("frame,class\na.jpg,café\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        run(farm, file)
    with pytest.raises(NotFoundError):
        run(farm, tmp_path / "nothing.csv")


def test_strange_text_is_kept_word_for_word(farm: Workspace, tmp_path: Path) -> None:
    note = '=HYPERLINK(""http://x"")<script>' + "\U0001f404" * 200_000
    file = put(tmp_path / "l.csv", f'frame,class,note\na.jpg,<b>cow</b>,"{note}"\n')
    run(farm, file)
    (row,) = farm.catalog.rows(sa.select(tables.labels))
    assert row.class_name == "<b>cow</b>"
    assert row.note == note.replace('""', '"')


def test_unknown_images_are_listed_and_all_unknown_is_an_error(
    farm: Workspace, tmp_path: Path
) -> None:
    file = put(tmp_path / "l.csv", "frame,class\nno/a.png,cow\nb.jpg,cow\n")
    report = run(farm, file)
    assert (report.counts_out, dict(report.dropped)) == (1, {"unknown_image": 1})
    file = put(tmp_path / "l.csv", "frame,class\nno.jpg,cow\nnor.jpg,cow\n")
    with pytest.raises(NotFoundError, match="None of the 2 images"):
        run(farm, file)


def test_other_columns_can_be_named(farm: Workspace, tmp_path: Path) -> None:
    file = put(tmp_path / "l.csv", "x,bild,art\n1,a.jpg,cow\n")
    run(farm, file, columns={"frame": "bild", "class": "art"})
    assert {row[:3] for row in said(farm)} == {("default/a-1", "all", "cow")}
    with pytest.raises(ConfigError, match="No column 'bilder'"):
        run(farm, file, columns={"frame": "bilder", "class": "art"})
    with pytest.raises(ConfigError, match="'klass' in columns"):
        run(farm, file, columns={"klass": "art"})


def test_points_make_regions_present_or_absent(farm: Workspace, tmp_path: Path) -> None:
    file = put(
        tmp_path / "p.csv",
        "frame,camera,width_px,height_px,cow_points_xy\n"
        'f.jpg,barn,100,50,"[[10.5, 20], [12, 21]]"\n'
        "g.jpg,tiled,100,50,[]\n",
    )

    report = run(farm, file, present_class="cow", absent_class="empty")

    assert (report.counts_in, report.counts_out) == (4, 4)
    assert {row[:3] for row in said(farm)} == {
        ("barn/f-1", "bed-1", "cow"),
        ("barn/f-1", "bed-2", "empty"),
        ("tiled/g-1", "r00c00", "empty"),
        ("tiled/g-1", "r00c01", "empty"),
    }
    assert run(farm, file, present_class="cow", absent_class="empty").counts_out == 0


def test_points_can_be_one_a_row(farm: Workspace, tmp_path: Path) -> None:
    file = put(tmp_path / "p.csv", "image,x,y\nf.jpg,60,10\nf.jpg,70,10\ng.jpg,,\n")
    run(farm, file)
    assert {row[:3] for row in said(farm) if row[2] == "present"} == {
        ("barn/f-1", "bed-2", "present")
    }
    assert len(said(farm)) == 4


def test_points_are_taken_through_the_lens(tmp_path: Path) -> None:
    settings = (
        "[cameras.fish]\n"
        'lens = { model = "fisheye", focal_px = [40], size_px = [100, 50] }\n'
        "regions = { left = [0, 0, 20, 50], rest = [20, 0, 100, 50] }\n"
    )
    farm = Workspace.create(tmp_path / "fish", settings)
    add_frames(farm, {"fish/f-1": ("fish", "f.jpg")})
    # 28.5 px left of the middle is 0.7125 rad off the axis, so 34.6 px left in a straight picture.
    file = put(tmp_path / "p.csv", 'frame,points\nf.jpg,"[[21.0, 24.5]]"\n')

    run(farm, file)

    assert {row[1]: row[2] for row in said(farm)} == {"left": "present", "rest": "absent"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("frame,points\nf.jpg,nonsense\n", "row 2, column 'points'"),
        ('frame,points\nf.jpg,"[[1, NaN]]"\n', "row 2, column 'points'"),
        ("frame,points,width_px,height_px\nf.jpg,[],10,10\n", "has (100, 50) px"),
        ("frame,x,y\nf.jpg,1,b\n", "row 2, column 'x'"),
        ("frame,x,y\nf.jpg,1,1\ng.jpg,1,1\nf.jpg,2,2\n", "row 4"),
    ],
)
def test_bad_points_are_named(farm: Workspace, tmp_path: Path, text: str, says: str) -> None:
    file = put(tmp_path / "p.csv", text)
    with pytest.raises(ConfigError) as error:
        run(farm, file)
    assert says in str(error.value)
    assert said(farm) == set()


def test_class_folders_label_frames_and_exported_samples(farm: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "sorted"
    for name in ("cow/day/a.jpg", f"empty/{sample_file('barn/f-1', 'bed-2', 'jpg')}"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")

    run(farm, folder)

    assert {row[:3] for row in said(farm)} == {
        ("default/a-1", "all", "cow"),
        ("barn/f-1", "bed-2", "empty"),
    }


def test_a_class_in_use_cannot_vanish(farm: Workspace, tmp_path: Path) -> None:
    file = put(tmp_path / "l.csv", "frame,class\na.jpg,cow\nb.jpg,calf\n")
    run(farm, file)
    with pytest.raises(ConfigError, match="1 labels use the class 'calf'"):
        run(farm, classes=["cow"])
    run(farm, classes=["cow"], retired_classes=["calf"])


def test_rename_keeps_the_history(farm: Workspace, tmp_path: Path) -> None:
    file = put(
        tmp_path / "l.csv",
        "frame,class,annotator,time\n"
        "a.jpg,calf,ana,2024-01-01T00:00:00Z\n"
        "a.jpg,cow,eva,2024-01-01T00:00:00Z\n"
        "b.jpg,calf,ana,2024-01-01T00:00:00Z\n"
        "b.jpg,empty,ana,2024-01-02T00:00:00Z\n",
    )
    run(farm, file)

    report = run(farm, rename={"calf": "young"})

    assert report.facts["labels_renamed"] == 2
    current = farm.catalog.rows(sa.select(tables.current_labels))
    assert {(r.frame_id, r.class_name, r.tied) for r in current} == {
        ("default/a-1", "cow", True),
        ("default/b-1", "empty", False),
    }
    assert ("default/a-1", "all", "calf", True, "ana") in said(farm)
    assert ("default/a-1", "all", "young", True, "ana") in said(farm)
    assert run(farm, rename={"calf": "young"}).facts["labels_renamed"] == 0


def test_rename_among_several_classes_ends_the_old_one(farm: Workspace, tmp_path: Path) -> None:
    file = put(
        tmp_path / "l.csv",
        "frame,class,holds,time\n"
        "a.jpg,weed,true,2024-01-01T00:00:00Z\n"
        "a.jpg,water,false,2024-01-01T00:00:00Z\n",
    )
    run(farm, file)
    run(farm, rename={"weed": "weeds"})
    current = farm.catalog.rows(sa.select(tables.current_class_labels))
    assert {row.class_name: bool(row.holds) for row in current} == {
        "weed": False,
        "weeds": True,
        "water": False,
    }
    assert run(farm, rename={"weed": "weeds"}).facts["labels_renamed"] == 0


def test_ties_contradictions_and_agreement_are_reported(farm: Workspace, tmp_path: Path) -> None:
    file = put(
        tmp_path / "l.csv",
        "frame,region,class,annotator\n"
        "a.jpg,,cow,ana\na.jpg,,cow,eva\n"
        "b.jpg,,cow,ana\nb.jpg,,empty,eva\n"
        "f.jpg,bed-1,cow,ana\nf.jpg,bed-1,empty,ana\n",
    )

    report = run(farm, file)

    assert report.facts["label_events"] == 6
    assert report.facts["samples_tied"] == 2
    assert report.facts["contradictions"] == 1
    assert table(report, "Tied samples") == [
        ("barn/f-1/bed-1", "cow, empty"),
        ("default/b-1/all", "cow, empty"),
    ]
    assert table(report, "Contradictions") == [("barn/f-1/bed-1", "ana", "cow, empty")]
    assert table(report, "Labels by annotator") == [("ana", 4), ("eva", 2)]
    assert table(report, "Agreement of annotators") == [("ana", "eva", 2, 0.5, 0.0)]
    assert run(farm, file).counts_out == 0


def test_identical_files_with_different_labels_are_reported(
    farm: Workspace, tmp_path: Path
) -> None:
    file = put(tmp_path / "l.csv", "frame,class\na.jpg,cow\nb.jpg,empty\n")
    issue = {"stage": "clean", "blocks": False, "found_at": NOW, "score": None}
    farm.catalog.insert(
        tables.issues,
        [{"frame_id": "default/b-1", "kind": "exact_duplicate", "detail": "default/a-1", **issue}],
    )
    looked_at = {column.name: 0 for column in tables.quality.c if not column.nullable}
    farm.catalog.insert(tables.quality, [{**looked_at, "frame_id": "default/a-1", "light": "day"}])

    report = run(farm, file)

    assert report.facts["identical_files_with_different_labels"] == 1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_and_run_again_has_every_label_once(
    farm: Workspace, tmp_path: Path, seed: int
) -> None:
    names = {f"many/{i:05d}-0": ("many", f"many/{i:05d}.jpg") for i in range(12_000)}
    add_frames(farm, names)
    rows = "".join(f"many/{i:05d}.jpg,{'cow' if i % 3 else 'empty'}\n" for i in range(12_000))
    file = put(tmp_path / "l.csv", f"frame,class\n{rows}")
    command = (
        "from besana.stages import label; from besana.workspace import Workspace;"
        f"label.run(Workspace({str(farm.path)!r}), label.Config(file=[{str(file)!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
    time.sleep(np.random.default_rng(seed).uniform(0.8, 3.0))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    report = run(farm, file)

    assert report.counts_in == 12_000 == report.counts_out + report.dropped["already_there"]
    assert farm.catalog.count(sa.select(tables.labels)) == 12_000
    assert report.facts["samples_labelled"] == 12_000
    assert run(farm, file).counts_out == 0
