"""Tables that people made are read, and ours are safe to open and come back unchanged."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from besana.labels.tables import neutralised, original, read_rows, write_rows

cells = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20
) | st.sampled_from(["=1+1", "'=1", "''@x", "-2", "+x", "\tx", "\rx", "'", "a,b;c", '"q"', "a\nb"])


@given(st.text())
def test_neutralised_text_is_no_formula_and_comes_back(text: str) -> None:
    assert neutralised(text)[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert original(neutralised(text)) == text


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.just("row"), cells, cells), max_size=8))
def test_written_tables_come_back(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        assert write_rows(file, ("a", "b", "c"), rows) == len(rows)
    assert [tuple(row.cells.values()) for row in read_rows(path)] == rows
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


@pytest.mark.parametrize(
    ("text", "separator"),
    [("a,b\n1,2\n", ","), ("a;b\n1,5;2\n", ";"), ('"x;y;z",b\n1,2\n', ","), ("a\tb\n1\t2\n", "\t")],
)
def test_the_separator_is_found_outside_quotes(tmp_path: Path, text: str, separator: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    expected = next(iter(csv.DictReader(io.StringIO(text), delimiter=separator)))
    (row,) = read_rows(path)
    assert row.cells == expected
    assert row.number == 2


def test_rows_are_counted_as_a_spreadsheet_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,b\r\n\r\n"two\r\nlines",1\r\n3\r\n4,5,\r\n6,7,8\r\n')
    rows = list(read_rows(path))
    assert [row.number for row in rows] == [3, 4, 5, 6]
    assert rows[1].cells == {"a": "3", "b": ""}
    assert [row.error.reason if row.error else "" for row in rows] == ["", "", "", "extra_cell"]
