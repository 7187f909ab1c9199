"""What a model version was trained on, and what its cameras show since, as sums over hours."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from besana.statistics.blocks import Blocks, add_up, by_day_or_block, slot_of
from besana.statistics.local_time import local_seconds
from besana.watching.learnt import Learnt, is_of
from besana.watching.look import CAMERA, Seen, Stream
from besana.watching.rows import (
    FRAME_COLUMNS,
    Asked,
    Judged,
    frame_size_px,
    judged_pages,
    read_frames,
)
from besana.watching.served import served_frames, served_pages
from besana.watching.vectors import placed
from besana.watching.words import expected_of_labels

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions
    from besana.workspace import Workspace

Floats = NDArray[np.float64]

BLOCK_HOURS, SLOTS = 1, 24
FEWEST_DAYS = 5
"""Days of reference from which on days are compared with days."""

_MOST_EMBEDDED = 12_000
# Samples of one region and hour whose looks are taken; neighbours in time show the same.
_AN_HOUR = 4


@dataclass(frozen=True)
class Reference:
    """One camera during the days of a dataset.

    Attributes:
        seen: What it showed.
        days: Whether its units are days; else hours, because there are too few days.
        until: UTC time of its last sample.
    """

    seen: Seen
    days: bool
    until: dt.datetime


class Read(NamedTuple):
    """How many samples were read, of collected frames and of served ones."""

    collected: int
    served: int


def reference_of(workspace: Workspace, learnt: Learnt, camera: str) -> Reference | None:
    """Add up what a camera showed on the days of a dataset; None when the dataset has none.

    Args:
        workspace: Where everything lies.
        learnt: The model version.
        camera: Whose days.
    """
    manifest = learnt.manifest
    at = np.asarray(manifest.column("captured_at"))
    mine = np.flatnonzero(is_of(manifest, "camera", camera) & ~np.isnat(at))
    if not len(mine):
        return None
    zone = workspace.camera(camera).time_zone
    at_s = at[mine].astype("datetime64[s]").astype(np.int64)
    local = local_seconds(at_s, zone)
    unit = by_day_or_block(local, BLOCK_HOURS, fewest=FEWEST_DAYS)
    days = len(np.unique(local // 86_400)) >= FEWEST_DAYS
    regions = _names(manifest, "region", mine)
    said = _said_of(learnt, mine)
    looks = _looks_of(learnt, mine, local, regions)
    streams = streams_of(unit, slot_of(local, BLOCK_HOURS), regions, said, looks)
    frames = _frames_of(workspace, camera, zone, at_s, local, days=days)
    until = dt.datetime.fromtimestamp(int(at_s.max()), dt.UTC)
    nothing = add_up(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 1)), slots=SLOTS)
    return Reference(Seen(frames, streams, nothing), days, until)


def region_share(workspace: Workspace, camera: str) -> float:
    """Tell how wide a camera's regions are, as a share of the frame's width."""
    size = frame_size_px(workspace.catalog, camera)
    if size is None:
        return 1.0
    known = workspace.camera(camera)
    widths = [region.box.width for region in known.region_list(size)]
    return min(1.0, float(np.mean(widths)) / known.lens.undistorted_size_px(size)[0])


def _said_of(learnt: Learnt, mine: Positions) -> Floats:
    """Give the words about a camera's samples: own ones when held out, else what to expect."""
    held_truth = learnt.truth[learnt.held]
    said = expected_of_labels(learnt.said, held_truth, learnt.truth[mine], kind=learnt.words.kind)
    place = np.searchsorted(learnt.held, mine).clip(max=len(learnt.held) - 1)
    is_held = learnt.held[place] == mine
    said[is_held] = learnt.said[place[is_held]]
    return said


