"""Vectors copied from the embeddings into one file, in an order of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from besana.learning.embeddings import Embeddings


def gather_keys(embeddings: Embeddings, keys: NDArray[np.uint64], path: Path) -> NDArray[np.bool_]:
    """Copy the vectors of some samples into one file of float16, in the order of their keys.

    Args:
        embeddings: Where the vectors are; those that are missing stay missing.
        keys: (n,) from `sample_keys`.
        path: The file to write, (n, features).

    Returns:
        (n,) whether a sample has a vector.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    found = np.zeros(len(keys), np.bool_)
    item = np.dtype(np.float16).itemsize * embeddings.features
    with path.open("wb") as file:
        file.truncate(len(keys) * item)
        for block in embeddings.blocks():
            place = np.searchsorted(ordered, block.keys)
            here = place < len(keys)
            here[here] = ordered[place[here]] == block.keys[here]
            rows, vectors = order[place[here]], block.vectors[here]
            for first, run in runs(rows):
                file.seek(int(rows[first]) * item)
                file.write(vectors[first : first + run].tobytes())
            found[rows] = True
    return found


def runs(rows: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Cut row numbers into stretches that follow each other: (first index, length)."""
    if not len(rows):
        return
    starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
    for first, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield int(first), int(stop - first)
