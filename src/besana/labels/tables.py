"""Read tables that people made (CSV from any program), and write ones that are safe to open."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from besana.errors import ConfigError, NotFoundError

_LONGEST_CELL = 1 << 20
_LONGEST_FIELD = 16 << 20
_MOST_COLUMNS = 1000
_SEPARATORS = ",;\t"
# What a spreadsheet would run as a formula (OWASP, "CSV injection"), behind any quotes of ours.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class TableError:
    """One cell that cannot be used.

    Attributes:
        row: Number of the row as a spreadsheet shows it: the header is row 1.
        column: Name of the column, empty when it is about the row.
        reason: One word for counting.
        problem: What is wrong, and what is allowed.
        unit: What `row` counts, in files that are no tables: a task, an annotation, a line.
    """

    row: int
    column: str
    reason: str
    problem: str
    unit: str = "row"

    def __str__(self) -> str:
        column = "column " if self.unit == "row" else ""
        place = f"{self.unit} {self.row}"
        return f"{place}{f', {column}{self.column!r}' if self.column else ''}: {self.problem}"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table.

    Attributes:
        number: Number of the row as a spreadsheet shows it.
        cells: Column to text.
        error: Why the row cannot be used, None when it can.
    """

    number: int
    cells: dict[str, str]
    error: TableError | None = None


def read_header(path: Path) -> list[str]:
    """Read the names of a table's columns.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is no table.
    """
    with open_text(path) as file:
        return _header(path, _records(path, file))


def read_rows(path: Path) -> Iterator[TableRow]:
    """Read a table row by row: commas, semicolons or tabs, with or without a byte order mark.

    Cells may hold line breaks inside quotes. A row with too many cells, a NUL or a cell above
    1 MB carries an error instead of ending the reading; empty rows are left out.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is not UTF-8, has no header, or a quote is never closed.
    """
    with open_text(path) as file:
        records = _records(path, file)
        columns = _header(path, records)
        for number, cells in records:
            if cells:
                yield _row(number, columns, cells)


def write_rows(file: TextIO, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a table as CSV and return the number of rows; no cell can run as a formula."""
    writer = csv.writer(file)  # its CRLF also makes it quote a lone CR or LF
    writer.writerow(columns)
    count = 0
    for row in rows:
        writer.writerow([neutralised(cell) for cell in row])
        count += 1
    return count


def neutralised(text: str) -> str:
    """Write a text so that no spreadsheet takes it for a formula; `original` takes it back.

    >>> neutralised("=1+1"), original(neutralised("=1+1")), neutralised("cow")
    ("'=1+1", '=1+1', 'cow')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def original(text: str) -> str:
    """Take back what `neutralised` did."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 file, with or without a byte order mark, line ends as they are.

    Raises:
        NotFoundError: If it is not there or may not be read.
    """
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError(f"No file '{path}'.", "Check the name.") from None
    except OSError as error:
        raise NotFoundError(f"'{path}' cannot be read: {error.strerror}.") from None
    return file


def _records(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of every record, counted as a spreadsheet counts rows."""
    number = 0
    try:
        start = file.readline(_LONGEST_FIELD)
        file.seek(0)
        # The module's limit is one for the process; ours is above what any reader here wants.
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
        for record in csv.reader(file, delimiter=_separator(start), strict=True):
            number += 1
            yield number, record
    except UnicodeDecodeError:
        raise ConfigError(
            f"'{path}' is not UTF-8 after row {number}.", 'Save it as "CSV UTF-8" and try again.'
        ) from None
    except csv.Error as error:
        raise ConfigError(
            f"'{path}', row {number + 1}: {error}.", "Correct the quotes in that row."
        ) from None


def _separator(start: str) -> str:
    outside_quotes = re.sub(r'"[^"]*"', "", start)
    return max(_SEPARATORS, key=outside_quotes.count)


def _header(path: Path, records: Iterator[tuple[int, list[str]]]) -> list[str]:
    _, cells = next(records, (0, []))
    columns = [cell.strip() for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    if not columns or any("\0" in column for column in columns):
        raise ConfigError(f"'{path}' is no table.", "Its first row must name the columns.")
    if len(columns) > _MOST_COLUMNS:
        raise ConfigError(f"'{path}' has {len(columns)} columns.", f"At most {_MOST_COLUMNS}.")
    for column in columns:
        if not column or columns.count(column) > 1:
            raise ConfigError(
                f"'{path}' has the column '{column}' twice or without a name.", "Rename one."
            )
    return columns


def _row(number: int, columns: Sequence[str], cells: list[str]) -> TableRow:
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        problem = f"{len(cells)} cells, but the header names {len(columns)} columns"
        return TableRow(number, {}, TableError(number, "", "extra_cell", problem))
    cells += [""] * (len(columns) - len(cells))
    for column, cell in zip(columns, cells, strict=False):
        if "\0" in cell:
            error = TableError(number, column, "nul", "a NUL character")
            return TableRow(number, {}, error)
        if len(cell) > _LONGEST_CELL:
            problem = f"{len(cell):,} characters, at most {_LONGEST_CELL:,}"
            return TableRow(number, {}, TableError(number, column, "huge_cell", problem))
    texts = map(original, cells)
    return TableRow(number, dict(zip(columns, texts, strict=False)))
