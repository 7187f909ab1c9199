"""The way of the data as a picture: a furrow from stage to stage with what went in and out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

LAST_RUNS = 40
"""How many runs the index lists; their pages all stay on disk."""

CARD_WIDTH, CARD_HEIGHT = 228, 124
GAP_X, GAP_Y = 28, 34
REASONS_SHOWN = 2


@dataclass(frozen=True)
class Stop:
    """One stage on the way, with its latest run if it has run."""

    stage: str
    record: dict[str, Any] | None

    @property
    def counts_in(self) -> int:
        """Count what went in."""
        return int(self.record["counts"]["in"]) if self.record else 0

    @property
    def counts_out(self) -> int:
        """Count what came out."""
        return int(self.record["counts"]["out"]) if self.record else 0

    @property
    def dropped(self) -> list[tuple[str, int]]:
        """List what was dropped by reason, the most frequent first."""
        dropped = self.record["counts"]["dropped"] if self.record else {}
        return sorted(((str(k), int(v)) for k, v in dropped.items()), key=lambda item: -item[1])

    @property
    def kept_share(self) -> float:
        """Give the share that came out; 1 where nothing went in."""
        return self.counts_out / self.counts_in if self.counts_in else 1.0


@dataclass(frozen=True)
class Card:
    """One stop, placed in the picture (pixels of the picture's own grid)."""

    stop: Stop
    number: int
    x: int
    y: int


@dataclass(frozen=True)
class Drawing:
    """The picture of the way for one width of the page."""

    width: int
    height: int
    cards: list[Card]
    furrows: list[tuple[str, bool]]
    """Path from each card to the next, and whether the next one has run."""


@dataclass(frozen=True)
class Way:
    """What the index page shows."""

    stops: list[Stop]
    beside: list[Stop] = field(default_factory=list)
    """Reports of commands that are no stage."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """The last runs, newest first, each with `page`, the name of its page."""

    def drawing(self, columns: int) -> Drawing:
        """Draw the stages in rows, turning at each end as a plough does."""
        return draw_way(self.stops, columns)


def read_way(reports: Path) -> Way:
    """Read the latest report of each stage and the last runs from a folder of reports."""
    latest = {}
    stamped = []
    for path in reports.glob("*.json"):
        stage, _, stamp = path.stem.rpartition("-")
        if stage and stamp[:8].isdigit():
            stamped.append((stamp, path))
            continue
        record = _read(path)
        if record is not None:
            latest[str(record["stage"])] = record
    order: list[str] = max(
        (record.get("way", []) for record in latest.values()), key=len, default=[]
    )
    runs = []
    for _, path in sorted(stamped, reverse=True)[:LAST_RUNS]:
        record = _read(path)
        if record is not None:
            runs.append({**record, "page": f"{path.stem}.html"})
    return Way(
        stops=[Stop(stage, latest.get(stage)) for stage in order],
        beside=[Stop(stage, latest[stage]) for stage in sorted(latest) if stage not in order],
        runs=runs,
    )


def draw_way(stops: Sequence[Stop], columns: int) -> Drawing:
    """Place the stops in rows of `columns`, every second row from right to left."""
    cards = []
    for index, stop in enumerate(stops):
        row, column = divmod(index, columns)
        if row % 2:
            column = columns - 1 - column
        x, y = 2 + column * (CARD_WIDTH + GAP_X), 2 + row * (CARD_HEIGHT + GAP_Y)
        cards.append(Card(stop, index + 1, x, y))
    rows = -(-len(stops) // columns)
    return Drawing(
        width=columns * (CARD_WIDTH + GAP_X) - GAP_X + 4,
        height=max(rows * (CARD_HEIGHT + GAP_Y) - GAP_Y, 0) + 4,
        cards=cards,
        furrows=[
            (_furrow(here, there), there.stop.record is not None) for here, there in pairwise(cards)
        ],
    )


def _furrow(here: Card, there: Card) -> str:
    """Draw from the middle of one card's edge to the next one's."""
    if here.y == there.y:
        step = 1 if there.x > here.x else -1
        start = here.x + (CARD_WIDTH if step > 0 else 0)
        y = here.y + CARD_HEIGHT // 2
        return f"M{start} {y}h{step * GAP_X}"
    return f"M{here.x + CARD_WIDTH // 2} {here.y + CARD_HEIGHT}v{GAP_Y}"


def _read(path: Path) -> dict[str, Any] | None:
    """Read a report; one that another version or a person broke is not worth a failed stage."""
    try:
        record = json.loads(path.read_bytes())
        return record if isinstance(record["counts"]["dropped"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
