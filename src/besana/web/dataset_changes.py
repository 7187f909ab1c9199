"""What changed from one version of a dataset to another: added, removed, relabelled, moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.learning.embeddings import sample_keys
from besana.shards.datasets import Dataset

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest

KINDS_OF_CHANGE = ("added", "removed", "relabelled", "moved")

Positions = NDArray[np.int64]

_STEP = 8192
_LISTED = 200


@dataclass(frozen=True)
class _Side:
    """One version: its manifest and what tells its samples apart."""

    manifest: Manifest
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, dataset: Dataset) -> _Side:
        manifest = dataset.manifest()
        keys = [np.empty(0, np.uint64)]
        for start in range(0, len(manifest), _STEP):
            positions = np.arange(start, min(start + _STEP, len(manifest)))
            none = np.zeros(len(positions), np.uint32)
            keys.append(sample_keys(manifest.identities(positions), none))
        return cls(manifest, np.concatenate(keys))

    def split(self, position: int) -> str:
        return str(self.manifest.splits[self.manifest.split[position]])

    def said(self, position: int) -> str:
        """Name the classes that hold for a sample; empty for none."""
        manifest = self.manifest
        if manifest.labels is not None:
            held = np.flatnonzero(manifest.labels[position])
            return ", ".join(manifest.classes[code] for code in held)
        code = int(manifest.label[position])
        return manifest.classes[code] if code >= 0 else ""

    def splits(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Give the split of each sample as an index into other names."""
        places = np.array([names.index(name) for name in self.manifest.splits] or [0])
        return np.asarray(places[self.manifest.split])

    def classes(self, names: Sequence[str]) -> NDArray[Any]:
        """Give what each sample is called, comparable among versions that know other classes."""
        manifest = self.manifest
        places = np.array([*(names.index(name) for name in manifest.classes), -1])
        if manifest.labels is None:
            return np.asarray(places[manifest.label])
        held = np.zeros((len(manifest), len(names)), np.bool_)
        held[:, places[:-1]] = manifest.labels
        return held


class Changes:
    """What changed from one version to another; of a million samples it takes seconds to find.

    Args:
        one: The version before.
        other: The version after, as a rule of the same dataset.
    """

    def __init__(self, one: Dataset, other: Dataset) -> None:
        self._one, self._other = _Side.of(one), _Side.of(other)
        keys = self._one.keys, self._other.keys
        common, before, after = np.intersect1d(*keys, assume_unique=True, return_indices=True)
        gone, new = (~np.isin(own, common) for own in keys)
        relabelled, moved = self._differing(before, after)
        # Positions in the version after, of what was removed in the one before.
        self._at: dict[str, Positions] = {
            "added": np.flatnonzero(new),
            "removed": np.flatnonzero(gone),
            "relabelled": np.sort(after[relabelled]),
            "moved": np.sort(after[moved]),
        }
        # Where a sample of the version after stood before.
        self._before = np.full(len(self._other.keys), -1, np.int64)
        self._before[after] = before
        self.kept = len(common) - int(np.count_nonzero(relabelled | moved))

    def _differing(
        self, before: Positions, after: Positions
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        sides = self._one, self._other
        names = sorted({name for side in sides for name in side.manifest.classes})
        said = [side.classes(names) for side in sides]
        if said[0].ndim != said[1].ndim:
            said = [_one_hot(codes, len(names)) for codes in said]
        differ = said[0][before] != said[1][after]
        splits = sorted({name for side in sides for name in side.manifest.splits})
        moved = self._one.splits(splits)[before] != self._other.splits(splits)[after]
        return differ if differ.ndim == 1 else differ.any(axis=1), moved

    def counts(self) -> dict[str, Any]:
        """Count what changed, and from what to what."""
        return {
            "kept": self.kept,
            **{
                kind: {"count": len(at), "ways": self._ways(kind, at)}
                for kind, at in self._at.items()
            },
        }

    def _ways(self, kind: str, at: Positions) -> list[tuple[str, str, int]]:
        counted = Counter(self._way(kind, position) for position in at.tolist())
        return [(*way, count) for way, count in counted.most_common(_LISTED)]

    def _way(self, kind: str, position: int) -> tuple[str, str]:
        if kind == "added":
            return self._other.split(position), self._other.said(position)
        if kind == "removed":
            return self._one.split(position), self._one.said(position)
        before = int(self._before[position])
        tell = "said" if kind == "relabelled" else "split"
        return getattr(self._one, tell)(before), getattr(self._other, tell)(position)

    def page(self, kind: str, after: int, count: int) -> list[dict[str, Any]]:
        """List samples that changed in one way, from a position on.

        Args:
            kind: One of `KINDS_OF_CHANGE`.
            after: First position that may be listed: the last one's and 1, 0 to begin.
            count: How many at most.
        """
        at = self._at[kind]
        start = int(np.searchsorted(at, after))
        chosen = at[start : start + count]
        side = self._one if kind == "removed" else self._other
        rows = side.manifest.identities(chosen)
        return [
            {
                "frame": row["frame_id"],
                "region": row["region"],
                "position": position,
                "way": self._way(kind, position),
            }
            for row, position in zip(rows, chosen.tolist(), strict=True)
        ]


def _one_hot(said: NDArray[Any], width: int) -> NDArray[np.bool_]:
    if said.ndim == 2:
        return said
    held = np.zeros((len(said), width), np.bool_)
    known = said >= 0
    held[np.flatnonzero(known), said[known]] = True
    return held
