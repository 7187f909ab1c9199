"""The labelled samples of a workspace, selected and grouped: columns here, rows on disk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from besana.statistics.groups import Groups, dense, group_names, keys_of
from besana.statistics.splits import CHUNK, LEFT_OUT, SPLITS

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
    """The selected samples, in the order of frame and region: rows on disk, stretches here.

    A stretch is consecutive samples that no split tells apart: one camera, block, day, value and
    stated split. A frame that is a duplicate is a stretch of its own.

    Attributes:
        seen: Samples looked at.
        dropped: Those not selected, by reason.
        classes: Class names in the order of the labels.
        multi: Whether several classes may hold for one sample.
        held: (m,) classes that hold, sample after sample.
        held_by: (m,) the sample of each; None when each sample has exactly one.
        size: (n,) samples of each stretch; the same n in all that follow.
        camera: (n,) index into `cameras`.
        cameras: Names of the cameras.
        day: (n,) local day of its camera, `NO_DAY` without a time.
        block: (n,) key of camera and time block, of the frame without a time.
        value: (n,) hash of the value to group by, 0 for none; empty when nothing is named.
        channels: (n,) channels of the pictures.
        stated: (n,) split that the column says, -1 for none; empty when no column is named.
        kin: (n,) number of the kin it belongs to.
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
        self.held: NDArray[np.int16]
        self.held_by: NDArray[np.int32] | None
        self.size: NDArray[np.int32]
        self.camera: NDArray[np.int16]
        self.day: NDArray[np.int32]
        self.block: NDArray[np.uint64]
        self.value: NDArray[np.uint64]
        self.channels: NDArray[np.uint8]
        self.stated: NDArray[np.int8]
        self.kin: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.size.sum())

    def count(self, chosen: NDArray[np.bool_]) -> int:
        """Count the samples of some stretches."""
        return int(self.size[chosen].sum())

    def groups(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """Join kin and equal blocks of the chosen stretches into groups.

        Returns:
            (n,) group of each stretch, from 0, -1 for those not chosen; and the (groups,) 64-bit
            keys that name the groups for good.
        """
        joined = Groups(len(self.size))
        joined.join_keys(np.where(chosen, self.kin, -1))
        joined.join_keys(np.where(chosen, keys_of(self.block), -1))
        # The smallest frame of a group is the earliest of its camera, so later frames leave
        # the group's name as it is.
        number, roots = dense(joined.roots()[chosen])
        group = np.full(len(self.size), -1, dtype=np.int32)
        group[chosen] = number
        block = self.block[roots]
        value = self.value[roots] if len(self.value) else np.zeros_like(block)
        return group, np.where(value != 0, value, block)

    def cells(self, part: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count the samples of each class in each part.

        A sample of which no class holds counts as one of a class of its own, the last.

        Args:
            part: (n,) part of each stretch; a negative one does not count.

        Returns:
            Numbers of the cells, part * (classes + 1) + class, rising; and what they count.
        """
        codes, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        width = len(self.classes) + 1
        for parts, held in self._held(part):
            inside = parts >= 0
            found = parts[inside].astype(np.int64) * width + held[inside]
            more, times = np.unique(found, return_counts=True)
            codes, counts = _added(np.append(codes, more), np.append(counts, times))
        return codes, counts

    def _held(
        self, part: NDArray[np.integer]
    ) -> Iterator[tuple[NDArray[np.integer], NDArray[np.int16]]]:
        """Yield the part and class of each class that holds, chunk by chunk."""
        for first, last, start, stop in self._chunks():
            parts = np.repeat(part[first:last], self.size[first:last])
            if self.held_by is None:
                yield parts, self.held[start:stop]
                continue
            low, high = np.searchsorted(self.held_by, [start, stop])
            holder = self.held_by[low:high] - start
            bare = np.ones(stop - start, dtype=np.bool_)
            bare[holder] = False
            none = np.full(int(bare.sum()), len(self.classes), dtype=np.int16)
            yield (
                np.append(parts[holder], parts[bare]),
                np.append(self.held[low:high], none),
            )

    def _chunks(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield first and last stretch, first and last sample, last ones excluded."""
        start = 0
        for first in range(0, len(self.size), CHUNK):
            last = min(first + CHUNK, len(self.size))
            stop = start + int(self.size[first:last].sum())
            yield first, last, start, stop
            start = stop

    def _matrix(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Spread the classes of some consecutive samples into (stop - start, classes) truths."""
        assert self.held_by is not None
        first, last = np.searchsorted(self.held_by, [start, stop])
        found = np.zeros((stop - start, len(self.classes)), dtype=np.bool_)
        found[self.held_by[first:last] - start, self.held[first:last]] = True
        return found

    def tables(
        self,
        split: NDArray[np.int8],
        fold: NDArray[np.int8],
        group: NDArray[np.int32],
        keys: NDArray[np.uint64],
    ) -> Iterator[pa.Table]:
        """Read the rows of a dataset, with the manifest's columns; those left out go.

        Args:
            split: (n,) number of each stretch's split, or `LEFT_OUT`.
            fold: (n,) its fold, -1 for none.
            group: (n,) its group, -1 for none.
            keys: (groups,) 64-bit keys of the groups.
        """
        import pyarrow as pa

        names = pa.array(SPLITS)
        ends = np.cumsum(self.size, dtype=np.int64)
        for start, table in self._batches():
            stop = start + table.num_rows
            stretch = np.searchsorted(ends, np.arange(start, stop), side="right")
            if self.held_by is None:
                table = table.append_column("label", pa.array(self.held[start:stop]))
            else:
                truths = self._matrix(start, stop).tolist()
                table = table.append_column("labels", pa.array(truths, pa.list_(pa.bool_())))
            chosen = split[stretch]
            table = table.append_column("split", names.take(pa.array(chosen.clip(min=0))))
            table = table.append_column("fold", pa.array(fold[stretch]))
            name = group_names(keys[group[stretch]])
            table = table.append_column("group", pa.array(name))
            yield table.filter(pa.array(chosen != LEFT_OUT))

    def _batches(self) -> Iterator[tuple[int, pa.Table]]:
        """Read the rows back, each table with the position of its first row."""
        import pyarrow as pa

        start = 0
        with pa.OSFile(str(self._spool), "rb") as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield start, pa.Table.from_batches([batch])
                start += batch.num_rows


def _added(
    codes: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add up the counts of equal codes."""
    order = np.argsort(codes, kind="stable")
    codes, counts = codes[order], counts[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[starts], np.add.reduceat(counts, starts) if len(starts) else counts


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
