"""What is said about samples, by people or by a model, read frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.errors import NotReadyError
from besana.labels.labelled import is_multi, said_between

Classes = tuple[int, ...]
"""Numbers of the classes that hold for one sample."""

FramesSaid = dict[str, dict[str, Classes]]
"""Frame id -> region -> classes. A sample that nobody can tell about is not in it."""


@dataclass(frozen=True)
class Source:
    """Somebody's word about samples.

    Attributes:
        classes: Names of the classes, by number.
        multi: Whether several classes, or none, may hold for one sample.
        read: Reads what is said about the frames from one id to another, both included.
    """

    classes: Sequence[str]
    multi: bool
    read: Callable[[str, str], FramesSaid]


def labels_source(catalog: Catalog) -> Source:
    """Open people's current labels; samples on which they are tied are left out.

    Raises:
        NotReadyError: If nothing is labelled.
    """
    classes = sorted(catalog.counted(tables.labels))
    if not classes:
        raise NotReadyError("No labels are there yet.", "Run: besana label FARM")
    numbers = {name: number for number, name in enumerate(classes)}
    multi = is_multi(catalog)

    def read(first: str, last: str) -> FramesSaid:
        frames: FramesSaid = {}
        for (frame_id, region), said in said_between(catalog, first, last, multi=multi).items():
            if not said.tied:
                numbered = tuple(numbers[name] for name in said.classes)
                frames.setdefault(frame_id, {})[region] = numbered
        return frames

    return Source(classes, multi, read)


def predictions_source(
    catalog: Catalog,
    model: str,
    version: int,
    *,
    multi: bool = False,
    thresholds: Mapping[str, float] | None = None,
) -> Source:
    """Open the predictions of one model version.

    Args:
        catalog: Where they are.
        model: Name of the model.
        version: Its version.
        multi: Whether several classes may hold for one sample.
        thresholds: Several classes: probability from which each holds; 0.5 where none is given.

    Raises:
        NotReadyError: If this version has predicted nothing.
    """
    p = tables.predictions.c
    own = (p.model == model, p.version == version)
    row = catalog.scalar(sa.select(p.probabilities).where(*own).limit(1))
    if row is None:
        raise NotReadyError(
            f"Model '{model}' version {version} has predicted nothing.", "Run: besana predict FARM"
        )
    classes = list(row)
    numbers = {name: number for number, name in enumerate(classes)}
    least = {name: (thresholds or {}).get(name, 0.5) for name in classes}
    # Only several classes need the probabilities; reading JSON would take most of the time.
    wanted = (p.probabilities if multi else p.class_name).label("word")

    def read(first: str, last: str) -> FramesSaid:
        select = sa.select(p.frame_id, p.region, wanted).where(
            *own, p.frame_id.between(first, last)
        )
        frames: FramesSaid = {}
        for row in catalog.rows(select):
            if multi:
                held = tuple(numbers[name] for name in classes if row.word[name] >= least[name])
            else:
                held = (numbers[row.word],)
            frames.setdefault(row.frame_id, {})[row.region] = held
        return frames

    return Source(classes, multi, read)
