"""The ceiling of plain JPEG: decode the same crops, cut short below them, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from work import Work

from contenders import bare_parts

NEEDS = bare_parts.NEEDS
FORMAT = "tfrecord"
SETTINGS = "simplejpeg on bytes in memory, cut short beforehand"
DTYPES = bare_parts.DTYPES


def stream(work: Work) -> Iterator[Any]:
    """Give lists of decoded batches without end."""
    return bare_parts.stream(work, FORMAT)
