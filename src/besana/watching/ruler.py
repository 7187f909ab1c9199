"""What turns a model's words about a camera's pictures into an accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from besana.statistics.intervals import student_quantile
from besana.statistics.label_free import Estimate, Line
from besana.watching.words import Words

Floats = NDArray[np.float64]

# A cow stays for hours: as many samples of a region tell what one of them does.
_HOURS_ALIKE = 3.0


class Amount(NamedTuple):
    """How much an accuracy is of: samples, and hours of regions."""

    samples: int
    cells: int


@dataclass(frozen=True)
class Ruler:
    """What turns words into an accuracy.

    Attributes:
        words: What the model's words mean.
        line: How accuracy follows from them.
        accuracy: The accuracy that held-out samples of this camera had.
        usual: (3,) mean of the two confidences on them, and steady shares: 1.
        rests: How much that rests on.
        region_share: Width of a region, as a share of the frame's.
        alike: How alike samples of one hour of a region are in being right: from `likeness`.
    """

    words: Words
    line: Line
    accuracy: float
    usual: Floats
    rests: Amount
    region_share: float = 1.0
    alike: float = 1.0

    def by_chance(self, accuracy: float, amount: Amount) -> float:
        """Give the deviation of an accuracy by chance.

        As far as samples of an hour of a region are alike, three such hours are one draw.

        Args:
            accuracy: The accuracy, 0 to 1.
            amount: What it is of.
        """
        shared = self.alike * _HOURS_ALIKE / max(amount.cells, 1)
        own = (1 - self.alike) / max(amount.samples, 1)
        return sqrt(max(accuracy * (1 - accuracy), 0.01) * (shared + own))

    @property
    def error(self) -> float:
        """Deviation that the accuracy of the held-out samples has by chance."""
        return self.by_chance(self.accuracy, self.rests)

    def estimate(self, words: Floats, place: Floats, amount: Amount) -> Estimate:
        """Estimate the accuracy behind words, anchored at what held-out samples showed.

        Args:
            words: (3,) means of the two confidences, and how steady the shares of classes are.
            place: What the pictures look like, as `place_of` says.
            amount: How much they are of.
        """
        moved = self.line.moved(words - self.usual, place)
        value = min(max(self.accuracy + moved, 0.0), 1.0)
        error = np.hypot(self.line.spread, self.by_chance(value, amount))
        reach = float(student_quantile(0.95, self.line.degrees) * error)
        return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))
