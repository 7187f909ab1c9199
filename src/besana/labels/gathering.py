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

from besana.errors import ConfigError
from besana.images.times import is_plausible
from besana.labels.conflicts import Conflict
from besana.labels.kin import Kin
from besana.labels.labelled import Page, Said, Sample, labelled_pages
from besana.labels.selection import NO_DAY, Selection, Wanted, row_schema
from besana.statistics.groups import block_keys, time_blocks
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
    """Select the samples that have a current label, and find which are kin.

    Rows go to a file as they come; in memory stay 2 bytes a sample, some 40 a stretch and 16 a
    frame that is somebody's duplicate. Kin are duplicates over any number of generations, frames
    with the same bytes, and equal values of the wanted column.

    Args:
        workspace: Where the samples are.
        wanted: What to select.
        disputed: Identical files that are labelled differently: none of them is selected.
        folder: Where the file of rows goes; it has to last as long as the selection.
        advance: Told how many samples were looked at.

    Raises:
        ConfigError: If no frame has a wanted metadata column.
    """
    import pyarrow as pa

    selection = Selection(wanted, folder / "rows.arrow")
    gathering = _Gathering(workspace, wanted, disputed, selection)
    keys = [column.name for column in gathering.columns.values()]
    with (
        pa.OSFile(str(folder / "rows.arrow"), "wb") as file,
        pa.ipc.new_stream(file, row_schema()) as stream,
    ):
        for page in labelled_pages(workspace.catalog, multi=wanted.multi, metadata=keys):
            rows = gathering.take(page)
            if rows.num_rows:
                stream.write_batch(rows)
            advance(page.count)
    gathering.finish()
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
        self._kin = Kin(workspace.catalog)
        self._last_frame = ""
        self._samples = 0
        self._stretches = 0
        self._with_value: Counter[str] = Counter()
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def take(self, page: Page) -> pa.RecordBatch:
        """Take up a page; return the rows of the selected samples."""
        import pyarrow as pa

        self._selection.seen += page.count
        samples = list(zip(page.columns["frame_id"], page.columns["region"], strict=True))
        keeps = [self._keeps(sample, page) for sample in samples]
        kept = {name: list(compress(values, keeps)) for name, values in page.columns.items()}
        if any(keeps):
            self._add_samples(list(compress(samples, keeps)), page.said)
            self._add_stretches(kept)
        schema = row_schema()
        return pa.record_batch([pa.array(kept[f.name], f.type) for f in schema], schema=schema)

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

    def _add_samples(self, samples: Sequence[Sample], said: dict[Sample, Said]) -> None:
        held, held_by = [], []
        for number, sample in enumerate(samples, self._samples):
            for name in said[sample].classes:
                if not self._only or name in self._only:
                    held.append(self._classes.setdefault(name, len(self._classes)))
                    held_by.append(number)
        self._part("held", np.array(held, np.int16))
        if self._wanted.multi:
            self._part("held_by", np.array(held_by, np.int32))
        self._samples += len(samples)

    def _add_stretches(self, rows: dict[str, list[Any]]) -> None:
        """Cut the rows where anything changes that a split may go by, and keep one a stretch."""
        self._selection.recipes.update(rows["recipe"])
        self._selection.sizes.update(zip(rows["width_px"], rows["height_px"], strict=True))
        ids = rows["frame_id"]
        new = [one != before for before, one in zip([None, *ids], ids, strict=False)]
        frames = self._frames({name: list(compress(values, new)) for name, values in rows.items()})
        frame = np.cumsum(new) - 1
        facts = {name: values[frame] for name, values in frames.items()}
        facts["channels"] = np.array(rows["channels"], np.uint8)
        changes = [values[1:] != values[:-1] for values in facts.values()]
        starts = np.flatnonzero(np.append(True, np.logical_or.reduce(changes)))
        if ids[0] == self._last_frame:  # its first regions are on the page before
            self._kin.join(self._stretches - 1, self._stretches)
        own = facts.pop("kin")[starts]
        self._kin.found(own, self._stretches)
        for name, values in facts.items():
            self._part(name, values[starts])
        self._part("size", np.diff(np.append(starts, len(ids))).astype(np.int32))
        self._last_frame = ids[-1]
        self._stretches += len(starts)

    def _frames(self, rows: dict[str, list[Any]]) -> dict[str, NDArray[Any]]:
        """Give what a split may go by, one value a frame."""
        camera = np.array(
            [self._cameras.setdefault(name, len(self._cameras)) for name in rows["camera"]],
            dtype=np.int16,
        )
        ids = text_hashes(rows["frame_id"])
        day, block = self._times(rows["captured_at"], rows["collected_at"], camera, ids)
        facts: dict[str, NDArray[Any]] = {"camera": camera, "day": day, "block": block}
        facts["kin"] = self._kin.places(ids)
        for number, (what, column) in enumerate(self.columns.items()):
            texts = rows["name" if column.name == "name" else f"metadata_{number}"]
            facts[what] = self._values(what, [column.part(text) for text in texts])
        return facts

    def _times(
        self,
        times: Sequence[dt.datetime | None],
        collected: Sequence[dt.datetime],
        camera: NDArray[np.int16],
        ids: NDArray[np.uint64],
    ) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """Give local day and key of the time block; a frame without a time is its own block.

        A clock that was not set tells what came soon after what, so blocks, but no day.
        """
        timed = np.array([at is not None for at in times], dtype=np.bool_)
        odd = [at and not is_plausible(at, now) for at, now in zip(times, collected, strict=True)]
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
        day[np.array(odd, dtype=np.bool_)] = NO_DAY
        return day, block

    def _values(self, what: str, values: Sequence[str]) -> NDArray[Any]:
        """Give hashes of the values to group by (0 for none), or splits (-1 for none)."""
        self._with_value[what] += sum(map(bool, values))
        if what == "group":
            return np.array([text_hash(value) if value else 0 for value in values], np.uint64)
        return np.array([_NAMED_SPLITS.get(v.lower(), LEFT_OUT) for v in values], np.int8)

    def _part(self, name: str, values: NDArray[Any]) -> None:
        self._parts.setdefault(name, []).append(values)

    def _column(self, name: str, kind: type[np.generic]) -> NDArray[Any]:
        parts = self._parts.pop(name, [])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)

    def finish(self) -> None:
        """Put the columns together and find which are kin."""
        for what, column in self.columns.items():
            if self._samples and not self._with_value[what]:
                raise ConfigError(
                    f"No labelled frame has '{column.name}' to {what} by"
                    + (f" that matches {column.pattern!r}." if column.pattern else "."),
                    "Check the name of the metadata column: besana sql",
                )
        found = self._selection
        found.size = self._column("size", np.int32)
        found.channels = self._column("channels", np.uint8)
        found.cameras = tuple(self._cameras)
        found.camera = self._column("camera", np.int16)
        found.day = self._column("day", np.int32)
        found.block = self._column("block", np.uint64)
        found.stated = self._column("split", np.int8)
        found.value = self._column("group", np.uint64)
        self._settle_classes()
        found.kin = self._kin.settle(len(found.size), found.value)

    def _settle_classes(self) -> None:
        """Number the classes that occur, in the wanted or alphabetical order."""
        found = self._selection
        held = self._column("held", np.int16)
        occur = np.bincount(held, minlength=len(self._classes)) > 0
        names = [name for name, code in self._classes.items() if occur[code]]
        found.classes = tuple(names if self._wanted.classes else sorted(names))
        numbers = np.zeros(len(self._classes), dtype=np.int16)
        for number, name in enumerate(found.classes):
            numbers[self._classes[name]] = number
        found.held = numbers[held]
        found.held_by = self._column("held_by", np.int32) if self._wanted.multi else None
