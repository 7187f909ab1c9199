"""Answers: hours that are known beforehand, unknown time kept unknown, shares of a field."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from besana import catalog as tables
from besana.errors import ConfigError, NotReadyError
from besana.stages import answers
from besana.workspace import Report, Workspace

INTERVAL_S = 600
MIDNIGHT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
SETTINGS = """
[cameras.barn]
frame_interval_s = 600
time_zone = "UTC"
[cameras.barn.regions]
bed-1 = [0, 0, 100, 100]
bed-2 = [100, 0, 200, 100]
"""


def frame_row(camera: str, at: dt.datetime | None, number: int = 0) -> dict[str, Any]:
    stamp = f"{at:%Y%m%dT%H%M%S}.000Z" if at else f"tile{number:06d}"
    return {
        "id": f"{camera}/{stamp}-{number:08x}",
        "camera": camera,
        "captured_at": at,
        "time_source": "name",
        "name": f"{camera}/{stamp}.jpg",
        "source": "",
        "source_size_bytes": 1,
        "source_modified_ns": 1,
        "bands": [],
        "sha256": "",
        "size_bytes": 1,
        "width_px": 200,
        "height_px": 100,
        "metadata": {},
        "collected_at": MIDNIGHT + dt.timedelta(days=400),
    }


def prediction_row(
    frame_id: str, region: str, name: str, classes: Sequence[str], **more: Any
) -> dict[str, Any]:
    probabilities = {c: float(c == name) for c in classes}
    return {
        "frame_id": frame_id,
        "region": region,
        "model": "beds",
        "version": 1,
        "class_name": name,
        "probability": 1.0,
        "probabilities": probabilities,
        "predicted_at": MIDNIGHT,
        **more,
    }


def issue_row(frame_id: str, kind: str, *, blocks: bool = True) -> dict[str, Any]:
    found = {"stage": "clean", "score": None, "detail": None, "found_at": MIDNIGHT}
    return {"frame_id": frame_id, "kind": kind, "blocks": blocks, **found}


class Barn:
    """A workspace whose rows a test writes by hand."""

    def __init__(self, folder: Path, settings: str = SETTINGS) -> None:
        self.workspace = Workspace.create(folder / "farm", settings)
        self.classes: Sequence[str] = ("lying", "standing", "empty")

    def see(self, at: dt.datetime, states: dict[str, str], camera: str = "barn") -> str:
        """Add a frame with one prediction a region."""
        frame = frame_row(camera, at)
        self.workspace.catalog.insert(tables.frames, [frame])
        rows = [prediction_row(frame["id"], r, name, self.classes) for r, name in states.items()]
        self.workspace.catalog.insert(tables.predictions, rows)
        return str(frame["id"])

    def see_often(self, frames: Iterable[tuple[dt.datetime, dict[str, str]]]) -> None:
        seen = [(frame_row("barn", at), states) for at, states in frames]
        self.workspace.catalog.insert(tables.frames, [frame for frame, _ in seen])
        rows = [
            prediction_row(frame["id"], region, name, self.classes)
            for frame, states in seen
            for region, name in states.items()
        ]
        self.workspace.catalog.insert(tables.predictions, rows)

    def answer(self, **settings: Any) -> Report:
        settings = {"version": "1", "plots": False, **settings}
        return answers.run(self.workspace, answers.Config(**settings))

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.workspace.reports / "answers" / name).open(encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def barn(tmp_path: Path) -> Barn:
    return Barn(tmp_path)


def whole_days(days: int) -> Iterable[dt.datetime]:
    for step in range(days * 86_400 // INTERVAL_S):
        yield MIDNIGHT + dt.timedelta(seconds=step * INTERVAL_S)


def state_at(at: dt.datetime) -> str:
    """Lie 12 hours, stand 3 and be away 9, every day the same."""
    return "lying" if at.hour < 12 else "standing" if at.hour < 15 else "empty"


def test_hours_of_a_day_are_those_of_the_cow(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": state_at(at), "bed-2": "empty"}) for at in whole_days(2))

    report = barn.answer()

    rows = barn.table("days.csv")
    assert [(row["region"], row["day"]) for row in rows] == [
        ("bed-1", "2026-03-01"),
        ("bed-2", "2026-03-01"),
        ("bed-1", "2026-03-02"),
        ("bed-2", "2026-03-02"),
    ]
    for row in rows[::2]:
        hours = [float(row[f"{name}_hours"]) for name in ("lying", "standing", "empty", "unknown")]
        assert hours == [12, 3, 9, 0]
        assert float(row["occupancy_share"]) == pytest.approx(15 / 24)
        assert float(row["cow_comfort_index_share"]) == pytest.approx(12 / 15)
    assert rows[1]["empty_hours"] == "24"
    assert rows[1]["cow_comfort_index_share"] == ""
    assert (report.counts_in, report.counts_out, report.dropped) == (288, 288, {})


def test_a_dead_camera_is_unknown_not_empty(barn: Barn) -> None:
    barn.see_often(
        (at, {"bed-1": "empty", "bed-2": "lying"}) for at in whole_days(1) if not 6 <= at.hour < 10
    )

    barn.answer()

    bed_1, bed_2 = barn.table("days.csv")
    # The last frame before the gap, at 05:50, is not held either: nobody saw what came then.
    assert float(bed_1["unknown_hours"]) == pytest.approx(4 + 1 / 6, abs=1e-4)
    assert float(bed_1["empty_hours"]) == pytest.approx(20 - 1 / 6, abs=1e-4)
    assert float(bed_2["lying_hours"]) == pytest.approx(20 - 1 / 6, abs=1e-4)


def test_three_intervals_without_a_frame_are_bridged_and_no_more(barn: Barn) -> None:
    minutes = (0, 30, 70, 80)
    for minute in minutes:
        barn.see(MIDNIGHT + dt.timedelta(minutes=minute), {"bed-1": "lying"})

    barn.answer()

    bed = next(row for row in barn.table("days.csv") if row["region"] == "bed-1")
    assert float(bed["lying_hours"]) == pytest.approx((30 + 10 + 10) / 60)


def test_a_quarantined_frame_is_unknown_and_counted(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": "lying", "bed-2": "lying"}) for at in whole_days(1))
    frame_id = f"barn/20260301T120000.000Z-{0:08x}"
    barn.workspace.catalog.insert(tables.issues, [issue_row(frame_id, "dark")])

    report = barn.answer()

    assert report.dropped == {"dark": 1}
    for row in barn.table("days.csv"):
        assert float(row["unknown_hours"]) == pytest.approx(1 / 6, abs=1e-4)
        assert float(row["lying_hours"]) == pytest.approx(24 - 1 / 6, abs=1e-4)


def test_an_issue_that_does_not_block_changes_nothing(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": "lying", "bed-2": "lying"}) for at in whole_days(1))
    frame_id = f"barn/20260301T120000.000Z-{0:08x}"
    barn.workspace.catalog.insert(tables.issues, [issue_row(frame_id, "blurry", blocks=False)])

    assert barn.answer().dropped == {}
    assert {row["lying_hours"] for row in barn.table("days.csv")} == {"24"}


def test_a_repeated_frame_says_nothing_new(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": "lying", "bed-2": "lying"}) for at in whole_days(1))
    frame_id = f"barn/20260301T120000.000Z-{0:08x}"
    barn.workspace.catalog.insert(tables.issues, [issue_row(frame_id, "exact_duplicate")])

    assert barn.answer().dropped == {"exact_duplicate": 1}
    assert {row["lying_hours"] for row in barn.table("days.csv")} == {"24"}


def test_a_frame_without_a_prediction_is_unknown(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": "lying", "bed-2": "lying"}) for at in whole_days(1))
    barn.workspace.catalog.insert(
        tables.frames, [frame_row("barn", MIDNIGHT + dt.timedelta(minutes=5), 7)]
    )

    report = barn.answer()

    assert report.dropped == {"no_prediction": 1}
    assert float(barn.table("days.csv")[0]["unknown_hours"]) == pytest.approx(5 / 60)


def test_a_region_that_nobody_predicted_is_unknown_all_day(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": "lying"}) for at in whole_days(1))

    barn.answer()

    assert barn.table("days.csv")[1]["unknown_hours"] == "24"


def test_days_are_those_of_the_barn(tmp_path: Path) -> None:
    barn = Barn(tmp_path, SETTINGS.replace('"UTC"', '"Asia/Shanghai"'))
    barn.see_often((at, {"bed-1": "lying", "bed-2": "empty"}) for at in whole_days(1))

    barn.answer()

    rows = [row for row in barn.table("days.csv") if row["region"] == "bed-1"]
    assert [(row["day"], row["lying_hours"], row["unknown_hours"]) for row in rows] == [
        ("2026-03-01", "16", "8"),
        ("2026-03-02", "8", "16"),
    ]


def test_the_night_of_the_clock_change_has_25_hours(tmp_path: Path) -> None:
    barn = Barn(tmp_path, SETTINGS.replace('"UTC"', '"Europe/Madrid"'))
    start = dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)
    barn.see_often(
        (start + dt.timedelta(minutes=10 * step), {"bed-1": "lying", "bed-2": "empty"})
        for step in range(25 * 6)
    )

    barn.answer()

    assert [row["lying_hours"] for row in barn.table("days.csv")] == ["25", "0"]


def test_pages_do_not_show_in_the_answer(barn: Barn, monkeypatch: pytest.MonkeyPatch) -> None:
    barn.see_often((at, {"bed-1": state_at(at), "bed-2": "empty"}) for at in whole_days(3))
    barn.answer()
    whole = [barn.table(name) for name in ("days.csv", "class-hours.csv", "timelines.csv")]

    for rows in (1, 7, 100):
        monkeypatch.setattr(answers, "PAGE_FRAMES", rows)
        barn.answer()
        names = ("days.csv", "class-hours.csv", "timelines.csv")
        assert [barn.table(name) for name in names] == whole


def test_every_day_of_every_region_adds_up_to_its_length(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": state_at(at)}) for at in whole_days(2) if at.minute % 20 == 0)
    barn.answer()

    for row in barn.table("days.csv"):
        names = ("lying", "standing", "empty", "unknown")
        assert sum(float(row[f"{name}_hours"]) for name in names) == pytest.approx(24, abs=1e-4)
    spans = [row for row in barn.table("timelines.csv") if row["region"] == "bed-1"]
    assert spans[0]["start"] == "2026-03-01T00:00:00Z"
    assert spans[-1]["end"] == "2026-03-03T00:00:00Z"
    assert all(one["end"] == other["start"] for one, other in itertools.pairwise(spans))


def test_short_dead_time_is_listed_and_long_dead_time_is_not(barn: Barn) -> None:
    for day in (0, 3, 60):
        barn.see(MIDNIGHT + dt.timedelta(days=day, hours=12), {"bed-1": "lying"})

    barn.answer()

    days = [row["day"] for row in barn.table("days.csv") if row["region"] == "bed-1"]
    assert days == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04", "2026-04-30"]


def test_spanish_class_names_are_understood(barn: Barn) -> None:
    barn.classes = ("echada", "de_pie", "Vacía")
    barn.see_often((at, {"bed-1": "echada", "bed-2": "Vacía"}) for at in whole_days(1))

    barn.answer()

    first, second = barn.table("days.csv")
    assert (first["lying_hours"], first["standing_hours"], second["empty_hours"]) == (
        "24",
        "0",
        "24",
    )


def test_settings_say_what_classes_mean(barn: Barn) -> None:
    barn.classes = ("a", "b", "c", "d")
    barn.see_often(
        (at, {"bed-1": "a" if at.hour < 6 else "b", "bed-2": "d"}) for at in whole_days(1)
    )

    barn.answer(lying=["a", "b"], empty=["c"])

    first, second = barn.table("days.csv")
    assert first["lying_hours"] == "24"
    assert second["d_hours"] == "24"
    by_class = {
        (row["region"], row["class"]): row["hours"] for row in barn.table("class-hours.csv")
    }
    assert (by_class["bed-1", "a"], by_class["bed-1", "b"], by_class["bed-2", ""]) == (
        "6",
        "18",
        "0",
    )


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"lying": ["lyin"]}, "Did you mean 'lying'"),
        ({"lying": ["lying"], "empty": ["lying"]}, "both lying and empty"),
        ({"model": "bed"}, "Did you mean 'beds'"),
    ],
)
def test_a_wrong_setting_is_named(barn: Barn, settings: dict[str, Any], problem: str) -> None:
    barn.see(MIDNIGHT, {"bed-1": "lying"})
    with pytest.raises(ConfigError, match=problem):
        barn.answer(**settings)


def test_without_predictions_it_says_what_to_run(barn: Barn) -> None:
    barn.workspace.catalog.insert(tables.frames, [frame_row("barn", MIDNIGHT)])
    with pytest.raises(NotReadyError, match="besana predict"):
        barn.answer()


def test_a_version_that_predicted_nothing_is_an_error(barn: Barn) -> None:
    barn.see(MIDNIGHT, {"bed-1": "lying"})
    with pytest.raises(NotReadyError, match="version 2"):
        barn.answer(version="2")


def test_labels_can_be_added_up_too(barn: Barn) -> None:
    rows = []
    frames = [(at, frame_row("barn", at)) for at in whole_days(1)]
    barn.workspace.catalog.insert(tables.frames, [frame for _, frame in frames])
    for at, frame in frames:
        rows += [
            {
                "id": f"{frame['id']}{who}",
                "frame_id": frame["id"],
                "region": "bed-1",
                # Two people say different things about the first hour: nobody can tell.
                "class_name": "empty" if at.hour == 0 and who == "bo" else state_at(at),
                "holds": True,
                "annotator": who,
                "source": "test",
                "labelled_at": MIDNIGHT,
                "note": "",
                "added_at": MIDNIGHT,
            }
            for who in ("ana", "bo")
        ]
    barn.workspace.catalog.insert(tables.labels, rows)

    barn.answer(source="labels")

    row = barn.table("days.csv")[0]
    hours = [float(row[f"{name}_hours"]) for name in ("lying", "standing", "empty", "unknown")]
    assert hours == [11, 3, 9, 1]


FIELD = """
[cameras.field]
time_from = "none"
[cameras.field.grid]
size_px = 50
"""


def test_share_of_a_field_is_by_area(tmp_path: Path) -> None:
    barn = Barn(tmp_path, FIELD)
    classes = ("weed", "crop")
    frames = [frame_row("field", None, n) | {"width_px": 120, "height_px": 50} for n in range(60)]
    barn.workspace.catalog.insert(tables.frames, frames)
    rows = []
    for n, frame in enumerate(frames):
        # 120 px in tiles of 50: the third tile overlaps the second by 30.
        for region in ("r00c00", "r00c01", "r00c02"):
            name = "weed" if region == "r00c00" and n % 4 == 0 else "crop"
            rows.append(prediction_row(frame["id"], region, name, classes))
    barn.workspace.catalog.insert(tables.predictions, rows)

    report = barn.answer()

    weed, crop = barn.table("shares.csv")
    assert (weed["class"], weed["tiles"], weed["frames"], weed["blocks"]) == (
        "weed",
        "180",
        "60",
        "15",
    )
    assert float(weed["share"]) == pytest.approx(50 / 120 / 4, abs=1e-4)
    assert float(weed["share"]) + float(crop["share"]) == pytest.approx(1, abs=1e-4)
    assert float(weed["low"]) <= float(weed["share"]) <= float(weed["high"])
    assert (report.counts_in, report.counts_out) == (60, 60)


def test_interval_of_a_share_covers_the_truth(tmp_path: Path) -> None:
    """Patches of ten frames: blocks as long as a patch give honest intervals, single frames not."""
    import numpy as np

    from besana.statistics.coverage import Coverage

    rng = np.random.default_rng(4)
    covered = {1: 0, 10: 0}
    fields = 60
    for _ in range(fields):
        weed = np.repeat(rng.random(40) < 0.3, 10)
        for block in covered:
            coverage = Coverage(1, block)
            for shown in weed:
                coverage.add_frame([1.0], [(0,) if shown else ()])
            _, low, high = coverage.shares()[0]
            covered[block] += bool(low <= 0.3 <= high)
    assert covered[10] / fields > 0.9
    assert covered[1] / fields < 0.7


def test_several_classes_may_hold_for_a_tile(tmp_path: Path) -> None:
    barn = Barn(tmp_path, FIELD)
    classes = ("weed", "water")
    card = {"kind": "multi", "thresholds": {"water": 0.8}, "dataset": {"name": "f", "version": 3}}
    barn.workspace.models.write("beds/1/model.json", json.dumps(card).encode())
    frames = [frame_row("field", None, n) | {"width_px": 50, "height_px": 50} for n in range(8)]
    barn.workspace.catalog.insert(tables.frames, frames)
    rows = [
        prediction_row(frame["id"], "r00c00", "weed", classes)
        | {"probabilities": {"weed": 0.6, "water": 0.7 if n < 6 else 0.9}}
        for n, frame in enumerate(frames)
    ]
    barn.workspace.catalog.insert(tables.predictions, rows)

    report = barn.answer(block_frames=1)

    weed, water = barn.table("shares.csv")
    assert (weed["share"], water["share"]) == ("1", "0.25")
    assert report.facts["dataset"] == "f/3"


def test_plots_are_written_and_page_holds_names_as_text(barn: Barn) -> None:
    pytest.importorskip("matplotlib")
    barn.classes = ("lying", "standing", "=<b>$x$</b>")
    barn.see_often(
        (at, {"bed-1": state_at(at).replace("empty", "=<b>$x$</b>"), '"><img>': "lying"})
        for at in whole_days(2)
    )

    report = barn.answer(plots=True, language="es")

    names = {path.name for path in report.files.values()}
    assert names >= {"hours-barn.png", "hours-barn.svg", "mean-day-barn.png", "days.csv"}
    assert (report.files["hours-barn.png"]).read_bytes().startswith(b"\x89PNG")
    assert "De pie" not in (barn.workspace.reports / "answers/days.csv").read_text()
    page = report.page.read_text("utf-8") if report.page else ""
    assert "<img>" not in page
    assert "<b>$x$" not in page
    assert "'=<b>$x$</b>" in (barn.workspace.reports / "answers/timelines.csv").read_text()


def test_running_twice_gives_the_same_answers(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": state_at(at), "bed-2": "empty"}) for at in whole_days(1))
    first = barn.answer()
    table = barn.table("days.csv")
    second = barn.answer()
    assert barn.table("days.csv") == table
    assert (second.counts_in, second.counts_out) == (first.counts_in, first.counts_out)


def test_hours_of_the_simulated_barn_are_near_its_truth(tmp_path: Path) -> None:
    """Frames every five minutes miss no more than what happens between two of them."""
    from besana.simulation.recording import FIRST_DAY, BarnSettings, herd_of, region_name

    settings = BarnSettings(days=4)
    herd = herd_of(settings)
    beds = "\n".join(f"{region_name(bed)} = [0, 0, 9, 9]" for bed in range(3))
    zone = FIRST_DAY.tzinfo
    barn = Barn(
        tmp_path,
        f'[cameras.barn]\ntime_zone = "{zone}"\nframe_interval_s = 300\n'
        f"[cameras.barn.regions]\n{beds}\n",
    )
    barn.see_often(
        (
            (FIRST_DAY + dt.timedelta(seconds=second)).astimezone(dt.UTC),
            {region_name(bed): herd.state_at(bed + 1, float(second)) for bed in range(3)},
        )
        for second in range(0, settings.days * 86_400, 300)
    )

    barn.answer()

    rows = barn.table("days.csv")
    assert len(rows) == 12
    for row in rows:
        bed, day = int(row["region"][-1]), dt.date.fromisoformat(row["day"])
        truth = herd.hours(bed, (day - FIRST_DAY.date()).days)
        for state in ("lying", "standing", "empty"):
            assert float(row[f"{state}_hours"]) == pytest.approx(truth[state], abs=0.5)
        assert float(row["unknown_hours"]) == 0


@pytest.mark.slow
def test_an_alias_is_looked_up_in_the_registry(barn: Barn) -> None:
    pytest.importorskip("mlflow")
    from besana.registry import CHAMPION, open_registry

    barn.see_often((at, {"bed-1": "lying", "bed-2": "empty"}) for at in whole_days(1))
    registry = open_registry(barn.workspace)
    version = registry.register("beds", "models/{version}", run="a", mlflow_run="", tags={})
    with pytest.raises(NotReadyError, match="champion"):
        barn.answer(version="champion")

    registry.set_alias(version, CHAMPION)

    assert barn.answer(version="champion").facts["model"] == "beds/1"


def test_files_of_an_earlier_run_do_not_stay(barn: Barn) -> None:
    barn.see_often((at, {"bed-1": "lying", "bed-2": "empty"}) for at in whole_days(1))
    barn.answer()
    folder = barn.workspace.reports / "answers"
    (folder / "notes.csv").write_text("mine")

    barn.answer(kind="area")

    assert {path.name for path in folder.iterdir()} == {"shares.csv", "notes.csv"}


def test_frames_of_a_clock_that_was_not_set_are_in_no_day(barn: Barn) -> None:  # B32
    days = [MIDNIGHT + dt.timedelta(seconds=INTERVAL_S * number) for number in range(6)]
    barn.see_often((at, {"bed-1": "lying", "bed-2": "empty"}) for at in days)
    for year in (1970, 2106):
        frame = frame_row("barn", dt.datetime(year, 1, 1, tzinfo=dt.UTC))
        frame["id"] = f"barn/clock-{year}-0"
        barn.workspace.catalog.insert(tables.frames, [frame])
        said = prediction_row(frame["id"], "bed-1", "standing", barn.classes)
        barn.workspace.catalog.insert(tables.predictions, [said])

    report = barn.answer()

    assert report.dropped == {"no_time": 2}
    assert report.counts_out == 6
