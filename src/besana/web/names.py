"""The names of a deck's samples and what a page shows beside them, in a scratch file."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog

Sample = tuple[str, str]
"""Frame id and region."""

_PAGE_ROWS = 5000
_SHOWN = "frame_id, region, camera, at, crc32c"


def labelable_samples(*more: sa.ColumnElement[Any]) -> tuple[sa.Select[Any], list[Any]]:
    """Select the samples whose frame is not kept out by an issue, and the key they go by.

    Args:
        more: Further columns, of the sample or of its frame.
    """
    s, issues = tables.samples.c, tables.issues.c
    blocked = sa.exists().where(issues.frame_id == s.frame_id, issues.blocks)
    select = sa.select(s.frame_id, s.region, *more).select_from(tables.samples)
    if any(column.table is tables.frames for column in more if isinstance(column, sa.Column)):
        joined = tables.samples.outerjoin(tables.frames, s.frame_id == tables.frames.c.id)
        select = select.select_from(joined)
    return select.where(~blocked), [s.frame_id, s.region]


class Names:
    """Finds a sample by its number and a number by its sample; safe to ask from any thread.

    So what comes next is told without the catalog, which may be busy making labels durable. What
    a page shows stands here as it was when the deck was read.

    Args:
        temporary: Folder for the file, which is gone with the process.
    """

    def __init__(self, temporary: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=temporary, suffix=".sqlite") as file:
            self._rows = sqlite3.connect(file.name, check_same_thread=False, isolation_level=None)
            for statement in (
                "PRAGMA journal_mode=OFF",
                "PRAGMA synchronous=OFF",
                f"CREATE TABLE samples (number INTEGER PRIMARY KEY, {_SHOWN})",
            ):
                self._rows.execute(statement)

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def read(self, catalog: Catalog) -> int:
        """Read all samples that may be labelled, in short reads; returns how many there are."""
        f, count = tables.frames.c, 0
        select = labelable_samples(tables.samples.c.crc32c, f.camera, f.captured_at)
        self._rows.execute("BEGIN")
        for page in catalog.pages(*select, _PAGE_ROWS):
            rows = (
                (
                    count + place,
                    row.frame_id,
                    row.region,
                    row.camera or row.frame_id.rpartition("/")[0],
                    row.captured_at.isoformat() if row.captured_at is not None else "",
                    row.crc32c,
                )
                for place, row in enumerate(page)
            )
            self._rows.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?)", rows)
            count += len(page)
        self._rows.execute("CREATE UNIQUE INDEX by_name ON samples (frame_id, region)")
        self._rows.execute("COMMIT")
        return count

    def number(self, sample: Sample) -> int | None:
        """Find a sample's number; None when it is not among those to label."""
        query = "SELECT number FROM samples WHERE frame_id = ? AND region = ?"
        found = self._rows.execute(query, sample).fetchone()
        return None if found is None else int(found[0])

    def sample(self, number: int) -> Sample:
        """Name the sample of a number."""
        query = "SELECT frame_id, region FROM samples WHERE number = ?"
        frame_id, region = self._rows.execute(query, (int(number),)).fetchone()
        return frame_id, region

    def records(self, numbers: Sequence[int] | NDArray[np.int32]) -> list[tuple[str, str, int]]:
        """Give frame, region and CRC32C of the records of some numbers, in their rising order."""
        query = (
            "SELECT number, frame_id, region, crc32c FROM samples"
            " WHERE number BETWEEN ? AND ? ORDER BY number"
        )
        wanted = {int(number) for number in numbers}
        rows = self._rows.execute(query, (min(wanted), max(wanted))) if wanted else []
        return [(frame, region, crc) for number, frame, region, crc in rows if number in wanted]

    def described(self, sample: Sample) -> dict[str, Any] | None:
        """Tell what a page shows of a sample: camera, time, where its picture is.

        Returns:
            None when it is not among those to label.
        """
        query = f"SELECT {_SHOWN} FROM samples WHERE frame_id = ? AND region = ?"
        found = self._rows.execute(query, sample).fetchone()
        return None if found is None else shown(*found)

    def strip(
        self, camera: str, region: str, after: str, count: int, wanted: Callable[[int], bool]
    ) -> list[tuple[int, str]]:
        """List number and frame of wanted samples of one region, in the order of time.

        Args:
            camera: The camera.
            region: The region.
            after: Frame to go on behind; empty: from the first.
            count: How many at most.
            wanted: Tells by its number whether a sample is wanted.
        """
        query = (
            "SELECT number, frame_id FROM samples WHERE frame_id > ? AND frame_id < ?"
            " AND region = ? ORDER BY frame_id"
        )
        # "0" is the character behind "/", so this is where the camera's frames end.
        bounds = (after or f"{camera}/", f"{camera}0", region)
        found = []
        for number, frame in self._rows.execute(query, bounds):
            if wanted(number):
                found.append((number, frame))
                if len(found) == count:
                    break
        return found

    def places(self, camera: str) -> list[dict[str, str]]:
        """List the regions of a camera's first frames."""
        query = "SELECT region FROM samples WHERE frame_id > ? AND frame_id < ? LIMIT 1000"
        rows = self._rows.execute(query, (f"{camera}/", f"{camera}0")).fetchall()
        return [{"camera": camera, "region": region} for region in sorted({row[0] for row in rows})]

    def beside(self, sample: Sample, count: int) -> tuple[list[str], list[str]]:
        """List the frames just before and just after a sample that have the same region."""
        camera = sample[0].rpartition("/")[0] + "/"
        return self._beside(sample, camera, count, "<", "DESC"), self._beside(
            sample, camera, count, ">", "ASC"
        )

    def _beside(self, sample: Sample, camera: str, count: int, sign: str, way: str) -> list[str]:
        query = (
            f"SELECT frame_id FROM samples WHERE frame_id {sign} ? AND region = ?"
            f" ORDER BY frame_id {way} LIMIT ?"
        )
        rows: Iterator[tuple[str]] = self._rows.execute(query, (*sample, 20 * count))
        return [frame for (frame,) in rows if frame.startswith(camera)][:count]


def shown(frame: str, region: str, camera: str, at: str, crc32c: int | None) -> dict[str, Any]:
    """Write what a page shows of a sample; its mark changes when its picture does."""
    mark = "" if crc32c is None else f"{crc32c:08x}"
    return {"frame": frame, "region": region, "camera": camera, "at": at, "mark": mark}
