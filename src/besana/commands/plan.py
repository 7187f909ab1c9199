"""Say beforehand what the way will cost, in time and money, and what would be cheaper.

Reads: counts and bytes of the catalog, the price book, bills of earlier runs
Writes: reports/plan, trials in reports/bills.jsonl
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from besana import pipeline
from besana.config import Settings
from besana.console import plain_console
from besana.costs.bills import observations, read_tariff
from besana.costs.history import history_table
from besana.costs.holdings import Holdings, label_pace, read_holdings
from besana.costs.loose import compare
from besana.costs.plan import STRATEGIES, Case, Offer, Planner
from besana.costs.prices import PriceBook
from besana.costs.ranges import Range
from besana.costs.stages import TRAIN_SHARE, Expected
from besana.engines import Engine
from besana.trial import measure, measure_store
from besana.web.report_page import open_report
from besana.workspace import Report, Table, Text, Workspace

EXAMPLE = "besana plan farm --to train"

_OLD_DAYS = 365
_LABELS = 2000
_EPOCHS = 10
_HOUR = Range.exactly(1.0)


class Config(Settings):
    """What to plan."""

    last: str | None = Field(
        default=None,
        description="Last stage to plan; empty: the last of all.",
        json_schema_extra={"option": "--to"},
    )
    frames: int = Field(
        default=0, ge=0, description="Frames to plan for; 0: those that are in the catalog."
    )
    labels: int = Field(
        default=0,
        ge=0,
        description=f"Labels to give; 0: one a sample, at most {_LABELS:,}.",
    )
    measure: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether to try the stages on a few frames first; auto: if nothing was"
        " measured on this machine yet.",
    )
    seconds: float = Field(
        default=120.0, gt=0, description="Seconds after which no further trial is begun."
    )
    history: bool = Field(default=False, description="Show instead how far off earlier plans were.")


def run(workspace: Workspace, config: Config, engine: Engine | None = None) -> Report:
    """Plan the way from collect to a stage, on every machine of the price book.

    Raises:
        ConfigError: If a stage, a price or a machine is unknown.
        NotReadyError: If there is no frame and nobody said how many will come.
    """
    if config.history:
        return _history(workspace, config)
    stages = pipeline.stretch(None, config.last)
    holdings = read_holdings(workspace).grown(config.frames)
    notes: list[str] = []
    with open_report(workspace, "plan", config) as report:
        report.count_in(holdings.frames)
        report.count_out(holdings.frames)
        if config.measure == "always" or (config.measure == "auto" and not observations(workspace)):
            notes = measure(workspace, engine or workspace.open_engine(), config.seconds)
        if "://" in str(workspace.tables.get("store", "")):
            for name, value in measure_store(workspace.shards).items():
                report.fact(f"bucket_{name}", value)
        planner, case = _planner(workspace, config, stages, holdings)
        _describe(report, workspace, planner, case)
        for note in notes:
            report.add(Text("What could not be tried", note))
    show(report)
    return report


def _history(workspace: Workspace, config: Config) -> Report:
    with open_report(workspace, "plan", config) as report:
        report.add(history_table(workspace))
    show(report)
    return report


def _planner(
    workspace: Workspace, config: Config, stages: list[str], holdings: Holdings
) -> tuple[Planner, Case]:
    tariff = read_tariff(workspace)
    label_s, _ = label_pace(workspace)
    labels = config.labels or min(holdings.samples, _LABELS)
    case = Case(
        holdings=_labelled(holdings, max(labels, holdings.labelled)),
        stages=stages,
        configs={name: pipeline.stage_settings(workspace, name, {}) for name in stages},
        machine=tariff.settings.machine,
        store=str(workspace.tables.get("store", "")),
        label_s=label_s,
        labels=max(labels - holdings.labelled, 0) if not config.labels else labels,
        same_region=tariff.settings.same_region,
    )
    return Planner(tariff.book, tariff.settings, observations(workspace)), case


def _labelled(holdings: Holdings, labels: int) -> Holdings:
    return replace(holdings, labelled=labels, dataset=max(labels, holdings.dataset))


def _describe(report: Report, workspace: Workspace, planner: Planner, case: Case) -> None:
    book, held = planner.book, case.holdings
    report.fact("frames", held.frames)
    report.fact("frame_bytes", held.frame_bytes)
    report.fact("samples", held.samples)
    report.fact("sample_bytes", held.sample_bytes)
    report.add(_stages_table(planner.expected(case)))
    here = planner.offer(case)
    report.add(_labelling_table(case, here, book.currency))
    offers = [planner.offer(replace(case, machine=name)) for name in book.machines]
    report.add(_offers_table(offers, book.currency))
    if "train" in case.stages:
        report.add(_learning_table(planner, case))
    report.add(_cheaper_table(planner, _paid(planner, case), book))
    epochs = _epochs(case)
    rows: list[Any] = [
        (*row, round(money, 2))
        for *row, money in compare(book, held.samples, held.sample_bytes, epochs)
    ]
    columns = ("cloud", "layout", "put_requests", "list_requests", "get_requests", "money")
    note = f"Written once and read for {epochs} epochs, every class listed at the start of each."
    report.add(Table("Loose files against shards", columns, rows, note))
    report.add(_prices_table(book))
    memory = book.unverified()
    if memory:
        names = ", ".join(memory)
        report.add(Text("Prices from memory", f"Nobody verified them, look them up: {names}."))
    old = book.older_than(_OLD_DAYS, dt.datetime.now(dt.UTC).date())
    if old:
        names = ", ".join(dict.fromkeys(old))
        report.add(Text("Old prices", f"Taken more than a year ago, look them up again: {names}."))


def _paid(planner: Planner, case: Case) -> Case:
    """Choose the case to make cheaper: this one, or the first rented machine if it is free."""
    if planner.book.machine(case.machine).cloud or "://" in case.store:
        return case
    rented = (name for name, m in planner.book.machines.items() if m.kind == "on_demand")
    return replace(case, machine=next(rented, case.machine))


def _epochs(case: Case) -> int:
    train = case.configs.get("train")
    samples = round(TRAIN_SHARE * case.holdings.dataset)
    return (train.passes(samples) if train is not None else 0) or _EPOCHS


def _stages_table(expected: list[Expected]) -> Table:
    rows = [
        (
            stage.stage,
            stage.items,
            *_span(stage.seconds),
            stage.requests.likely.gets,
            stage.requests.likely.puts,
            stage.requests.likely.read_bytes,
            stage.pace.runs,
        )
        for stage in expected
    ]
    columns = (
        *("stage", "items", "from_s", "to_s", "get_requests", "put_requests", "read_bytes"),
        "runs_behind_the_plan",
    )
    note = (
        "Seconds on this machine. Items of train are samples times epochs."
        " No runs behind it: assumed, not measured."
    )
    return Table("Stage by stage", columns, rows, note)


def _labelling_table(case: Case, offer: Offer, currency: str) -> Table:
    row = (case.labels, _cell(case.label_s), _cell(offer.label_hours), _cell(offer.labelling))
    columns = ("labels", "seconds_a_label", "label_hours", "labelling")
    return Table("What labelling takes", columns, [row], f"Money in {currency}, by label_hour.")


def _offers_table(offers: list[Offer], currency: str) -> Table:
    rows = [
        (
            offer.title,
            _cell(offer.hours),
            _cell(offer.work),
            _cell(offer.requests),
            _cell(offer.storage_month),
            _cell(offer.serving_month),
            _cell(offer.first_month),
        )
        for offer in offers
    ]
    columns = (
        *("machine", "machine_hours", "work", "requests_and_egress"),
        *("storage_a_month", "serving_a_month", "until_the_first_month_is_over"),
    )
    note = (
        f"Money in {currency}, from and to, labelling included at the end."
        " A cloud machine works beside a bucket of its cloud."
    )
    return Table("What it costs where", columns, rows, note)


def _learning_table(planner: Planner, case: Case) -> Table:
    rows = [
        (machine.title, _cell(machine.price(_HOUR, planner.book.energy)), *map(_cell, hours))
        for machine, hours in planner.learning_hours(case)
    ]
    columns = ("machine", "price_an_hour", "embed", *STRATEGIES)
    note = (
        "Hours, from and to. Embedding: a vector for every sample; training: on the labelled ones."
        " A probe embeds those that have no vector yet."
    )
    return Table("Embedding and training on each machine", columns, rows, note)


def _cheaper_table(planner: Planner, case: Case, book: PriceBook) -> Table:
    rows = [
        (phrase, _cell(after), round(saved, 2)) for phrase, after, saved in planner.cheaper(case)
    ]
    title = planner.book.machine(case.machine).title
    note = f"Compared with: {title}; money in {book.currency} until the first month is over."
    return Table("The cheapest changes", ("change", "then", "saves"), rows, note)


def _prices_table(book: PriceBook) -> Table:
    rows = [
        (name, entry.taken.isoformat(), entry.source, entry.seen, ", ".join(entry.unverified))
        for name, entry in book.dated()
    ]
    columns = ("name", "taken", "source_page", "read_in", "not_verified")
    return Table("Where the prices stand", columns, rows)


def _span(span: Range) -> tuple[float, float]:
    return span.low, span.high


def _cell(span: Range) -> Any:
    low, high = round(span.low, 2), round(span.high, 2)
    return low if low == high else (low, high)


def show(report: Report) -> None:
    """Print a report's tables and paragraphs."""
    from rich.table import Table as Shown

    from besana.web.language import text
    from besana.web.values import value_text

    console = plain_console(soft_wrap=False)
    for section in report.sections:
        if isinstance(section, Text):
            console.print(f"{section.title}: {section.text}")
        if not isinstance(section, Table) or section.title == "Where the prices stand":
            continue
        shown = Shown(title=section.title, header_style="bold", caption=section.note or None)
        for column in section.columns:
            shown.add_column(text(column, "en"), overflow="fold")
        for row in section.rows:
            pairs = zip(row, section.columns, strict=True)
            shown.add_row(*(text(value_text(value, "en", column), "en") for value, column in pairs))
        console.print(shown)
    if report.page:
        console.print(f"report: {report.page}", soft_wrap=True)
