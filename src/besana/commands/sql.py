"""Ask the catalog a question in SQL.

Reads: every table of the catalog
Writes: nothing; a statement that would write is refused
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from besana.config import Settings
from besana.console import plain_console
from besana.workspace import Workspace

EXAMPLE = 'besana sql farm "select kind, count(*) from issues group by kind"'
ARGUMENTS = ("farm", "query")

Rows = Iterator[Sequence[Any]]


class Config(Settings):
    """What to ask and how to print the answer."""

    query: str = Field(description="One SQL statement that reads.")
    form: Literal["table", "csv", "json"] = Field(
        default="table", description="How rows are printed: a table, CSV, or one JSON a line."
    )


def run(workspace: Workspace, config: Config) -> None:
    """Print the rows of a question, streaming, whatever their number.

    Raises:
        ConfigError: If the statement is not valid SQL, or would write.
    """
    with workspace.catalog.ask(config.query) as (columns, rows):
        {"table": _table, "csv": _csv, "json": _json}[config.form](columns, rows)


def _table(columns: Sequence[str], rows: Rows) -> None:
    from rich.table import Table

    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    plain_console(soft_wrap=False).print(table)


def _csv(columns: Sequence[str], rows: Rows) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    writer.writerows(rows)


def _json(columns: Sequence[str], rows: Rows) -> None:
    for row in rows:
        values = dict(zip(columns, row, strict=True))
        sys.stdout.write(json.dumps(values, default=str, ensure_ascii=False) + "\n")
