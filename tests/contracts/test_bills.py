"""The bill of a stage holds what the server logged, and a budget stops the spending."""

from __future__ import annotations

import json
import uuid
from dataclasses import fields

import pytest
from server_log import server_log

import besana
from besana import catalog as tables
from besana.cli import main
from besana.commands import plan
from besana.costs.bills import observations, read_lines
from besana.errors import BesanaError
from besana.simulation.barn import BarnSettings, write_barn
from besana.traffic import Traffic
from besana.workspace import Table

STAGES = ("collect", "clean", "prepare", "label", "split")


def make_farm(folder, s3_bucket, costs=""):
    barn = write_barn(folder, BarnSettings(days=1, interval_s=3600, width_px=320))
    settings = barn.path / "besana.toml"
    store = f'store = "{s3_bucket}/{uuid.uuid4().hex}"\n'
    settings.write_text(f"{store}{settings.read_text()}\n[engine]\nworkers = 1\n{costs}")
    return besana.Workspace(barn.path), barn


@pytest.fixture(scope="module")
def walked(s3_bucket, tmp_path_factory):
    """A farm in a bucket, walked up to split, and what the server logged for each stage."""
    farm, barn = make_farm(tmp_path_factory.mktemp("billed") / "farm", s3_bucket)
    overrides = {"label": {"file": [str(barn.truth_csv)]}, "collect": {"settle_s": 0}}
    logged = {}
    for name in STAGES:
        with server_log() as log:
            besana.run_stage(farm, name, overrides.get(name, {}))
        logged[name] = log.traffic
    return farm, logged


def billed(farm) -> dict[str, dict]:
    return {line["stage"]: line for line in read_lines(farm) if not line["trial"]}


def test_the_bill_counts_requests_as_the_server_logged_them(walked):
    farm, logged = walked
    for name, line in billed(farm).items():
        counted = {**line["traffic"], "read_bytes": 0, "written_bytes": 0}
        assert Traffic.of(counted) == logged[name], name
    assert logged["collect"].puts > 20
    assert logged["clean"].gets > 20
    assert sum(traffic.requests for traffic in logged.values()) > 80


def test_the_bill_counts_the_bytes_that_the_catalog_knows(walked):
    farm, _ = walked
    lines = billed(farm)
    collected = farm.catalog.rows(tables.frames.select())
    once = {band["sha256"]: band["size_bytes"] for row in collected for band in row.bands}
    assert lines["collect"]["traffic"]["written_bytes"] == sum(once.values())
    samples = farm.catalog.rows(tables.samples.select())
    packed = sum(row.length_bytes for row in samples)
    assert lines["prepare"]["traffic"]["written_bytes"] == packed


def test_no_stage_lists_the_bucket(walked):
    _, logged = walked
    assert {name: traffic.lists for name, traffic in logged.items()} == dict.fromkeys(STAGES, 0)


def test_the_plan_before_a_stage_holds_its_requests(walked):
    farm, logged = walked
    lines = billed(farm)
    assert lines["collect"]["planned"] is None
    for name in ("clean", "prepare"):
        planned = lines[name]["planned"]["traffic"]
        low, high = Traffic.of(planned["low"]), Traffic.of(planned["high"])
        assert low.gets <= logged[name].gets <= high.gets, name
        assert low.puts <= logged[name].puts <= high.puts, name


def test_the_page_of_a_stage_shows_the_bill_beside_the_plan(walked):
    farm, logged = walked
    report = json.loads((farm.reports / "clean.json").read_text())
    assert report["facts"]["bucket_gets"] == logged["clean"].gets
    (table,) = [s for s in report["sections"] if s.get("table") == "The bill beside the plan"]
    assert [row[0] for row in table["rows"]] == ["planned_from", "planned_to", "billed"]
    names = [field.name for field in fields(Traffic)]
    assert table["columns"] == ["bill", "time_s", *names, "money"]
    page = (farm.reports / "clean.html").read_text()
    assert "La cuenta junto al plan" in page


