"""The bill after a stage, beside its plan; and the budget that stops it before it passes."""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from besana.costs.holdings import read_holdings
from besana.costs.paces import Observation, machine_name
from besana.costs.prices import Cloud, PriceBook
from besana.costs.ranges import NONE, Range
from besana.costs.settings import CostSettings, cloud_of, read_costs
from besana.costs.stages import Expected, expect, observed_items
from besana.errors import BesanaError
from besana.traffic import METER, Traffic
from besana.workspace import Report, Table, Workspace

BILLS_FILE = "bills.jsonl"

_current = contextvars.ContextVar["Bill | None"]("current_bill", default=None)


@dataclass(frozen=True)
class Tariff:
    """The prices that apply to a workspace on this machine.

    Attributes:
        settings: The `[costs]` table.
        book: The price book.
        cloud: Whose bucket the heavy folders lie in; None on a disk or an own server.
        bucket: Whether they lie in any bucket.
    """

    settings: CostSettings
    book: PriceBook
    cloud: Cloud | None
    bucket: bool

    def requests(self, traffic: Traffic) -> float:
        """Price requests, and bytes that leave the cloud."""
        if self.cloud is None:
            return 0.0
        leaves = 0.0 if self.settings.same_region else self.cloud.egress(traffic.read_bytes)
        return self.cloud.requests(traffic) + leaves

    def work(self, seconds: Range) -> Range:
        """Price seconds of this machine."""
        machine = self.book.machine(self.settings.machine)
        return machine.price(seconds * (1 / 3600), self.book.energy)

    def stage(self, expected: Expected) -> Range:
        """Price a stage before it runs."""
        return self.work(expected.seconds) + expected.requests.range(self.requests)

    def storage_month(self, stored_bytes: float) -> float:
        """Price a month of keeping bytes in the bucket."""
        return self.cloud.month(stored_bytes) if self.cloud else 0.0


@dataclass
class Bill:
    """One run of a stage, as it was planned and as it was.

    Attributes:
        stage: The verb.
        expected: The plan; None where it could not be made.
        tariff: The prices.
        config: The stage's settings.
        before: The meter when the run began.
        started: `time.monotonic()` then.
    """

    stage: str
    expected: Expected | None
    tariff: Tariff
    config: Any
    before: Traffic = field(default_factory=lambda: METER.total)
    started: float = field(default_factory=time.monotonic)
    counts_in: int = 0

    @property
    def traffic(self) -> Traffic:
        """Requests and bytes so far."""
        return METER.total - self.before

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.started

    @property
    def planned(self) -> Range:
        """Money that was planned; nothing where nobody could know."""
        return self.tariff.stage(self.expected) if self.expected else NONE

    @property
    def money(self) -> Range:
        """Money so far; a range, because nobody knows the meter at home."""
        spent = self.tariff.requests(self.traffic)
        return self.tariff.work(Range.exactly(self.seconds)) + spent

    def record(self, *, failed: bool) -> dict[str, Any]:
        """Give the bill as a line of the ledger."""
        plan = self.expected
        return {
            "stage": self.stage,
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "machine": machine_name(),
            "key": plan.key if plan else "",
            "items": observed_items(self.stage, self.counts_in, self.config),
            "seconds": round(self.seconds, 3),
            "traffic": self.traffic.record(),
            "money": asdict(self.money),
            "currency": self.tariff.book.currency,
            "failed": failed,
            "trial": False,
            "planned": _planned(plan, self.planned) if plan and plan.items else None,
        }

    def show(self, report: Report) -> None:
        """Put the bill on the stage's page, beside the plan."""
        self.counts_in = report.counts_in
        traffic = self.traffic
        if traffic.requests:
            for name, count in traffic.record().items():
                report.fact(f"bucket_{name}", count)
        report.add(bill_table(self))


def bill_table(bill: Bill) -> Table:
    """Set a run's bill beside its plan."""
    plan = bill.expected if bill.expected and bill.expected.items else None
    billed = _row("billed", bill.seconds, bill.traffic, bill.money.likely, bill.tariff.bucket)
    rows = [billed]
    if plan:
        seconds, requests, money = plan.seconds, plan.requests, bill.planned
        low = _row("planned_from", seconds.low, requests.low, money.low, bill.tariff.bucket)
        high = _row("planned_to", seconds.high, requests.high, money.high, bill.tariff.bucket)
        rows = [low, high, billed]
    names = list(Traffic().record()) if bill.tariff.bucket else []
    note = f"Money in {bill.tariff.book.currency}, by the price book."
    return Table("The bill beside the plan", ("bill", "time_s", *names, "money"), rows, note)