def _looks_of(
    learnt: Learnt, mine: Positions, local: NDArray[np.int64], regions: NDArray[np.str_]
) -> Floats | None:
    if learnt.looks is None or learnt.projection is None:
        return None
    chosen = np.flatnonzero(_thin(local, regions))
    chosen = chosen[:: max(1, -(-len(chosen) // _MOST_EMBEDDED))]
    looks = np.full((len(mine), learnt.projection.components), np.nan)
    vectors = learnt.looks.of_manifest(learnt.manifest, mine[chosen])
    looks[chosen] = placed(learnt.projection, vectors)
    return looks


def _frames_of(
    workspace: Workspace,
    camera: str,
    zone: str,
    at_s: NDArray[np.int64],
    local: NDArray[np.int64],
    *,
    days: bool,
) -> Blocks:
    """Add up all frames of the days that the dataset has samples of.

    What came after its last sample will be judged, so it only counts as frames of that day.
    """
    first, last = (
        dt.datetime.fromtimestamp(int(value), dt.UTC) for value in (at_s.min(), at_s.max())
    )
    day = dt.timedelta(days=1)
    frames = read_frames(workspace.catalog, camera, first - day, last + day)
    frames.figures[frames.at_s > at_s.max(), :-1] = np.nan
    own = local_seconds(frames.at_s, zone)
    chosen = np.isin(own // 86_400, local // 86_400)
    own = own[chosen]
    unit = own // 86_400 if days else own // (3600 * BLOCK_HOURS)
    return add_up(unit, slot_of(own, BLOCK_HOURS), frames.figures[chosen], slots=SLOTS)


def streams_of(
    unit: NDArray[np.int64],
    slot: NDArray[np.int64],
    regions: NDArray[np.str_],
    said: Floats,
    looks: Floats | None,
) -> dict[str, Stream]:
    """Add up samples by stream, unit and slot.

    Args:
        unit: (n,) unit of each sample: its day, or its hour.
        slot: (n,) hour of the day.
        regions: (n,) names.
        said: (n, classes + 2) `Words.said`.
        looks: (n, components) places along principal directions; None without.
    """
    names = sorted(set(regions.tolist()))
    chosen = {CAMERA: np.ones(len(regions), np.bool_)}
    if len(names) > 1:
        chosen |= {name: regions == name for name in names}
    return {
        name: Stream(
            add_up(unit[rows], slot[rows], said[rows], slots=SLOTS),
            None if looks is None else add_up(unit[rows], slot[rows], looks[rows], slots=SLOTS),
        )
        for name, rows in chosen.items()
    }


def _thin(local: NDArray[np.int64], regions: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Choose a few samples of each region and hour, the first ones."""
    counted: Counter[tuple[int, str]] = Counter()
    chosen = np.zeros(len(local), np.bool_)
    for place, key in enumerate(zip((local // 3600).tolist(), regions.tolist(), strict=True)):
        counted[key] += 1
        chosen[place] = counted[key] <= _AN_HOUR
    return chosen


def seen_since(
    workspace: Workspace,
    learnt: Learnt,
    camera: str,
    start: dt.datetime,
    end: dt.datetime,
    *,
    advance: Callable[[int], None] = lambda _count: None,
) -> tuple[Seen, Read]:
    """Add up by the hour what a camera showed between two times, collected or served.

    Memory: one page of samples, and the sums of the hours.

    Returns:
        What it showed, units being hours of the local clock; and how many samples were read.
    """
    zone = workspace.camera(camera).time_zone
    parts: list[dict[str, Stream]] = []
    right: list[Blocks] = []
    collected = served = 0
    words = learnt.words
    asked = Asked(
        *(camera, start, end, learnt.model, learnt.version),
        classes=tuple(words.classes),
        multi=words.kind == "multi",
    )
    pages = chain(judged_pages(workspace.catalog, asked), served_pages(workspace.catalog, asked))
    for page in pages:
        local = local_seconds(page.at_s, zone)
        hour, slot = local // 3600, slot_of(local, BLOCK_HOURS)
        said, looks = words.said(page.probability), _page_looks(learnt, page, local)
        parts.append(streams_of(hour, slot, page.region, said, looks))
        right.append(add_up(hour, slot, _rightness(learnt, page)[:, None], slots=SLOTS))
        collected, served = collected + len(page.places), served + len(page) - len(page.places)
        advance(len(page))
    frames = []
    for read in (read_frames, served_frames):
        found = read(workspace.catalog, camera, start, end)
        own = local_seconds(found.at_s, zone)
        hour, slot = own // 3600, slot_of(own, BLOCK_HOURS)
        frames.append(add_up(hour, slot, found.figures, slots=SLOTS))
    seen = Seen(_joined(frames, len(FRAME_COLUMNS)), _joined_streams(parts), _joined(right, 1))
    return seen, Read(collected, served)


def _page_looks(learnt: Learnt, page: Judged, local: NDArray[np.int64]) -> Floats | None:
    if learnt.looks is None or learnt.projection is None:
        return None
    if page.vectors is not None:
        return placed(learnt.projection, page.vectors)
    chosen = np.flatnonzero(_thin(local, page.region))
    looks = np.full((len(page), learnt.projection.components), np.nan)
    vectors = learnt.looks.of_places([page.places[place] for place in chosen.tolist()])
    looks[chosen] = placed(learnt.projection, vectors)
    return looks


def _rightness(learnt: Learnt, page: Judged) -> Floats:
    truth = learnt.words.truth_of(page.classes_said)
    right = learnt.words.right(page.probability, truth)
    right[[said is None for said in page.classes_said]] = np.nan
    return right


def _joined_streams(parts: Iterable[dict[str, Stream]]) -> dict[str, Stream]:
    """Put pages together; an hour that two pages share has two rows, which add up as one."""
    parts = list(parts)
    joined: dict[str, Stream] = {}
    for name in sorted({name for part in parts for name in part}):
        streams = [part[name] for part in parts if name in part]
        looks = [one.looks for one in streams if one.looks is not None]
        said = _joined([one.said for one in streams], streams[0].said.sums.shape[-1])
        joined[name] = Stream(said, _joined(looks, looks[0].sums.shape[-1]) if looks else None)
    return joined


def _joined(blocks: Sequence[Blocks], signals: int) -> Blocks:
    if not blocks:
        empty = np.empty((0, SLOTS, signals))
        return Blocks(np.empty(0, np.int64), empty, empty)
    return Blocks(
        np.concatenate([one.units for one in blocks]),
        np.concatenate([one.sums for one in blocks]),
        np.concatenate([one.counts for one in blocks]),
    )


def _names(manifest: Manifest, column: str, positions: Positions) -> NDArray[np.str_]:
    coded: Any = manifest.column(column)
    return np.asarray(np.array(coded.names)[coded.codes[positions]])
