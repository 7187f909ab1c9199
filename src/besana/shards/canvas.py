"""Where the pictures of a batch are made: in the batch, or staged until they become float32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from besana.shards.normal import Normal

Pixels = npt.NDArray[Any]


class Canvas(ABC):
    """Memory for the pictures of one batch; each row is written by one thread at a time.

    Args:
        memory: (batch, height, width, channels).

    Attributes:
        memory: The same.
        shape: (height, width, channels) of a picture.
    """

    def __init__(self, memory: Pixels) -> None:
        self.memory = memory
        self.shape = memory.shape[1:]

    @abstractmethod
    def open(self, row: int, dtype: np.dtype[Any]) -> Pixels:
        """Give the memory to make a picture in, contiguous.

        Args:
            row: Which picture of the batch.
            dtype: Type that its record asks for.
        """

    @abstractmethod
    def blank(self, row: int) -> None:
        """Make a picture black."""


class Direct(Canvas):
    """The batch itself, whose type is that of the pictures, whatever their records hold."""

    @override
    def open(self, row: int, dtype: np.dtype[Any]) -> Pixels:
        picture: Pixels = self.memory[row]
        return picture

    @override
    def blank(self, row: int) -> None:
        self.memory[row] = 0


class Staged(Canvas):
    """Pictures of a batch in the types of their records, until there is room for them as float32.

    Args:
        memory: (batch, height, width, channels) uint8, for those of 8 bits; others get new memory.
    """

    def __init__(self, memory: npt.NDArray[np.uint8]) -> None:
        super().__init__(memory)
        self._made: list[Pixels | None] = [None] * len(memory)

    @override
    def open(self, row: int, dtype: np.dtype[Any]) -> Pixels:
        is_byte = dtype == self.memory.dtype
        picture: Pixels = self.memory[row] if is_byte else np.empty(self.shape, dtype)
        self._made[row] = picture
        return picture

    @override
    def blank(self, row: int) -> None:
        self._made[row] = None

    def finish(self, normal: Normal, out: npt.NDArray[np.float32]) -> None:
        """Turn all pictures into float32; those that nobody made are black.

        Args:
            normal: How.
            out: (batch, height, width, channels), contiguous.
        """
        for row, picture in enumerate(self._made):
            if picture is None:
                out[row] = 0
            else:
                normal.apply(picture, out[row])
