"""CSV files that are written row by row and appear whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from besana.storage import open_storage

Write = Any
"""What `csv.writer` gives: its type has no public name."""


@contextlib.contextmanager
def open_csv(folder: Path, name: str) -> Iterator[Write]:
    """Write a CSV file that appears when the block ends well."""
    with open_storage(folder).open_writer(name) as file:
        words = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        yield csv.writer(words, lineterminator="\n")
        words.flush()
        words.detach()


def figure(value: float | None) -> str:
    """Write a number for a CSV; empty where there is none.

    >>> figure(1 / 3), figure(None)
    ('0.333333', '')
    """
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def finite(value: Any) -> float | None:
    """Turn NaN into None, so that tables show nothing there."""
    return float(value) if math.isfinite(value) else None
