"""Division that says NaN where there is nothing to divide by."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """Divide element by element; NaN where the whole is not above 0.

    >>> ratio([1, 0], [2, 0]).tolist()
    [0.5, nan]
    """
    over, under = np.broadcast_arrays(
        np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    )
    found: NDArray[np.float64] = np.full(over.shape, np.nan)
    np.divide(over, under, out=found, where=under > 0)
    return found
