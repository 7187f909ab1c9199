"""The data page: what filters leave, counts and days, pages by key, one picture, versions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from looked_at import FRAMES, freeze_versions, issue, label, look_at_farm
from running import Client
from served_farm import CLASSES, REGIONS, Site, frame_id, served, truth

from besana import catalog as tables
from besana.errors import StorageError
from besana.web.gate import RefusedError
from besana.web.survey import Survey
from besana.web.survey_filter import PictureFilter, counts, find
from besana.web.surveys import Surveys
from besana.workspace import Workspace

ALL = [(number, region) for number in range(FRAMES) for region in REGIONS]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a farm that no test of this module changes."""
    workspace = look_at_farm(tmp_path_factory.mktemp("data") / "farm")
    freeze_versions(workspace)
    with served(workspace) as found:
        yield found


@pytest.fixture(scope="module")
def viewer(site: Site) -> Client:
    return site.client("viewer")


def get(client: Client, path: str, **query: Any) -> Any:
    reply = client.get(f"{path}?{urlencode(query)}")
    assert reply.status == 200, reply.body
    return reply.json


def named(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(item["frame"], item["region"]) for item in items]


def samples(numbers: Any) -> list[tuple[str, str]]:
    wanted = set(numbers)
    return [(frame_id(number), region) for number, region in ALL if (number, region) in wanted]


LABELLED = {(number, region) for number, region in ALL if number < 30}
FILTERS = [
    ({}, ALL),
    ({"region": "bed-2"}, [s for s in ALL if s[1] == "bed-2"]),
    ({"camera": "pen", "region": "bed-1"}, [s for s in ALL if s[1] == "bed-1"]),
    ({"camera": "nowhere"}, []),
    ({"region": "nowhere"}, []),
    ({"first": "2025-03-03", "last": "2025-03-03"}, ALL),
    ({"first": "2025-03-04"}, []),
    # A tie between two people goes to the first name, as everywhere; it is said to be one.
    (
        {"class": "standing"},
        [s for s in LABELLED if truth(*s) == "standing" and s != (3, "bed-1")],
    ),
    ({"class": "nothing"}, []),
    ({"labelled": "no"}, [s for s in ALL if s not in LABELLED]),
    ({"labelled": "yes", "region": "bed-1"}, [s for s in LABELLED if s[1] == "bed-1"]),
    ({"issue": "blurry"}, [(5, "bed-1"), (5, "bed-2")]),
    ({"issue": "any", "region": "bed-1"}, [(5, "bed-1"), (6, "bed-1"), (39, "bed-1")]),
    ({"issue": "none"}, [s for s in ALL if s[0] not in (5, 6, 39)]),
    ({"issue": "nothing"}, []),
    ({"disagree": "people"}, [(3, "bed-1")]),
    ({"disagree": "model", "model": "beds/2", "region": "bed-2"}, [(8, "bed-2"), (9, "bed-2")]),
    (
        {"predicted": "lying", "labelled": "no"},
        [s for s in ALL if s[0] >= 30 and truth(*s) == "lying"],
    ),
    ({"model": "beds/7", "predicted": "lying"}, []),
    ({"dataset": "beds/1", "split": "test"}, [(n, "bed-1") for n in range(15, 20)]),
    ({"dataset": "beds/2", "split": "validation"}, [(13, "bed-1"), (14, "bed-1")]),
    ({"dataset": "beds/2"}, [(n, "bed-1") for n in range(2, 22)]),
    ({"dataset": "nothing/1"}, []),
]


@pytest.mark.parametrize(("wanted", "expected"), FILTERS, ids=[str(f) for f, _ in FILTERS])
def test_filter_leaves_what_it_says(viewer: Client, wanted: dict[str, str], expected: Any) -> None:
    found = get(viewer, "/api/pictures", count=120, **wanted)
    assert named(found["items"]) == samples(expected)
    assert get(viewer, "/api/pictures/counts", **wanted)["total"] == len(expected)


@pytest.mark.parametrize(
    "query",
    ["colour=red", "first=yesterday", "show=all", "count=0", "count=9999", "dataset=../x/1"],
)
def test_wrong_filter_is_said(viewer: Client, query: str) -> None:
    assert viewer.get(f"/api/pictures?{query}").status == 422


def test_pages_by_key_show_each_picture_once_forwards_and_backwards(viewer: Client) -> None:
    pages, after = [], ""
    while True:
        page = get(viewer, "/api/pictures", region="bed-1", count=7, after=after)
        pages.append(named(page["items"]))
        after = page["next"]
        if not after:
            break
    assert [name for names in pages for name in names] == samples(s for s in ALL if s[1] == "bed-1")
    back = get(viewer, "/api/pictures", region="bed-1", count=7, before="/".join(pages[2][0]))
    assert named(back["items"]) == pages[1]
    assert back["previous"] == "/".join(pages[1][0])


