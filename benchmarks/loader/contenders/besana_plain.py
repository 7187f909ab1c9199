"""besana on the plain JPEG that everyone reads, by Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from work import Work

from contenders import besana_parts

NEEDS = besana_parts.NEEDS
FORMAT = "tfrecord"
SETTINGS = besana_parts.SETTINGS
DTYPES = besana_parts.DTYPES


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    return besana_parts.stream(work, FORMAT)
