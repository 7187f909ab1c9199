"""Which light each split has: a model that learns by day alone knows nothing of the night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from besana.statistics.splits import SPLITS, TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    import pyarrow as pa

_WORDS = {"day": "daylight", "ir": "infrared"}


class Lights:
    """Count the samples of each split and light while a dataset is written.

    Frames that `clean` has not judged have no light and are not counted.
    """

    def __init__(self) -> None:
        self._samples: Counter[tuple[str, str]] = Counter()

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Hand the rows of a dataset on, counted.

        Args:
            tables: Rows with at least `split` and `light`.
        """
        for table in tables:
            counts = table.group_by(["split", "light"]).aggregate([([], "count_all")])
            for row in counts.to_pylist():
                if row["light"]:
                    self._samples[row["split"], row["light"]] += row["count_all"]
            yield table

    def rows(self) -> list[list[str | int]]:
        """List each light with its samples in train, validation and test."""
        lights = sorted({light for _, light in self._samples})
        return [[light, *(self._samples[split, light] for split in SPLITS)] for light in lights]

    def warnings(self) -> list[str]:
        """Say of each light that train has nothing of what others are judged by it."""
        return [
            _warning(_WORDS.get(str(light), str(light)), counts)
            for light, *counts in self.rows()
            if not counts[TRAIN]
        ]


def _warning(light: str, counts: list[str | int]) -> str:
    if counts[VALIDATION]:
        return (
            f"Nothing in train was taken in {light}, but {counts[VALIDATION]:,} samples of"
            f" validation and {counts[TEST]:,} of test were: the model learns nothing about them."
            " With validation_share = 0, train gets those of validation."
        )
    return (
        f"Nothing in train was taken in {light}, but {counts[TEST]:,} samples of test were: the"
        f" model learns nothing about them. Label more frames taken in {light}, outside the test."
    )
