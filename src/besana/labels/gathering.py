"""Go through the labelled samples of a workspace once, and find which belong together."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.catalog import Catalog
from besana.errors import ConfigError
from besana.labels.conflicts import Conflict
from besana.labels.labelled import Page, Said, Sample, duplicate_pairs, labelled_pages
from besana.labels.selection import NO_DAY, Selection, Wanted, row_schema
from besana.statistics.groups import Groups, block_keys, time_blocks
from besana.statistics.hashing import text_hash, text_hashes
from besana.statistics.local_time import local_seconds
from besana.statistics.splits import LEFT_OUT, SPLITS
from besana.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

_NAMED_SPLITS = {**{name: i for i, name in enumerate(SPLITS)}, "val": 1, "valid": 1, "dev": 1}


def select_samples(
    workspace: Workspace,
    wanted: Wanted,
    disputed: Sequence[Conflict],
    folder: Path,
    *,
    advance: Callable[[int], None],
) -> Selection:
    """Select the samples that have a current label, and find their groups.

    Rows go to a file as they come; in memory stay about 60 bytes a frame and 20 a sample.
    Groups join frames of one camera and time block, duplicates over any number of generations,
    frames with the same bytes, and equal values of the wanted column.

    Args:
        workspace: Where the samples are.
        wanted: What to select.
        disputed: Identical files that are labelled differently: none of them is selected.
        folder: Where the file of rows goes; it has to last as long as the selection.
        advance: Told how many samples were looked at.

    Raises:
        ConfigError: If no frame has a wanted metadata column.
    """
    import pyarrow.parquet as pq

    selection = Selection(wanted, folder / "rows.parquet")
    gathering = _Gathering(workspace, wanted, disputed, selection)
    keys = [column.name for column in gathering.columns.values()]
    with pq.ParquetWriter(folder / "rows.parquet", row_schema()) as file:
        for page in labelled_pages(workspace.catalog, multi=wanted.multi, metadata=keys):
            rows = gathering.take(page)
            if rows.num_rows:
                file.write_table(rows)
            advance(page.count)
    gathering.finish(workspace.catalog)
    return selection


class _Gathering:
    """Goes through the pages and fills a selection."""

    def __init__(
        self,
        workspace: Workspace,
        wanted: Wanted,
        disputed: Sequence[Conflict],
        selection: Selection,
    ) -> None:
        columns = {"group": wanted.group_by, "split": wanted.split_by}
        self.columns = {what: column for what, column in columns.items() if column}
        self._workspace, self._wanted = workspace, wanted
        self._disputed = {sample for pair in disputed for sample in (pair.first, pair.second)}
        self._selection = selection
        self._only = frozenset(wanted.classes)
        self._classes: dict[str, int] = {name: i for i, name in enumerate(wanted.classes)}
        self._cameras: dict[str, int] = {}
        self._last_frame = ""
        self._frames = 0
        self._samples = 0
        self._with_value: Counter[str] = Counter()
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def take(self, page: Page) -> pa.Table:
        """Take up a page; return the rows of the selected samples."""
        import pyarrow as pa

        self._selection.seen += page.count
        samples = list(zip(page.columns["frame_id"], page.columns["region"], strict=True))
        keeps = [self._keeps(sample, page) for sample in samples]
        kept = {name: list(compress(values, keeps)) for name, values in page.columns.items()}
        self._add_samples(list(compress(samples, keeps)), kept, page.said)
        schema = row_schema()
        return pa.table([kept[name] for name in schema.names], schema=schema)

    def _keeps(self, sample: Sample, page: Page) -> bool:
        said = page.said.get(sample)
        if sample[0] in page.blocked:
            reason = "quarantined"
        elif said is None:
            reason = "unlabelled"
        elif said.tied:
            reason = "tied"
        elif sample in self._disputed:
            reason = "conflicting"
        elif self._only and not self._wanted.multi and said.classes[0] not in self._only:
            reason = "other_class"
        else:
            return True
        self._selection.dropped[reason] += 1
        return False

    def _add_samples(
        self, samples: Sequence[Sample], kept: dict[str, list[Any]], said: dict[Sample, Said]
    ) -> None:
        new, held, held_by = [], [], []
        for number, sample in enumerate(samples):
            new.append(sample[0] != self._last_frame)
            self._last_frame = sample[0]
            for name in said[sample].classes:
                if not self._only or name in self._only:
                    held.append(self._classes.setdefault(name, len(self._classes)))
                    held_by.append(self._samples + number)
        self._part("frame", self._frames - 1 + np.cumsum(new), np.int32)
        self._part("held", held, np.int16)
        if self._wanted.multi:
            self._part("held_by", held_by, np.int32)
        self._part("channels", kept["channels"], np.uint8)
        self._selection.recipes.update(kept["recipe"])
        self._selection.sizes.update(zip(kept["width_px"], kept["height_px"], strict=True))
        self._samples += len(samples)
        self._frames += sum(new)
        self._add_frames({name: list(compress(values, new)) for name, values in kept.items()})

    def _add_frames(self, rows: dict[str, list[Any]]) -> None:
        camera = np.array(
            [self._cameras.setdefault(name, len(self._cameras)) for name in rows["camera"]],
            dtype=np.int16,
        )
        ids = text_hashes(rows["frame_id"])
        day, block = self._times(rows["captured_at"], camera, ids)
        self._part("camera", camera, np.int16)
        self._part("id", ids, np.uint64)
        self._part("day", day, np.int32)
        self._part("block", block, np.uint64)
        self._part("bytes", [int(digest[:16], 16) for digest in rows["sha256"]], np.uint64)
        for number, (what, column) in enumerate(self.columns.items()):
            texts = rows["name" if column.name == "name" else f"metadata_{number}"]
            self._add_values(what, [column.part(text) for text in texts])

    def _times(
        self,
        times: Sequence[dt.datetime | None],
        camera: NDArray[np.int16],
        ids: NDArray[np.uint64],
    ) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """Give local day and key of the time block; a frame without a time is its own block."""
        timed = np.array([at is not None for at in times], dtype=np.bool_)
        at_s = np.array([int(at.timestamp()) if at else 0 for at in times], dtype=np.int64)
        day, block = np.full(len(times), NO_DAY, dtype=np.int32), ids.copy()
        for name, code in self._cameras.items():
            mine = timed & (camera == code)
            if mine.any():
                local_s = local_seconds(at_s[mine], self._workspace.camera(name).time_zone)
                day[mine] = local_s // 86_400
                number = time_blocks(local_s, self._wanted.block_minutes)
                key = np.full(len(number), text_hash(name), dtype=np.uint64)
                block[mine] = block_keys(key, number)
        return day, block

    def _add_values(self, what: str, values: Sequence[str]) -> None:
        """Keep a column: hashes of the values to group by (0 for none), or splits (-1 for none)."""
        self._with_value[what] += sum(map(bool, values))
        if what == "group":
            self._part(what, [text_hash(value) if value else 0 for value in values], np.uint64)
        else:
            self._part(what, [_NAMED_SPLITS.get(v.lower(), LEFT_OUT) for v in values], np.int8)

    def _part(self, name: str, values: Any, kind: type[np.generic]) -> None:
        self._parts.setdefault(name, []).append(np.asarray(values, dtype=kind))

    def _column(self, name: str) -> NDArray[Any]:
        parts = self._parts.pop(name, [])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def finish(self, catalog: Catalog) -> None:
        """Put the columns together and find the groups."""
        for what, column in self.columns.items():
            if self._samples and not self._with_value[what]:
                raise ConfigError(
                    f"No labelled frame has '{column.name}' to {what} by"
                    + (f" that matches {column.pattern!r}." if column.pattern else "."),
                    "Check the name of the metadata column: besana sql",
                )
        found = self._selection
        found.frame = self._column("frame")
        found.channels = self._column("channels")
        found.cameras = tuple(self._cameras)
        found.camera = self._column("camera")[found.frame]
        found.day = self._column("day")[found.frame]
        self._settle_classes()
        stated = self._column("split")
        found.stated = (
            stated[found.frame] if len(stated) else np.full(len(found), LEFT_OUT, dtype=np.int8)
        )
        frame_group, found.keys = self._groups(catalog)
        found.group = frame_group[found.frame]

    def _settle_classes(self) -> None:
        """Number the classes that occur, in the wanted or alphabetical order."""
        found = self._selection
        held = self._column("held")
        occur = np.bincount(held, minlength=len(self._classes)) > 0
        names = [name for name, code in self._classes.items() if occur[code]]
        found.classes = tuple(names if self._wanted.classes else sorted(names))
        numbers = np.zeros(len(self._classes), dtype=np.int16)
        for number, name in enumerate(found.classes):
            numbers[self._classes[name]] = number
        found.held = numbers[held]
        found.held_by = self._column("held_by") if self._wanted.multi else None

    def _groups(self, catalog: Catalog) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        ids, block = self._column("id"), self._column("block")
        first, second = _hashed_pairs(catalog)
        others = np.setdiff1d(np.concatenate([first, second]), ids)
        nodes = np.concatenate([ids, others])
        groups = Groups(len(nodes))
        groups.join_pairs(_places(nodes, first), _places(nodes, second))
        value = self._column("group")
        for keys in (block, self._column("bytes"), value):
            if len(keys):
                groups.join_keys(_padded(keys, len(nodes)))
        # The smallest frame of a group is the earliest of its camera, so later frames leave
        # the group's name as it is.
        roots, group = np.unique(groups.roots()[: len(ids)], return_inverse=True)
        names = np.where(value != 0, value, block) if len(value) else block
        return group.astype(np.int32), names[roots]


def _hashed_pairs(catalog: Catalog) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    parts = [np.zeros((0, 2), dtype=np.uint64)]
    for page in duplicate_pairs(catalog):
        parts.append(text_hashes(frame_id for pair in page for frame_id in pair).reshape(-1, 2))
    pairs = np.concatenate(parts)
    return pairs[:, 0], pairs[:, 1]


def _places(nodes: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.intp]:
    order = np.argsort(nodes)
    return np.asarray(order[np.searchsorted(nodes, wanted, sorter=order)])


def _padded(keys: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Make keys that `join_keys` understands: 63 bits, negative for none."""
    padded = np.full(count, -1, dtype=np.int64)
    padded[: len(keys)] = np.where(keys == 0, -1, (keys >> np.uint64(1)).astype(np.int64))
    return padded