def test_page_goes_on_behind_a_picture_that_is_gone(viewer: Client) -> None:
    gone = f"{frame_id(4)}0/bed-1"
    assert named(get(viewer, "/api/pictures", after=gone, count=1)["items"]) == [
        (frame_id(5), "bed-1")
    ]


def test_counts_by_class_and_day_add_up(viewer: Client) -> None:
    found = get(viewer, "/api/pictures/counts")
    assert found["series"] == [*sorted(CLASSES), ""]
    assert sum(found["counts"]) == found["total"] == len(ALL)
    assert found["counts"][-1] == 20
    assert found["timeline"]["bars"] == [["2025-03-03", found["counts"]]]


def test_frames_show_issues_and_what_they_repeat(viewer: Client) -> None:
    page = get(viewer, "/api/pictures", show="frames", issue="near_duplicate")
    assert [(i["frame"], i["repeats"]) for i in page["items"]] == [(frame_id(6), frame_id(5))]
    counted = get(viewer, "/api/pictures/counts", show="frames", issue="any")
    assert counted["total"] == 3
    choices = get(viewer, "/api/pictures/choices")
    assert choices["counted"] == {"blurry": 1, "dark": 1, "near_duplicate": 1}
    assert choices["words"]["blurry"] == ["Blurry", "Borrosa"]


def test_one_picture_tells_all_that_is_known(site: Site, viewer: Client) -> None:
    sample = {"frame": frame_id(3), "region": "bed-1"}
    facts = get(viewer, "/api/picture", **sample)
    assert facts["origin"]["name"] == "0003.jpg"
    assert facts["tied"] is True
    assert facts["predictions"] == [
        {"model": "beds/2", "class": truth(3, "bed-1"), "probability": 0.9}
    ]
    assert facts["datasets"] == [{"dataset": "beds/2", "split": "train", "models": []}]
    assert facts["events"] == [], "who said what is not for everybody"
    assert "metadata" not in str(facts)
    heard = get(site.client("reviewer"), "/api/picture", **sample)["events"]
    assert sorted(event["who"] for event in heard) == ["ana", "eva"]
    own = get(site.client("labeller", "eva"), "/api/picture", **sample)["events"]
    assert [event["who"] for event in own] == ["eva"]
    frame = get(viewer, "/api/picture", frame=frame_id(6))
    assert frame["regions"] == list(REGIONS)
    assert frame["issues"][0]["detail"] == frame_id(5)
    assert viewer.get(f"/api/picture?frame={quote('pen/none')}").status == 404
    assert viewer.get(f"/api/picture?frame={quote(frame_id(3))}&region=bed-9").status == 404


def test_similar_pictures_show_the_same(viewer: Client) -> None:
    found = get(viewer, "/api/similar", frame=frame_id(12), region="bed-1")
    assert found["embedded"] is True
    near = [(int(item["frame"][-8:], 16), item["region"]) for item in found["items"]]
    assert (12, "bed-1") not in near
    assert len(near) == 24
    assert {truth(*each) for each in near} == {truth(12, "bed-1")}
    alike = [item["alike"] for item in found["items"]]
    assert alike == sorted(alike, reverse=True)


def test_versions_are_compared(viewer: Client) -> None:
    assert [v["dataset"] for v in get(viewer, "/api/versions")["versions"]] == ["beds/2", "beds/1"]
    pair = {"one": "beds/1", "other": "beds/2"}
    found = get(viewer, "/api/versions/changes", **pair)
    counted = {kind: found[kind]["count"] for kind in ("added", "removed", "relabelled", "moved")}
    assert counted == {"added": 2, "removed": 2, "relabelled": 1, "moved": 2}
    assert found["kept"] == 15
    assert found["moved"]["ways"] == [["train", "validation", 2]]
    before, after, count = found["relabelled"]["ways"][0]
    assert (before, count) == (truth(10, "bed-1"), 1)
    assert after != before
    moved = get(viewer, "/api/versions/changed", kind="moved", count=1, **pair)
    assert named(moved["items"]) == [(frame_id(13), "bed-1")]
    rest = get(viewer, "/api/versions/changed", kind="moved", position=moved["next"], **pair)
    assert named(rest["items"]) == [(frame_id(14), "bed-1")]
    removed = get(viewer, "/api/versions/changed", kind="removed", **pair)
    assert named(removed["items"]) == [(frame_id(0), "bed-1"), (frame_id(1), "bed-1")]
    assert viewer.get("/api/versions/changes?one=beds/1&other=beds/9").status == 404


