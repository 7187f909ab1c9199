"""besana on the plain JPEG that everyone reads, by its native part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from work import Work

from contenders import besana_parts

NEEDS = ("besana", "besana-native", "torch")
FORMAT = "tfrecord"
SETTINGS = "defaults, native part"
DTYPES = besana_parts.DTYPES


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    return besana_parts.stream(work, FORMAT, native=True)
