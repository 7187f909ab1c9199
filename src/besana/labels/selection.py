"""The labelled samples of a workspace, selected and grouped: columns here, rows on disk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.statistics.groups import group_names
from besana.statistics.splits import LEFT_OUT, SPLITS

if TYPE_CHECKING:
    import pyarrow as pa

NO_DAY = np.iinfo(np.int32).min


@dataclass(frozen=True)
class Column:
    """A column of the frames' metadata, or the file name, and the part of it that counts.

    Attributes:
        name: The metadata key; `name` means the frame's file name.
        pattern: Regular expression whose first group, or whole match, counts; empty: everything.
    """

    name: str
    pattern: str = ""

    def part(self, text: str | None) -> str:
        """Give the part of a value that counts; empty where there is none."""
        if not self.pattern or not text:
            return text or ""
        found = re.search(self.pattern, text)
        return (found[1] if found.re.groups else found[0]) or "" if found else ""


@dataclass(frozen=True)
class Wanted:
    """What to select.

    Attributes:
        multi: Whether several classes may hold for one sample.
        classes: The classes to keep, in their order; empty for all.
        block_minutes: Length of the time blocks that stay together.
        group_by: A column whose equal values stay together.
        split_by: A column that says the split.
    """

    multi: bool
    classes: Sequence[str]
    block_minutes: int
    group_by: Column | None = None
    split_by: Column | None = None


class Selection:
    """The selected samples as columns, in the order of frame and region.

    Attributes:
        seen: Samples looked at.
        dropped: Those not selected, by reason.
        classes: Class names in the order of the labels.
        multi: Whether several classes may hold for one sample.
        frame: (n,) number of each sample's frame.
        held: (m,) classes that hold, sample after sample.
        held_by: (m,) the sample of each; None when each sample has exactly one.
        camera: (n,) index into `cameras`.
        cameras: Names of the cameras.
        day: (n,) local day of its camera, `NO_DAY` without a time.
        channels: (n,) channels of the picture.
        stated: (n,) split that the column says, -1 for none.
        group: (n,) group, from 0.
        keys: (groups,) 64-bit keys that name the groups for good.
        recipes: Recipe to samples.
        sizes: (width, height) in px to samples.
    """

    def __init__(self, wanted: Wanted, spool: Path) -> None:
        self.multi = wanted.multi
        self.seen = 0
        self.dropped: Counter[str] = Counter()
        self.recipes: Counter[str] = Counter()
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.classes: tuple[str, ...] = ()
        self.cameras: tuple[str, ...] = ()
        self._spool = spool
        self.frame: NDArray[np.int32]
        self.held: NDArray[np.int16]
        self.held_by: NDArray[np.int32] | None
        self.camera: NDArray[np.int16]
        self.day: NDArray[np.int32]
        self.channels: NDArray[np.uint8]
        self.stated: NDArray[np.int8]
        self.group: NDArray[np.int32]
        self.keys: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.frame)

    def pairs(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Give group and class of the chosen samples, once for each class that holds.

        A sample of which no class holds counts as one of a class of its own.
        """
        if self.held_by is None:
            return self.group[chosen], self.held[chosen]
        inside = chosen[self.held_by]
        bare = chosen.copy()
        bare[self.held_by] = False
        group = np.concatenate([self.group[self.held_by[inside]], self.group[bare]])
        none = np.full(int(bare.sum()), len(self.classes), dtype=self.held.dtype)
        return group, np.concatenate([self.held[inside], none])

    def _matrix(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Spread the classes of some consecutive samples into (stop - start, classes) truths."""
        assert self.held_by is not None
        first, last = np.searchsorted(self.held_by, [start, stop])
        found = np.zeros((stop - start, len(self.classes)), dtype=np.bool_)
        found[self.held_by[first:last] - start, self.held[first:last]] = True
        return found

    def tables(self, split: NDArray[np.int8], fold: NDArray[np.int8]) -> Iterator[pa.Table]:
        """Read the rows of a dataset, with the manifest's columns; those left out go.

        Args:
            split: (n,) number of each sample's split, or `LEFT_OUT`.
            fold: (n,) its fold, -1 for none.
        """
        import pyarrow as pa

        names = pa.array(SPLITS)
        for start, table in self._batches():
            stop = start + table.num_rows
            if self.held_by is None:
                table = table.append_column("label", pa.array(self.held[start:stop]))
            else:
                truths = self._matrix(start, stop).tolist()
                table = table.append_column("labels", pa.array(truths, pa.list_(pa.bool_())))
            chosen = split[start:stop]
            table = table.append_column("split", names.take(pa.array(chosen.clip(min=0))))
            table = table.append_column("fold", pa.array(fold[start:stop]))
            group = group_names(self.keys[self.group[start:stop]])
            table = table.append_column("group", pa.array(group))
            yield table.filter(pa.array(chosen != LEFT_OUT))

    def _batches(self) -> Iterator[tuple[int, pa.Table]]:
        """Read the rows back, each table with the position of its first row."""
        import pyarrow.parquet as pq

        start = 0
        with pq.ParquetFile(self._spool) as file:
            for number in range(file.metadata.num_row_groups):
                table = file.read_row_group(number)
                yield start, table
                start += table.num_rows


def row_schema() -> pa.Schema:
    """Give the columns that wait on disk; the others of a manifest come with the split."""
    import pyarrow as pa

    return pa.schema(
        [
            ("frame_id", pa.string()),
            ("region", pa.string()),
            ("shard", pa.string()),
            ("offset_bytes", pa.uint64()),
            ("length_bytes", pa.uint32()),
            ("payload_offset_bytes", pa.uint64()),
            ("payload_length_bytes", pa.uint32()),
            ("crc32c", pa.uint32()),
            ("height_px", pa.uint32()),
            ("width_px", pa.uint32()),
            ("channels", pa.uint8()),
            ("camera", pa.string()),
            ("captured_at", pa.timestamp("us", tz="UTC")),
            ("light", pa.string()),
        ]
    )
