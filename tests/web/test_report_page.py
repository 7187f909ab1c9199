"""What a report promises: counts that add up, whole files, every word escaped."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pages import EVIL, Config, fill

from besana.errors import BesanaError
from besana.stages import STAGES
from besana.web.memory import PeakMemory
from besana.web.report_page import open_report, stage_header, stage_order
from besana.web.way import read_way
from besana.workspace import Report, Table, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "farm")


def written(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.reports.iterdir()}


def run(workspace: Workspace, came: int, went: int, allowed: float = 1.0, **dropped: int) -> None:
    with open_report(workspace, "clean", Config(), max_dropped_share=allowed) as report:
        report.count_in(came)
        report.count_out(went)
        for reason, count in dropped.items():
            report.drop(reason, count)


def test_report_is_written_as_this_run_and_as_the_latest(workspace: Workspace) -> None:
    with open_report(workspace, "clean", Config()) as report:
        fill(report)
        time.sleep(0.01)

    stem = f"clean-{report.started_at:%Y%m%dT%H%M%S.%f}"[:-3] + "Z"
    names = {f"{name}.{kind}" for name in ("clean", stem) for kind in ("html", "json")}
    assert written(workspace) == {*names, "index.html"}
    assert report.page == workspace.reports / "clean.html"
    record = json.loads((workspace.reports / "clean.json").read_text())
    assert record == json.loads((workspace.reports / f"{stem}.json").read_text())
    assert record["counts"] == {
        "in": 4109,
        "out": 3953,
        "dropped": {"near_duplicate": 123, "dark": 31, EVIL: 2},
    }
    assert record["sections"][0]["rows"][1] == ["pen-a", "day", 0.021, 1_234_567]
    assert record["settings"] == {"blur_below": 40.0, "classes": []}
    assert record["seconds"] >= 0.01
    assert record["peak_memory_bytes"] > 1_000_000


def test_counts_that_do_not_add_up_are_an_error_and_leave_nothing(workspace: Workspace) -> None:
    with pytest.raises(BesanaError, match="counted 10 in, but 8 out and 1 dropped"):
        run(workspace, 10, 8, dark=1)
    assert written(workspace) == set()


def test_a_stage_that_raises_leaves_no_report(workspace: Workspace) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        open_report(workspace, "clean", Config()) as report,
    ):
        report.count_in(1 // len(report.dropped))
    assert written(workspace) == set()


def test_too_much_dropped_fails_the_stage_and_shows_why(workspace: Workspace) -> None:
    with pytest.raises(BesanaError, match=r"60\.0 % of 10 \(5 dark, 1 blurry\)") as raised:
        run(workspace, 10, 4, 0.5, blurry=1, dark=5)
    assert "max_dropped_share" in raised.value.hint
    page = (workspace.reports / "clean.html").read_text("utf-8")
    assert 'class="failure"' in page
    assert json.loads((workspace.reports / "clean.json").read_text())["status"] == "failed"
    assert "failed" in (workspace.reports / "index.html").read_text("utf-8")


def test_exactly_the_share_allowed_is_not_too_much(workspace: Workspace) -> None:
    run(workspace, 10, 5, 0.5, dark=5)
    assert json.loads((workspace.reports / "clean.json").read_text())["status"] != "failed"


def test_nothing_to_do_is_no_failure(workspace: Workspace) -> None:
    with open_report(workspace, "clean", Config(), max_dropped_share=0.0):
        pass
    assert "Nothing was left to do" in (workspace.reports / "clean.html").read_text("utf-8")


def test_page_has_one_script_one_style_and_nothing_from_outside(reports: Path) -> None:
    for name in ("clean.html", "index.html"):
        page = (reports / name).read_text("utf-8")
        assert page.count("<script>") == 1
        assert page.count("<style>") == 1
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
        assert not re.search(r"""\s(style|on[a-z]+)=["']""", page)
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
        assert policy
        assert "unsafe" not in policy[1]
        assert policy[1].startswith("default-src &#39;none&#39;")


def test_page_escapes_every_name(reports: Path) -> None:
    page = (reports / "clean.html").read_text("utf-8")
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "Alto &#34;&gt;&lt;b&gt;" in page