def _row(name: str, seconds: float, traffic: Traffic, money: float, bucket: bool) -> list[Any]:
    counts = traffic.record().values() if bucket else ()
    return [name, round(seconds, 2), *counts, money]


def _planned(plan: Expected, money: Range) -> dict[str, Any]:
    requests = plan.requests
    spans = {"low": requests.low, "likely": requests.likely, "high": requests.high}
    return {
        "items": plan.items,
        "runs": plan.pace.runs,
        "seconds": asdict(plan.seconds),
        "traffic": {name: traffic.record() for name, traffic in spans.items()},
        "money": asdict(money),
    }


def current_bill() -> Bill | None:
    """Give the bill of the stage that runs; None outside of `billing`."""
    return _current.get()


@contextlib.contextmanager
def billing(workspace: Workspace, stage: str, config: Any) -> Iterator[Bill]:
    """Plan a stage, hold it to the budget while it runs, and write its bill.

    Raises:
        BesanaError: If the stage would pass the budget, or has come to it.
    """
    tariff = read_tariff(workspace)
    holdings = read_holdings(workspace)
    seen = observations(workspace)
    expected = expect(stage, holdings, config, seen, bucket=tariff.bucket, due=True)
    left = _left(workspace, tariff, holdings.frame_bytes + holdings.sample_bytes)
    bill = Bill(stage, expected, tariff, config)
    if left is not None and bill.planned.likely > left:
        raise _over(bill, f"would likely cost {_money(bill.planned.likely)}", left)
    token, failed, before = _current.set(bill), True, METER.watch
    METER.watch = _guard(bill, left) if left is not None else before
    try:
        yield bill
        failed = False
    finally:
        METER.watch = before
        _current.reset(token)
        # A disk that refused the stage refuses its bill too; the stage's error is the one to tell.
        hidden = (OSError,) if failed else ()
        with contextlib.suppress(*hidden):
            write_line(workspace, bill.record(failed=failed))


def read_tariff(workspace: Workspace) -> Tariff:
    """Read the prices that apply to a workspace.

    Raises:
        ConfigError: If `[costs]` or the price book is not valid.
    """
    settings, book = read_costs(workspace)
    store = str(workspace.tables.get("store", ""))
    cloud = cloud_of(settings, store)
    return Tariff(settings, book, book.cloud(cloud) if cloud else None, "://" in store)


def _left(workspace: Workspace, tariff: Tariff, stored_bytes: float) -> float | None:
    """Tell how much of the month's budget is left; None without one."""
    budget = tariff.settings.budget_month
    if not budget:
        return None
    month = f"{dt.datetime.now(dt.UTC):%Y-%m}"
    lines = [line for line in read_lines(workspace) if line["at"].startswith(month)]
    spent = sum(float(line["money"]["likely"]) for line in lines)
    return budget - spent - tariff.storage_month(stored_bytes)


def _guard(bill: Bill, left: float) -> Any:
    """Stop a run whose counted requests and seconds have come to what is left."""

    def watch(_total: Traffic) -> None:
        if bill.money.likely > left:
            METER.watch = None  # what is under way may end, and rows of what is done be written
            raise _over(bill, f"has cost {_money(bill.money.likely)} so far", left)

    return watch


def _over(bill: Bill, what: str, left: float) -> BesanaError:
    settings, currency = bill.tariff.settings, bill.tariff.book.currency
    return BesanaError(
        f"'{bill.stage}' {what} {currency}; {_money(max(left, 0))} of this month's budget of "
        f"{_money(settings.budget_month)} {currency} are left.",
        "See what is cheaper with 'besana plan', or raise budget_month in [costs].",
    )


def _money(value: float) -> str:
    """Write an amount; a small one with two digits that say something."""
    return f"{value:,.2f}" if value >= 0.1 or not value else f"{value:.2g}"


def write_line(workspace: Workspace, record: dict[str, Any]) -> None:
    """Add a line to the ledger."""
    with (workspace.reports / BILLS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_lines(workspace: Workspace) -> list[dict[str, Any]]:
    """Read the ledger, oldest first; a line that a power cut tore is left out."""
    path = workspace.reports / BILLS_FILE
    if not path.exists():
        return []
    lines = []
    for text in path.read_text("utf-8").splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def observations(workspace: Workspace) -> list[Observation]:
    """Give the runs of this machine that tell how fast it is."""
    here = machine_name()
    return [
        Observation(line["stage"], line["key"], line["items"], line["seconds"])
        for line in read_lines(workspace)
        if line["machine"] == here and not line["failed"] and line["items"]
    ]
