"""What every contender does, and what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SIZE, BATCH = 224, 64
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Work:
    """Endless shuffled epochs: read, decode, random crop to 224 px, flip, batches of 64.

    Attributes:
        folder: Of the picture set; each format has its own folder or files inside.
        dtype: `uint8`, or `float32` normalised by MEAN and STD.
        workers: Threads or processes, where the contender takes a number.
    """

    folder: Path
    dtype: str
    workers: int

    @property
    def is_float(self) -> bool:
        """Tell whether batches are normalised float32."""
        return self.dtype == "float32"


class Contender(Protocol):
    """A module of `contenders/`.

    Attributes:
        NEEDS: Distributions whose versions are printed.
        FORMAT: Name of the format it reads, a function of `formats.py`.
        SETTINGS: What was set, for the table.
        DTYPES: Of the batches it can make.
    """

    NEEDS: tuple[str, ...]
    FORMAT: str
    SETTINGS: str
    DTYPES: tuple[str, ...]

    def stream(self, work: Work) -> Iterator[Any]:
        """Give batches without end."""
