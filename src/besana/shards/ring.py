"""A ring of preallocated picture batches that are handed out without a copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt


class Lease:
    """Own a slot's memory as long as any array or tensor looks at it."""

    def __init__(self, slot: npt.NDArray[Any], free: deque[npt.NDArray[Any]] | None) -> None:
        self.__array_interface__ = slot.__array_interface__
        self._slot = slot
        self._free = free

    def __del__(self) -> None:
        # Runs wherever the last reference goes, maybe in the garbage collector: takes no lock.
        if self._free is not None:
            self._free.append(self._slot)


class Ring:
    """Lend slots of one shape; a slot comes back when nothing refers to it any more.

    Args:
        slots: How many batches are allocated, on first use.
        shape: (batch, height, width, channels).
        dtype: Type of the pixels.
        allocate: Makes the memory of a slot; None for new memory of this process.
    """

    def __init__(
        self,
        slots: int,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        allocate: Callable[[], npt.NDArray[Any]] | None = None,
    ) -> None:
        self.slots = slots
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._make = allocate
        self.extra = 0
        self._free: deque[npt.NDArray[Any]] = deque()
        self._allocated = 0

    def lend(self) -> npt.NDArray[Any] | None:
        """Give a free slot; None when all are lent."""
        try:
            slot = self._free.popleft()
        except IndexError:
            if self._allocated == self.slots:
                return None
            self._allocated += 1
            slot = self._empty() if self._make is None else self._make()
        return np.asarray(Lease(slot, self._free))

    def lend_extra(self) -> npt.NDArray[Any]:
        """Give memory beyond the ring, for one who keeps all batches; it is freed after use."""
        self.extra += 1
        return self._empty()

    def _empty(self) -> npt.NDArray[Any]:
        return np.empty(self.shape, self.dtype)
