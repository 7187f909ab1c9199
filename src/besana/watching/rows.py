"""What the catalog holds of one camera between two times: frames with quality, judged samples."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog
from besana.images.files import id_part
from besana.labels.labelled import said_between
from besana.learning.sample_pages import PLACE

Floats = NDArray[np.float64]

#: Signals of a frame: unit, distance below which a change does not matter, direction.
FRAME_SIGNALS: Mapping[str, tuple[float, str]] = {
    "brightness": (12.0, "both"),
    "log_contrast": (0.15, "both"),
    "log_sharpness": (0.25, "both"),
    "ir_share": (0.15, "both"),
    "shift_share": (0.012, "above"),
    "change_bits": (2.0, "below"),
    "unusable_share": (0.1, "above"),
}
FRAME_COLUMNS = (*FRAME_SIGNALS, "frames")
"""Behind the signals: how many frames a row stands for, where not all were kept."""
_PAGE_ROWS = 2000


@dataclass(frozen=True)
class Frames:
    """Frames of one camera in the order of time.

    Attributes:
        at_s: (n,) UTC seconds since 1970.
        figures: (n, signals + 1) as `FRAME_COLUMNS`; NaN where it was not measured.
    """

    at_s: NDArray[np.int64]
    figures: Floats


def read_frames(catalog: Catalog, camera: str, start: dt.datetime, end: dt.datetime) -> Frames:
    """Read what was measured on a camera's frames, the start included, the end not.

    Memory: 60 bytes a frame.
    """
    f, q, i = tables.frames.c, tables.quality.c, tables.issues.c
    blocked = sa.exists().where(i.frame_id == f.id, i.blocks)
    columns = [q[name] for name in _MEASURED]
    select = (
        sa.select(f.id, f.captured_at, *columns, blocked.label("blocked"))
        .select_from(tables.frames.outerjoin(tables.quality, q.frame_id == f.id))
        .where(*between(camera, start, end))
    )
    at_s, rows, hashes = [], [], []
    for page in catalog.pages(select, [f.id], _PAGE_ROWS):
        for row in page:
            at_s.append(int(row.captured_at.timestamp()))
            rows.append(figures_of(dict(row._mapping), bool(row.blocked)))
            hashes.append(row.perceptual_hash)
    return frames_of(at_s, rows, hashes)


def frames_of(at_s: list[int], rows: list[tuple[float, ...]], hashes: list[int | None]) -> Frames:
    """Put frames together, from their times, `figures_of` each and hashes."""
    figures = np.array(rows, np.float64).reshape(len(rows), len(FRAME_COLUMNS))
    figures[:, FRAME_COLUMNS.index("change_bits")] = _changes(hashes)
    return Frames(np.array(at_s, np.int64), figures)


_MEASURED = (
    *("brightness", "contrast", "sharpness", "shift_x_px", "shift_y_px", "width_px"),
    *("light", "perceptual_hash"),
)


def figures_of(
    measured: Mapping[str, Any], blocked: bool | None, *, stands_for: float = 1.0
) -> tuple[float, ...]:
    """Give the figures of one frame as `FRAME_COLUMNS`.

    Args:
        measured: Columns of `quality`; `brightness` is None for a frame that nobody could read.
        blocked: Whether an issue keeps it out; None when nobody knows.
        stands_for: How many frames it stands for.
    """
    nan = float("nan")
    unusable = nan if blocked is None else float(blocked)
    if measured["brightness"] is None:
        return *[nan] * 6, unusable, stands_for
    shift, x, y = nan, measured.get("shift_x_px"), measured.get("shift_y_px")
    if x is not None and y is not None:
        shift = float(np.hypot(x, y)) / max(measured["width_px"], 1)
    return (
        measured["brightness"],
        float(np.log1p(measured["contrast"])),
        float(np.log1p(measured["sharpness"])),
        float(measured["light"] == "ir"),
        shift,
        nan,
        unusable,
        stands_for,
    )


def _changes(hashes: list[int | None]) -> Floats:
    """Give the bits by which each frame differs from the one before: 0 for a frozen camera."""
    found = np.full(len(hashes), np.nan)
    known = [place for place, value in enumerate(hashes) if value is not None]
    values = np.array([hashes[place] for place in known], np.int64).view(np.uint64)
    if len(values) > 1:
        found[known[1:]] = np.bitwise_count(values[1:] ^ values[:-1])
    return found


def between(camera: str, start: dt.datetime, end: dt.datetime) -> list[Any]:
    """Narrow to a camera and a time by the frame's id, which begins with both and has an index."""
    f, part = tables.frames.c, id_part(camera)
    first, last = (f"{part}/{at.astimezone(dt.UTC):%Y%m%dT%H%M%S}" for at in (start, end))
    return [
        f.id >= first,
        f.id < f"{last}~",
        f.camera == camera,
        f.captured_at >= start,
        f.captured_at < end,
    ]