def test_names_that_are_no_unicode_are_written(workspace: Workspace) -> None:
    bad = b"caf\xe9.jpg".decode(errors="surrogateescape")
    with open_report(workspace, "clean", Config()) as report:
        report.add(Table("Files", ["file"], [[bad]]))
    assert "caf\\udce9.jpg" in (workspace.reports / "clean.html").read_text("utf-8")
    assert json.loads((workspace.reports / "clean.json").read_text())["sections"][0]["rows"]


def test_numpy_and_missing_numbers_are_written(workspace: Workspace) -> None:
    row = [np.float32(0.5), np.int64(7), float("nan"), None, np.bool_(True), (0.25, 0.75)]
    with open_report(workspace, "clean", Config()) as report:
        report.add(Table("Files", ["a", "b", "c", "d", "e", "f_share"], [row]))
        report.fact("started_at", datetime(2026, 3, 1, tzinfo=UTC).isoformat())
    record = json.loads((workspace.reports / "clean.json").read_text())
    assert record["sections"][0]["rows"] == [[0.5, 7, None, None, True, [0.25, 0.75]]]
    page = (workspace.reports / "clean.html").read_text("utf-8")
    assert "25.0\u00a0% … 75.0\u00a0%" in page


def test_a_long_cell_is_cut_on_the_page_but_not_in_the_json(workspace: Workspace) -> None:
    with open_report(workspace, "clean", Config()) as report:
        report.add(Table("Files", ["file"], [["x" * 1_000_000]]))
    assert len((workspace.reports / "clean.html").read_text("utf-8")) < 100_000
    assert len((workspace.reports / "clean.json").read_text("utf-8")) > 1_000_000


def test_index_shows_stages_in_their_order_whatever_ran_first(workspace: Workspace) -> None:
    from besana.stages import answers, collect

    for name, config in (("answers", answers.Config()), ("collect", collect.Config())):
        with open_report(workspace, name, config) as report:
            report.count_in(5)
            report.count_out(5)
    way = read_way(workspace.reports)
    assert [stop.stage for stop in way.stops] == list(STAGES)
    assert [stop.stage for stop in way.stops if stop.record] == ["collect", "answers"]
    assert way.next_stage == "clean"
    assert len(way.runs) == 2
    index = (workspace.reports / "index.html").read_text("utf-8")
    assert index.index('href="collect.html"') < index.index('href="answers.html"')


def test_a_run_without_work_does_not_empty_the_picture(workspace: Workspace) -> None:
    from besana.stages import collect

    for count in (5, 0):
        with open_report(workspace, "collect", collect.Config()) as report:
            report.count_in(count)
            report.count_out(count)
    stop = read_way(workspace.reports).stops[0]
    assert (stop.counts_in, stop.counts_out) == (5, 5)
    assert stop.page.startswith("collect-")


def test_a_broken_report_does_not_break_the_index(workspace: Workspace) -> None:
    (workspace.reports / "clean.json").write_text("{")
    (workspace.reports / "clean-20260101T000000.000Z.json").write_text('{"counts": 3}')
    with open_report(workspace, "label", Config()):
        pass
    assert [stop.stage for stop in read_way(workspace.reports).beside] == ["label"]


def test_header_and_order_come_from_the_stage_itself() -> None:
    from besana.stages import collect

    assert stage_header(collect.Config()) == STAGES["collect"]
    assert stage_order(collect.Config()) == tuple(STAGES)
    assert stage_order(Config()) == ()


def test_peak_memory_is_that_of_the_stage(workspace: Workspace) -> None:
    block = np.ones(60_000_000, dtype=np.uint8)
    del block
    memory = PeakMemory()
    before = memory.read_bytes()
    block = np.ones(80_000_000, dtype=np.uint8)
    del block
    assert memory.read_bytes() - before > 60_000_000


def test_worker_memory_counts_when_it_was_larger(workspace: Workspace) -> None:
    with open_report(workspace, "clean", Config()) as report:
        report.peak_memory_bytes = 10**12
    assert report.peak_memory_bytes == 10**12


def test_report_of_a_stage_holds_its_own_settings(workspace: Workspace) -> None:
    with open_report(workspace, "clean", Config(blur_below=3.0)) as report:
        assert isinstance(report, Report)
        assert report.settings["blur_below"] == 3.0
    page = (workspace.reports / "clean.html").read_text("utf-8")
    row = re.search(r"<code>blur_below</code>.*?</tr>", page)
    assert row
    assert "Yes" in row[0]
