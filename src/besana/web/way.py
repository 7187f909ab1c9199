"""The way of the data as a picture: a furrow from stage to stage with what went in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

LAST_RUNS = 40
"""How many runs the index lists; their pages all stay on disk."""

CARD_WIDTH, CARD_HEIGHT, CARD_AHEAD_HEIGHT = 228, 124, 64
GAP_X, GAP_Y = 28, 30


@dataclass(frozen=True)
class Stop:
    """One stage on the way, with its last run that had work, if there was one."""

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
    def page(self) -> str:
        """Name of the page of the run that is shown."""
        return str((self.record or {}).get("page", f"{self.stage}.html"))

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
    height: int


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

    @property
    def next_stage(self) -> str:
        """Name the first stage that has never run; empty when all have."""
        return next((stop.stage for stop in self.stops if stop.record is None), "")

    def drawing(self, columns: int) -> Drawing:
        """Draw the stages in rows, turning at each end as a plough does."""
        return draw_way(self.stops, columns)


def read_way(reports: Path) -> Way:
    """Read the last run of each stage and the last runs of all from a folder of reports."""
    latest = {}
    stamped: list[tuple[str, str, Path]] = []
    for path in reports.glob("*.json"):
        stage, _, stamp = path.stem.rpartition("-")
        if stage and stamp[:8].isdigit():
            stamped.append((stamp, stage, path))
            continue
        record = _read(path)
        if record is not None:
            latest[str(record["stage"])] = record
    stamped.sort(reverse=True)
    order: list[str] = max((r.get("way", []) for r in latest.values()), key=len, default=[])
    return Way(
        stops=[Stop(stage, _with_work(latest.get(stage), stage, stamped)) for stage in order],
        beside=[Stop(stage, latest[stage]) for stage in sorted(latest) if stage not in order],
        runs=list(_last_runs(stamped)),
    )


def draw_way(stops: Sequence[Stop], columns: int) -> Drawing:
    """Place the stops in rows of `columns`, every second row from right to left."""
    cards: list[Card] = []
    y = 2
    for start in range(0, len(stops), columns):
        row = stops[start : start + columns]
        height = max(CARD_HEIGHT if stop.record else CARD_AHEAD_HEIGHT for stop in row)
        for place, stop in enumerate(row):
            column = columns - 1 - place if (start // columns) % 2 else place
            x = 2 + column * (CARD_WIDTH + GAP_X)
            cards.append(Card(stop, start + place + 1, x, y, height))
        y += height + GAP_Y
    return Drawing(
        width=columns * (CARD_WIDTH + GAP_X) - GAP_X + 4,
        height=y - GAP_Y + 2 if cards else 4,
        cards=cards,
        furrows=[
            (_furrow(here, there), there.stop.record is not None) for here, there in pairwise(cards)
        ],
    )


def _with_work(
    record: dict[str, Any] | None, stage: str, stamped: Sequence[tuple[str, str, Path]]
) -> dict[str, Any] | None:
    """Look back for a run that found work: doing nothing twice must not empty the picture."""
    if record is None or record["counts"]["in"]:
        return record
    own = [run for run in stamped if run[1] == stage]
    return next((run for run in _last_runs(own) if run["counts"]["in"]), record)


def _last_runs(stamped: Sequence[tuple[str, str, Path]]) -> Iterator[dict[str, Any]]:
    for _, _, path in stamped[:LAST_RUNS]:
        record = _read(path)
        if record is not None:
            yield {**record, "page": f"{path.stem}.html"}


def _furrow(here: Card, there: Card) -> str:
    """Draw from the middle of one card's edge to the next one's."""
    if here.y == there.y:
        step = 1 if there.x > here.x else -1
        start = here.x + (CARD_WIDTH if step > 0 else 0)
        return f"M{start} {here.y + here.height // 2}h{step * GAP_X}"
    return f"M{here.x + CARD_WIDTH // 2} {here.y + here.height}v{GAP_Y}"


def _read(path: Path) -> dict[str, Any] | None:
    """Read a report; one that another version or a person broke is not worth a failed stage."""
    try:
        record = json.loads(path.read_bytes())
        return record if isinstance(record["counts"]["dropped"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