def test_the_command_line_prints_the_requests(s3_bucket, tmp_path, capsys):
    farm, _ = make_farm(tmp_path / "farm", s3_bucket)
    with pytest.raises(SystemExit), server_log() as log:
        main(["collect", str(farm.path), "--settle-s", "0"])
    traffic = log.traffic
    line = f"  bucket: {traffic.gets:,} GET, {traffic.puts:,} PUT, 0 LIST requests"
    assert line in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_learning_from_a_bucket_is_counted_and_lists_nothing(walked):
    farm, _ = walked
    overrides = {
        "train": {"strategy": "scratch", "size_px": 32, "epochs": 2},
        "evaluate": {"replicates": 100},
        "register": {"promote": "always"},
        "predict": {},
    }
    for name in overrides:
        with server_log() as log:
            besana.run_stage(farm, name, overrides[name])
        line = billed(farm)[name]
        counted = {**line["traffic"], "read_bytes": 0, "written_bytes": 0}
        assert Traffic.of(counted) == log.traffic, name
        assert log.traffic.lists == 0, name
        assert log.traffic.requests > 0, name
        planned = line["planned"]["traffic"]
        assert log.traffic.gets <= Traffic.of(planned["high"]).gets, name


def test_what_a_stage_cost_is_priced_by_the_book(walked):
    farm, logged = walked
    line = billed(farm)["clean"]
    requests = logged["clean"].gets * 0.0004 / 1000
    egress = line["traffic"]["read_bytes"] / 1e9 * 0.09
    current = line["seconds"] / 3600 * 0.08 * 0.15
    assert line["money"]["low"] == pytest.approx(requests + egress + current, rel=0.01)


def test_plan_and_its_history(walked, capsys):
    farm, _ = walked
    report = plan.run(farm, plan.Config(measure="never", frames=1_000_000))
    titles = [section.title for section in report.sections if isinstance(section, Table)]
    assert "What it costs where" in titles
    assert report.facts["frames"] == 1_000_000
    assert 0.002 < report.facts["bucket_request_s"] * 1000 < 10_000
    (offers,) = [s for s in report.sections if s.title == "What it costs where"]
    assert {"My PC", "AWS g4dn.xlarge, one T4, spot"} <= {row[0] for row in offers.rows}
    (cheaper,) = [s for s in report.sections if s.title == "The cheapest changes"]
    assert len(cheaper.rows) == 3
    assert [row[2] for row in cheaper.rows] == sorted(
        (row[2] for row in cheaper.rows), reverse=True
    )
    assert "The cheapest changes" in capsys.readouterr().out
    history = plan.run(farm, plan.Config(history=True))
    (table,) = history.sections
    assert {row[1] for row in table.rows} >= {"clean", "prepare"}
    assert "of" in table.note


def test_a_stage_that_would_pass_the_budget_does_not_begin(s3_bucket, tmp_path):
    farm, _ = make_farm(tmp_path / "farm", s3_bucket)
    besana.run_stage(farm, "collect", {"settle_s": 0})
    farm.tables["costs"] = {"budget_month": 0.000001}
    with server_log() as log, pytest.raises(BesanaError, match="budget of 1e-06 USD"):
        besana.run_stage(farm, "clean")
    assert log.traffic == Traffic()


def test_a_stage_whose_cost_nobody_knew_stops_at_the_budget(s3_bucket, tmp_path):
    dear = '[costs]\nbudget_month = 1.0\nprices = "dear.toml"\n'
    farm, _ = make_farm(tmp_path / "farm", s3_bucket, dear)
    book = (plan_prices()).replace("puts_1000 = 0.005", "puts_1000 = 100.0")
    (farm.path / "dear.toml").write_text(book)
    with server_log() as log, pytest.raises(BesanaError, match="has cost"):
        besana.run_stage(farm, "collect", {"settle_s": 0})
    assert log.traffic.puts < 100
    (line,) = read_lines(farm)
    assert line["failed"]
    assert line["money"]["likely"] > 1
    assert observations(farm) == []
    with pytest.raises(BesanaError, match=r"0\.00 of this month's budget of 1\.00 USD are left"):
        besana.run_stage(farm, "split")


def plan_prices() -> str:
    from importlib.resources import files

    return (files("besana.costs") / "prices.toml").read_text()
