"""The vectors of one dataset in its own order, on disk, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from besana.learning.embeddings import Embeddings, manifest_keys
from besana.learning.gathered import gather_keys
from besana.learning.logistic import Floats, Linear, fit, standardise

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions

_ROWS = 8192


class FeatureFile:
    """Vectors of some samples as one file of float16; at most one block is in memory.

    Args:
        path: The file, made by `gather`.
        features: Length of a vector.
        found: (n,) whether a sample has a vector; the others are left out by readers.
    """

    def __init__(self, path: Path, features: int, found: NDArray[np.bool_]) -> None:
        self._path, self.features, self.found = path, features, found

    def rows(self, chosen: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the vectors of some samples, given in rising order, into memory."""
        values = np.empty((len(chosen), self.features), np.float32)
        for start in range(0, len(self.found), _ROWS):
            first, last = np.searchsorted(chosen, (start, start + _ROWS))
            if last > first:
                block = self._read(start, min(start + _ROWS, len(self.found)))
                values[first:last] = block[chosen[first:last] - start]
        return values

    def blocks(
        self, targets: NDArray[np.float32]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Walk over the vectors that were found, beside their targets, (n, classes)."""
        for start in range(0, len(self.found), _ROWS):
            stop = min(start + _ROWS, len(self.found))
            found = self.found[start:stop]
            if found.any():
                yield self._read(start, stop)[found], targets[start:stop][found]

    def fit(
        self,
        targets: NDArray[np.float32],
        *,
        kind: str,
        penalty: float,
        weights: NDArray[np.float32],
    ) -> Linear:
        """Fit a classifier to all vectors that were found; see `logistic.fit`."""

        def blocks() -> Iterator[tuple[Floats, Floats]]:
            return self.blocks(targets)

        standard = standardise(blocks)
        return fit(blocks, standard, kind=kind, penalty=penalty, weights=weights)[0]

    def _read(self, start: int, stop: int) -> NDArray[np.float32]:
        item = np.dtype(np.float16).itemsize * self.features
        flat = np.fromfile(
            self._path, np.float16, (stop - start) * self.features, offset=start * item
        )
        return flat.reshape(-1, self.features).astype(np.float32)


def gather(
    embeddings: Embeddings, manifest: Manifest, positions: Positions, path: Path
) -> FeatureFile:
    """Copy the vectors of some samples into one file, in the samples' order.

    Args:
        embeddings: Where the vectors are; those that are missing stay missing.
        manifest: What the positions mean.
        positions: The samples.
        path: The file to write.
    """
    found = gather_keys(embeddings, manifest_keys(manifest, positions), path)
    return FeatureFile(path, embeddings.features, found)
