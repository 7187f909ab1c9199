"""Which samples a retraining asks people to label: what helps the model, and what measures it."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.catalog.watch import wishes
from besana.labels.next_to_label import uncertainty
from besana.labels.tables import neutralised
from besana.storage import Storage

_MOST_LOOKED_AT = 20_000
# Neighbours in time show the same cow in the same place.
_AN_HOUR = 2


def make_wishes(
    catalog: Catalog,
    retraining: int,
    *,
    model: str,
    version: int,
    since: dt.datetime,
    count: int,
) -> int:
    """Choose unlabelled samples taken since some time and write them down as wishes, once.

    Every second one is what the model is least sure of; the others are spread evenly over time,
    so that the labels also measure how good the model is now.

    Args:
        catalog: Where samples and predictions are.
        retraining: Who asks.
        model: Whose predictions say how sure it is.
        version: Its version.
        since: Time of the first sample that may be asked for.
        count: How many to ask for.

    Returns:
        How many are asked for.
    """
    asked = catalog.count(sa.select(wishes).where(wishes.c.retraining == retraining))
    if asked:
        return asked
    candidates = _candidates(catalog, model, version, since)
    if not candidates:
        return 0
    sure = np.array([sorted(row.probabilities.values())[-2:] for row in candidates], np.float32)
    unsure = np.argsort(-uncertainty(sure), kind="stable").tolist()
    even = np.linspace(0, len(candidates) - 1, min(len(candidates), 2 * count)).astype(int).tolist()
    chosen = _interleaved(candidates, unsure, even, count)
    now = dt.datetime.now(dt.UTC)
    rows = [
        {
            "frame_id": candidates[place].frame_id,
            "region": candidates[place].region,
            "retraining": retraining,
            "rank": rank,
            "reason": reason,
            "wished_at": now,
        }
        for rank, (place, reason) in enumerate(chosen, start=1)
    ]
    return catalog.insert(wishes, rows)


def _candidates(catalog: Catalog, model: str, version: int, since: dt.datetime) -> list[Any]:
    f, p, la, i = tables.frames.c, tables.predictions.c, tables.labels.c, tables.issues.c
    labelled = sa.exists().where(la.frame_id == p.frame_id, la.region == p.region)
    blocked = sa.exists().where(i.frame_id == p.frame_id, i.blocks)
    select = (
        sa.select(p.frame_id, p.region, p.probabilities, f.captured_at)
        .select_from(tables.predictions.join(tables.frames, f.id == p.frame_id))
        .where(p.model == model, p.version == version, f.captured_at >= since, ~labelled, ~blocked)
    )
    step = max(1, -(-catalog.count(select) // _MOST_LOOKED_AT))
    found: list[Any] = []
    number = 0
    for page in catalog.pages(select, [p.frame_id, p.region]):
        found += [row for place, row in enumerate(page, start=number) if place % step == 0]
        number += len(page)
    return found


def _interleaved(
    candidates: Sequence[Any], unsure: Sequence[int], even: Sequence[int], count: int
) -> list[tuple[int, str]]:
    """Take from both orders in turn, no more than a few of one region and hour."""
    chosen: dict[int, str] = {}
    hours: Counter[tuple[str, str]] = Counter()
    queues = {"even": iter(even), "unsure": iter(unsure)}
    while queues and len(chosen) < count:
        for reason in list(queues):
            place = next(
                (n for n in queues[reason] if n not in chosen and _has_room(candidates[n], hours)),
                None,
            )
            if place is None:
                del queues[reason]
            elif len(chosen) < count:
                chosen[place] = reason
                hours[_hour(candidates[place])] += 1
    return list(chosen.items())


def _has_room(row: Any, hours: Counter[tuple[str, str]]) -> bool:
    return hours[_hour(row)] < _AN_HOUR


def _hour(row: Any) -> tuple[str, str]:
    return f"{row.captured_at:%Y%m%d%H}", f"{row.frame_id.partition('/')[0]}/{row.region}"


def write_wishes(catalog: Catalog, retraining: int, reports: Storage, key: str) -> None:
    """Write the wishes as a CSV that `besana label` takes back once its class column is filled."""
    w, f = wishes.c, tables.frames.c
    select = (
        sa.select(f.name, f.camera, w.region, w.reason)
        .select_from(wishes.join(tables.frames, f.id == w.frame_id))
        .where(w.retraining == retraining)
        .order_by(w.rank)
    )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("frame", "camera", "region", "class", "note"))
    for row in catalog.rows(select):
        cells = (row.name, row.camera, row.region, "", row.reason)
        writer.writerow(neutralised(cell) for cell in cells)
    reports.write(key, text.getvalue().encode())


def answered(catalog: Catalog, retraining: int) -> tuple[int, int]:
    """Count the wishes of a retraining, and those that have a label since."""
    w, la = wishes.c, tables.labels.c
    own = sa.select(w.frame_id, w.region).where(w.retraining == retraining)
    labelled = sa.exists().where(
        la.frame_id == w.frame_id, la.region == w.region, la.added_at >= w.wished_at
    )
    return catalog.count(own), catalog.count(own.where(labelled))