def test_a_new_label_is_seen_at_once(tmp_path: Path) -> None:
    workspace = look_at_farm(tmp_path / "farm")
    surveys = Surveys(workspace, lambda: False)
    wanted = PictureFilter(labelled="no")
    assert len(surveys.look().found(wanted).numbers) == 20
    workspace.catalog.insert(tables.labels, [label("ana", 35, "bed-1", "lying")])
    assert len(surveys.look().found(wanted).numbers) == 19
    workspace.catalog.insert(tables.issues, [issue(35, "dark", 1.0)])
    assert len(surveys.look().found(PictureFilter(issue="dark")).numbers) == 4
    surveys.close()


def test_a_first_look_that_takes_long_is_said_and_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveys = Surveys(look_at_farm(tmp_path / "farm"), lambda: False)
    monkeypatch.setattr("besana.web.surveys._WAITED_AT_MOST_S", 0.0)
    with pytest.raises(RefusedError) as refused:
        surveys.look()
    assert (refused.value.status, refused.value.error) == (503, "preparing")
    surveys.close()
    assert len(surveys.look().found(PictureFilter()).numbers) == 80


def test_a_catalog_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    def fail() -> bool:
        raise StorageError("The disk is gone.", "Look for it.")

    surveys = Surveys(look_at_farm(tmp_path / "farm"), fail)
    with pytest.raises(StorageError, match="The disk is gone"):
        surveys.look()


def test_several_classes_may_hold_for_one_sample(tmp_path: Path) -> None:
    workspace = look_at_farm(tmp_path / "farm")
    more = [label("ana", 31, "bed-1", name) for name in CLASSES[:2]]
    no = {**label("ana", 31, "bed-2", "lying"), "holds": False}
    rows = [{**row, "id": f"more-{number}"} for number, row in enumerate([*more, no])]
    workspace.catalog.insert(tables.labels, rows)
    survey = Survey(workspace, multi=True)
    found = find(survey, PictureFilter(labelled="no"), split=None, predicted=None)
    assert survey.sample_name(found.numbers[2]) == (frame_id(31), "bed-2")
    for name in CLASSES[:2]:
        kept = find(survey, PictureFilter(class_name=name), split=None, predicted=None).numbers
        assert (frame_id(31), "bed-1") in [survey.sample_name(number) for number in kept]


def test_days_are_those_of_the_farm_and_long_times_become_longer_bars(tmp_path: Path) -> None:
    settings = '[cameras.pen]\ntime_zone = "Asia/Shanghai"\n'
    workspace = Workspace.create(tmp_path / "farm", settings)
    start = dt.datetime(2024, 1, 7, 17, tzinfo=dt.UTC)  # a Monday already, there
    rows = []
    for number, days in enumerate((0, 7, 30, 400)):
        at = start + dt.timedelta(days=days)
        rows.append({**_frame_row(f"pen/{number}"), "captured_at": at})
    rows.append({**_frame_row("pen/9"), "captured_at": None})
    workspace.catalog.insert(tables.frames, rows)
    survey = Survey(workspace, multi=False)

    def told(**wanted: str) -> Any:
        wanted_filter = PictureFilter(show="frames", **wanted)  # type: ignore[arg-type]
        return counts(survey, find(survey, wanted_filter, split=None, predicted=None))

    assert told(last="2024-03-01")["timeline"]["bars"][0] == ["2024-01-08", [1]]
    whole = told()
    assert (whole["total"], whole["untimed"], whole["timeline"]["unit"]) == (5, 1, "week")
    bars = {day: row[0] for day, row in whole["timeline"]["bars"]}
    assert [day for day, count in bars.items() if count] == [
        "2024-01-08",
        "2024-01-15",
        "2024-02-05",
        "2025-02-10",
    ]
    assert len(bars) == 58


def _frame_row(name: str) -> dict[str, Any]:
    row = {"id": name, "camera": "pen", "time_source": "name", "name": name, "source": name}
    row |= {"source_size_bytes": 1, "source_modified_ns": 0, "bands": [], "sha256": ""}
    row |= {"size_bytes": 1, "width_px": 1, "height_px": 1, "metadata": {}}
    return {**row, "collected_at": dt.datetime.now(dt.UTC)}


def test_survey_holds_few_bytes_a_sample(site: Site) -> None:
    survey = site.desk.surveys.look().survey
    held = [value for value in vars(survey).values() if isinstance(value, np.ndarray)]
    held += [value for value in survey.votes if isinstance(value, np.ndarray)]
    assert sum(column.nbytes for column in held) / len(survey.frame) < 48
