"""How far off the plans were: each bill beside its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from besana.console import percent
from besana.costs.bills import read_lines
from besana.workspace import Table, Workspace


def history_table(workspace: Workspace) -> Table:
    """List the runs that were planned, newest first, with the error of the plan.

    The error is billed over likely, less one: 0.1 is a tenth more than was planned.
    """
    ended = (line for line in read_lines(workspace) if not line["failed"])
    lines = [line for line in ended if line["planned"] and line["items"]]
    rows = [_row(line) for line in reversed(lines)]
    inside = sum(1 for row in rows if row[-1])
    errors = sorted(abs(row[5]) for row in rows)
    note = ""
    if rows:
        note = (
            f"{inside} of {len(rows)} runs took a time within their range;"
            f" the middle error of the likely time is {percent(errors[len(errors) // 2])}."
        )
    columns = (
        "billed_at",
        "stage",
        "items",
        "planned_s",
        "billed_s",
        "error_share",
        "requests",
        "runs_behind_the_plan",
        "within",
    )
    return Table("How far off the plans were", columns, rows, note)


def _row(line: Mapping[str, Any]) -> tuple[Any, ...]:
    planned = line["planned"]
    # The plan was made for the items that were due; what came is what it is held to.
    share = line["items"] / planned["items"]
    span = {name: value * share for name, value in planned["seconds"].items()}
    seconds = line["seconds"]
    error = seconds / span["likely"] - 1 if span["likely"] else 0.0
    return (
        line["at"],
        line["stage"],
        line["items"],
        (span["low"], span["high"]),
        seconds,
        error,
        sum(count for name, count in line["traffic"].items() if not name.endswith("bytes")),
        planned["runs"],
        span["low"] <= seconds <= span["high"],
    )