@dataclass(frozen=True)
class Judged:
    """Samples of one camera with what a model says of them.

    Attributes:
        places: Where each lies, with the keys of `PLACE`; empty for served ones.
        at_s: (n,) UTC seconds since 1970.
        region: (n,) names.
        probability: (n, classes).
        classes_said: What people say of each: classes that hold, or None.
        vectors: (n, features) embeddings that were kept, NaN where none was; None where they are
            to be computed.
    """

    places: list[dict[str, Any]]
    at_s: NDArray[np.int64]
    region: NDArray[np.str_]
    probability: Floats
    classes_said: list[tuple[str, ...] | None]
    vectors: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.at_s)


@dataclass(frozen=True)
class Asked:
    """Which samples are read, and whose words about them.

    Attributes:
        camera: Whose samples.
        start: First time, included.
        end: Last time, not included.
        model: Name of the model.
        version: Its version.
        classes: The model's classes, in order.
        multi: Whether several classes may hold.
    """

    camera: str
    start: dt.datetime
    end: dt.datetime
    model: str
    version: int
    classes: tuple[str, ...]
    multi: bool

    def probability(self, rows: Iterable[Any]) -> Floats:
        """Read the probabilities of rows, (rows, classes)."""
        said = [[row.probabilities.get(name, 0.0) for name in self.classes] for row in rows]
        return np.array(said, np.float64).reshape(-1, len(self.classes))


def judged_pages(catalog: Catalog, asked: Asked) -> Iterator[Judged]:
    """Read the usable samples that a model version has classified, page by page."""
    f, s, p, i = tables.frames.c, tables.samples.c, tables.predictions.c, tables.issues.c
    blocked = sa.exists().where(i.frame_id == f.id, i.blocks)
    joined = tables.frames.join(tables.samples, s.frame_id == f.id).join(
        tables.predictions,
        sa.and_(
            p.frame_id == s.frame_id,
            p.region == s.region,
            p.model == asked.model,
            p.version == asked.version,
        ),
    )
    select = (
        sa.select(f.captured_at, *(s[name] for name in PLACE), p.probabilities)
        .select_from(joined)
        .where(*between(asked.camera, asked.start, asked.end), ~blocked)
    )
    for page in catalog.pages(select, [s.frame_id, s.region], _PAGE_ROWS):
        said = said_between(catalog, page[0].frame_id, page[-1].frame_id, multi=asked.multi)
        rows = [row._mapping for row in page]
        yield Judged(
            places=[{name: row[name] for name in PLACE} for row in rows],
            at_s=np.array([int(row["captured_at"].timestamp()) for row in rows], np.int64),
            region=np.array([row["region"] for row in rows]),
            probability=asked.probability(page),
            classes_said=[_settled(said.get((row["frame_id"], row["region"]))) for row in rows],
        )


def _settled(said: Any) -> tuple[str, ...] | None:
    return None if said is None or said.tied else tuple(said.classes)


def count_samples(catalog: Catalog, camera: str, start: dt.datetime, end: dt.datetime) -> int:
    """Count the usable samples of a camera between two times, classified or not."""
    f, s, i = tables.frames.c, tables.samples.c, tables.issues.c
    blocked = sa.exists().where(i.frame_id == f.id, i.blocks)
    select = (
        sa.select(s.frame_id, s.region)
        .select_from(tables.frames.join(tables.samples, s.frame_id == f.id))
        .where(*between(camera, start, end), ~blocked)
    )
    return catalog.count(select)


def frame_size_px(catalog: Catalog, camera: str) -> tuple[int, int] | None:
    """Tell width and height of a camera's frames; None when none was measured."""
    q, part = tables.quality.c, id_part(camera)
    mine = (q.frame_id >= f"{part}/", q.frame_id < f"{part}/~", q.width_px.is_not(None))
    rows = catalog.rows(sa.select(q.width_px, q.height_px).where(*mine).limit(1))
    return (rows[0].width_px, rows[0].height_px) if rows else None


def last_frame_at(catalog: Catalog, camera: str) -> dt.datetime | None:
    """Tell when a camera took its last frame; None when its frames have no times."""
    f, part = tables.frames.c, id_part(camera)
    mine = (f.camera == camera, f.id >= f"{part}/", f.id < f"{part}/~", f.captured_at.is_not(None))
    found = catalog.scalar(sa.select(f.captured_at).where(*mine).order_by(f.id.desc()).limit(1))
    return found if isinstance(found, dt.datetime) else None
