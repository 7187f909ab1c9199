"""The vectors that the model in the loop looks at: of a bounded number of samples, read once.

A round of learning reads them several times. So they lie beside each other in a scratch file,
in the order of the deck, and a round takes the same time among a million samples as among some
hundred thousand.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from besana.learning.embeddings import Embeddings, sample_keys
from besana.learning.gathered import gather_keys, runs
from besana.web.deck import Deck
from besana.workspace import Workspace

MOST_HELD = 200_000
"""Of how many samples vectors are held; of more, a draw in which everybody has an equal part."""

_USED_UP_SHARE = 0.75
_STEP = 4096

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]


class Vectors:
    """Vectors of samples of a deck, in a scratch file that is gone with the process.

    Args:
        workspace: In whose folder for such things the file lies.
        deck: Whose samples.
        embeddings: What `besana embed` left.
        most: Of how many samples at most.

    Attributes:
        rows: Length of the embeddings when they were read.
        numbers: (held,) numbers of the deck that have a vector, rising.
    """

    def __init__(
        self, workspace: Workspace, deck: Deck, embeddings: Embeddings, most: int = MOST_HELD
    ) -> None:
        self.rows, self._features = len(embeddings), embeddings.features
        held = _drawn(deck, most)
        with tempfile.TemporaryDirectory(dir=workspace.temporary) as folder:
            path = Path(folder) / "vectors"
            found = gather_keys(embeddings, _keys(deck, held), path)
            self._file = path.open("rb")
        pa.default_memory_pool().release_unused()  # what reading all blocks took
        weakref.finalize(self, self._file.close)
        self._row = np.flatnonzero(found)
        self.numbers = held[found]
        self._is_draw = len(held) < deck.count

    def is_used_up(self, deck: Deck) -> bool:
        """Tell whether so many of the drawn samples are labelled that others should be drawn."""
        labelled = int(np.count_nonzero(deck.voters[self.numbers]))
        return self._is_draw and labelled > _USED_UP_SHARE * len(self.numbers)

    def blocks(self) -> Iterator[tuple[Numbers, Floats]]:
        """Walk over numbers of the deck and their vectors, (k, features)."""
        for start in range(0, len(self.numbers), _STEP):
            rows = self._row[start : start + _STEP]
            yield self.numbers[start : start + _STEP], self._read(rows)

    def of(self, numbers: Numbers) -> tuple[Numbers, Floats]:
        """Read the vectors of some samples, in the order of their numbers; some may lack one."""
        found, place, _ = np.intersect1d(
            self.numbers, numbers, assume_unique=True, return_indices=True
        )
        return found.astype(np.int32), self._read(self._row[place])

    def _read(self, rows: NDArray[np.integer]) -> Floats:
        """Read rows of the file; mapped, whole stretches around them would count as memory."""
        found = np.empty((len(rows), self._features), np.float16)
        for first, length in runs(rows):
            place = int(rows[first]) * found.itemsize * self._features
            os.preadv(self._file.fileno(), [found[first : first + length].data], place)
        return found.astype(np.float32)


def newest_embeddings(workspace: Workspace) -> Embeddings | None:
    """Find the embeddings of most samples; None when there are none."""
    found = []
    for key in workspace.embeddings.list():
        if key.endswith("/index.json"):
            index = json.loads(workspace.embeddings.read(key))
            folder = workspace.embeddings.below(key.rpartition("/")[0])
            found.append((sum(index["rows"]), key, folder, int(index["features"])))
    if not found:
        return None
    _, _, folder, features = max(found, key=lambda item: item[:2])
    return Embeddings(folder, features)


def _drawn(deck: Deck, most: int) -> Numbers:
    """Draw samples by their places: labelled ones, half of all at most, and others."""
    if deck.count <= most:
        return np.arange(deck.count, dtype=np.int32)
    by_place = np.argsort(deck.rank, kind="stable").astype(np.int32)
    is_labelled = deck.voters[by_place] > 0
    labelled = by_place[is_labelled][: most // 2]
    return np.sort(np.concatenate([labelled, by_place[~is_labelled][: most - len(labelled)]]))


def _keys(deck: Deck, numbers: Numbers) -> NDArray[np.uint64]:
    """Name samples as the embeddings do."""
    parts = [np.empty(0, np.uint64)]
    for start in range(0, len(numbers), _STEP):
        rows = deck.names.records(numbers[start : start + _STEP])
        identities = [{"frame_id": frame, "region": region} for frame, region, _ in rows]
        parts.append(sample_keys(identities, np.array([row[2] for row in rows], np.uint32)))
    return np.concatenate(parts)
