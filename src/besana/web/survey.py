"""What every frame and sample is, in columns: so any filter of a million is counted in no time.

Some 40 bytes a sample lie in memory and the frames' ids in a scratch file. All of it is read from
the catalog in short reads and made anew when that has changed; nothing of it is worth a backup.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.labelled import current_labels_where
from besana.statistics.local_time import local_days
from besana.workspace import Workspace

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_PAGE_ROWS = 5000
_IDS_A_QUERY = 500
_STRETCH = "SELECT id, number FROM frames WHERE id BETWEEN ? AND ?"
NO_DAY = np.iinfo(np.int32).min
"""The day of a frame that has no time."""


class Votes(NamedTuple):
    """What people say about the samples: one entry for each class that holds for one.

    Attributes:
        sample: (n,) number of the sample, rising.
        name: (n,) index into the survey's `classes`.
        differ: (samples,) bool: whether people disagree.
    """

    sample: Numbers
    name: NDArray[np.int16]
    differ: Mask


class Predicted(NamedTuple):
    """What one model version says about the samples.

    Attributes:
        name: (samples,) index into `classes`, -1 for none.
        certainty: (samples,) probability of that class.
        classes: Names.
    """

    name: NDArray[np.int16]
    certainty: NDArray[np.float32]
    classes: list[str]


class Codes:
    """Names that become small numbers in the order of their coming."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        """Give the number of a name, a new one when it is new."""
        code = self._codes.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code

    def of(self, name: str) -> int:
        """Give the number of a name; -1 when it never came."""
        return self._codes.get(name, -1)


class Survey:
    """All frames and samples of a workspace as they were when this was made.

    Frames are numbered in the order of their ids, samples in that of frame and region: by camera
    and time. So a page begins behind the name of the last picture of the one before it.

    Args:
        workspace: What to read.
        multi: Whether several classes may hold for one sample.

    Attributes:
        cameras: Names of cameras; `camera` holds indices.
        kinds: Kinds of issues; bit k of `issues` stands for kind k.
        classes: Names of classes.
        regions: Names of regions, sorted.
        camera: (frames,) camera of each frame.
        day: (frames,) local day of its capture, days since 1970; `NO_DAY` without a time.
        issues: (frames,) its issues, as bits.
        frame: (samples,) frame of each sample, rising.
        region: (samples,) region of each.
        votes: What people say.
        read_s: How long the reading took.
        read_at: When it began, by `time.time`.
    """

    def __init__(self, workspace: Workspace, *, multi: bool) -> None:
        started, self.read_at = time.perf_counter(), time.time()
        self.cameras, self.kinds, self.classes = Codes(), Codes(), Codes()
        self._names = _scratch(workspace.temporary)
        weakref.finalize(self, self._names.close)
        self._read_frames(workspace)
        self.issues = self._read_issues(workspace.catalog)
        self._read_samples(workspace.catalog)
        self.votes = self._read_votes(workspace.catalog, multi=multi)
        self.read_s = time.perf_counter() - started

    # Reading

    def _read_frames(self, workspace: Workspace) -> None:
        f = tables.frames.c
        cameras, times = [], []
        self._names.execute("BEGIN")
        count = 0
        for page in workspace.catalog.pages(
            sa.select(f.id, f.camera, f.captured_at), [f.id], _PAGE_ROWS
        ):
            ids, names, at = zip(*page, strict=True)
            self._names.executemany("INSERT INTO frames VALUES (?, ?)", enumerate(ids, start=count))
            cameras.append(np.fromiter((self.cameras(name) for name in names), np.int16))
            times.append(np.array([t.timestamp() if t else np.nan for t in at]))
            count += len(ids)
        self._names.execute("CREATE UNIQUE INDEX by_id ON frames (id)")
        self._names.execute("COMMIT")
        self.camera = np.concatenate([*cameras, np.empty(0, np.int16)])
        self.day = self._days(workspace, np.concatenate([*times, np.empty(0)]))

    def _days(self, workspace: Workspace, captured_s: NDArray[np.float64]) -> NDArray[np.int32]:
        days = np.full(len(captured_s), NO_DAY, np.int32)
        for code, name in enumerate(self.cameras.names):
            here = (self.camera == code) & np.isfinite(captured_s)
            zone = workspace.camera(name).time_zone
            days[here] = local_days(np.floor(captured_s[here]).astype(np.int64), zone)
        return days

    def _read_issues(self, catalog: Catalog) -> NDArray[np.uint64]:
        i = tables.issues.c
        found = np.zeros(len(self.camera), np.uint64)
        select = sa.select(i.frame_id, i.kind)
        for page in catalog.pages(select, [i.frame_id, i.kind], _PAGE_ROWS):
            numbers = self.frame_numbers(row.frame_id for row in page)
            for row in page:
                number = numbers.get(row.frame_id)
                if number is not None:
                    found[number] |= np.uint64(1 << min(self.kinds(row.kind), 63))
        return found

    def _read_samples(self, catalog: Catalog) -> None:
        s, codes = tables.samples.c, Codes()
        frames, regions = [], []
        select = sa.select(s.frame_id, s.region)
        for page in catalog.pages(select, [s.frame_id, s.region], _PAGE_ROWS):
            ids, names = zip(*page, strict=True)
            # Both are in the order of the frames' ids, so one stretch of them is enough.
            numbers = dict(self._names.execute(_STRETCH, (ids[0], ids[-1])).fetchall())
            found = np.fromiter((numbers.get(frame, -1) for frame in ids), np.int32, len(ids))
            codes_here = np.fromiter((codes(name) for name in names), np.int16, len(ids))
            frames.append(found[found >= 0])
            regions.append(codes_here[found >= 0])
        self.regions = sorted(codes.names)
        places = np.array([self.regions.index(name) for name in codes.names] or [0], np.int16)
        self.frame = np.concatenate([*frames, np.empty(0, np.int32)])
        self.region = places[np.concatenate([*regions, np.empty(0, np.int16)])]
        self._key = self.frame.astype(np.int64) * max(1, len(self.regions)) + self.region

    def _read_votes(self, catalog: Catalog, *, multi: bool) -> Votes:
        samples, names = [], []
        differ = np.zeros(len(self.frame), np.bool_)
        select = current_labels_where("frame_id BETWEEN :first AND :last", multi=multi)
        for start in range(0, len(self.camera), _PAGE_ROWS):
            last = min(start + _PAGE_ROWS, len(self.camera)) - 1
            bounds = {"first": self.frame_id(start), "last": self.frame_id(last)}
            rows: list[Any] = catalog.rows(select.bindparams(**bounds))
            if not rows:
                continue
            found = self.sample_numbers([row[0] for row in rows], [row[1] for row in rows])
            said = np.array([self.classes(row[2]) for row in rows], np.int16)
            # Columns: frame, region, class[, holds], votes, voters, tied.
            votes, voters = ([row[place] for row in rows] for place in (-3, -2))
            disputed = (np.array(votes) > 0) & (np.array(votes) < np.array(voters))
            disputed |= np.array([bool(row[-1]) for row in rows])
            holds = np.array([bool(row[3]) if multi else True for row in rows])
            differ[found[disputed & (found >= 0)]] = True
            samples.append(found[holds & (found >= 0)])
            names.append(said[holds & (found >= 0)])
        sample = np.concatenate([*samples, np.empty(0, np.int64)])
        order = np.argsort(sample, kind="stable")
        return Votes(sample[order], np.concatenate([*names, np.empty(0, np.int16)])[order], differ)

    def read_predictions(self, catalog: Catalog, model: str, version: int) -> Predicted:
        """Read what one model version says about all samples."""
        p, codes = tables.predictions.c, Codes()
        name = np.full(len(self.frame), -1, np.int16)
        certainty = np.zeros(len(self.frame), np.float32)
        select = sa.select(p.frame_id, p.region, p.class_name, p.probability)
        select = select.where(p.model == model, p.version == version)
        for page in catalog.pages(select, [p.frame_id, p.region], _PAGE_ROWS):
            frames, regions, said, sure = zip(*page, strict=True)
            found = self.sample_numbers(frames, regions)
            known = found >= 0
            name[found[known]] = np.array([codes(word) for word in said], np.int16)[known]
            certainty[found[known]] = np.array(sure, np.float32)[known]
        return Predicted(name, certainty, codes.names)

    # Names

    def frame_numbers(self, ids: Iterable[str]) -> dict[str, int]:
        """Find the numbers of some frames; those that are not known are left out."""
        wanted = sorted(set(ids))
        found: dict[str, int] = {}
        for start in range(0, len(wanted), _IDS_A_QUERY):
            part = wanted[start : start + _IDS_A_QUERY]
            marks = ", ".join("?" * len(part))
            query = f"SELECT id, number FROM frames WHERE id IN ({marks})"
            found.update(self._names.execute(query, part).fetchall())
        return found

    def sample_numbers(self, frames: Sequence[str], regions: Sequence[str]) -> Numbers:
        """Find the numbers of some samples, -1 for those that are not known."""
        numbers = self.frame_numbers(frames)
        places = {name: place for place, name in enumerate(self.regions)}
        width = max(1, len(self.regions))
        keys = np.array(
            [
                numbers[frame] * width + places[region]
                if frame in numbers and region in places
                else -1
                for frame, region in zip(frames, regions, strict=True)
            ],
            np.int64,
        )
        place = np.searchsorted(self._key, keys)
        inside = place < len(self._key)
        inside[inside] = self._key[place[inside]] == keys[inside]
        return np.where(inside, place, -1)

    def frame_id(self, number: int) -> str:
        """Name the frame of a number."""
        query = "SELECT id FROM frames WHERE number = ?"
        return str(self._names.execute(query, (int(number),)).fetchone()[0])

    def sample_name(self, number: int) -> tuple[str, str]:
        """Name frame and region of a sample."""
        return self.frame_id(self.frame[number]), self.regions[self.region[number]]

    def frames_before(self, frame_id: str) -> int:
        """Count the frames whose id comes before this one, known or not."""
        query = "SELECT number FROM frames WHERE id >= ? ORDER BY id LIMIT 1"
        found = self._names.execute(query, (frame_id,)).fetchone()
        return len(self.camera) if found is None else int(found[0])

    def samples_before(self, frame_id: str, region: str) -> int:
        """Count the samples that come before this one, known or not."""
        frame = self.frames_before(frame_id)
        start = int(np.searchsorted(self.frame, frame))
        if frame == len(self.camera) or self.frame_id(frame) != frame_id:
            return start
        end = int(np.searchsorted(self.frame, frame, side="right"))
        earlier = [self.regions[place] < region for place in self.region[start:end].tolist()]
        return start + int(sum(earlier))


def _scratch(folder: Path) -> sqlite3.Connection:
    """Open a database whose file is gone with the connection."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".sqlite") as file:
        names = sqlite3.connect(file.name, check_same_thread=False, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE frames (number INTEGER PRIMARY KEY, id TEXT)",
        ):
            names.execute(statement)
    return names


def model_versions(catalog: Catalog) -> list[tuple[str, int]]:
    """List the model versions that have predictions, the newest of each model first."""
    p = tables.predictions.c
    if not catalog.counted(tables.predictions):
        return []
    rows = catalog.rows(sa.select(p.model, p.version).distinct())
    return sorted(((row.model, row.version) for row in rows), key=lambda mv: (mv[0], -mv[1]))
