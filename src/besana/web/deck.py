"""Whose turn is which picture: every sample once, dealt in equal parts, some of them twice.

A few bytes a sample lie in memory and its names in a scratch file, so the next picture is found
in the same time among a thousand samples and among a million. All of it is made anew from the
catalog; nothing of it is worth a backup.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog
from besana.catalog.web import skips
from besana.labels.next_to_label import deal, draw, second_of
from besana.web.names import Names, Sample

_PAGE_ROWS = 5000
_BLOCK = 4096
_LOOKED_THROUGH = 50_000
_FEWEST_TOGETHER = 20
_HELD_S = 120.0
_COUNTED_S = 2.0
FRESH, SKIPPED, LABELLED = range(3)
ORDERS = ("random", "time", "uncertainty", "diversity", "mix")


@dataclass
class _Part:
    """What one person has to do: numbers in the order of their turn, and how far it went."""

    numbers: NDArray[np.int32]
    at: int = 0
    returned: list[int] = field(default_factory=list)
    done: int = 0
    counted_until: float = 0.0

    def give_back(self, number: int) -> None:
        """Let a picture come up again, once however often it came back."""
        if number not in self.returned:
            self.returned.append(number)


class Deck:
    """All samples of a workspace, and who has said something about them.

    Args:
        temporary: Folder for the scratch file.
        share: Share of the samples that two people see, without knowing of each other.
        seed: Another seed, another random order.
    """

    def __init__(self, temporary: Path, *, share: float = 0.1, seed: int = 0) -> None:
        self._share, self._seed = share, seed
        self.names = Names(temporary)
        self.count = 0
        self._resize()
        self._people: list[str] = []
        self._parts: dict[str, _Part] = {}
        self._done: dict[str, NDArray[np.uint8]] = {}
        self._held: dict[str, dict[int, tuple[str, float]]] = {}
        self.proposed: NDArray[np.int16] | None = None
        self.certainty: NDArray[np.float32] | None = None
        self.cluster: NDArray[np.int16] | None = None
        self.proposed_classes: list[str] = []

    def _resize(self) -> None:
        self.voters = np.zeros(self.count, np.uint8)
        self.needed = np.ones(self.count, np.uint8)
        self.out = np.zeros(self.count, np.bool_)
        self.rank, second = draw(self.count, self._share, self._seed)
        self.needed[second] = 2
        self.order = np.argsort(self.rank, kind="stable").astype(np.int32)

    def close(self) -> None:
        """Close the scratch file, which then is gone."""
        self.names.close()

    # Reading the catalog

    def read(self, catalog: Catalog) -> None:
        """Read all samples that may be labelled, and what was said about them, in short reads."""
        self.count = self.names.read(catalog)
        self._resize()
        self._read_labels(catalog)
        self._read_skips(catalog)

    def _read_labels(self, catalog: Catalog) -> None:
        labels = tables.labels.c
        select = sa.select(labels.frame_id, labels.region, labels.annotator, labels.id)
        for page in catalog.pages(select, [labels.frame_id, labels.region, labels.id], _PAGE_ROWS):
            for row in page:
                self.note((row.frame_id, row.region), row.annotator, LABELLED)

    def _read_skips(self, catalog: Catalog) -> None:
        select = sa.select(skips).where(skips.c.undone_at.is_(None))
        for page in catalog.pages(select, [skips.c.id], _PAGE_ROWS):
            for row in page:
                unusable = row.reason == "unusable"
                if unusable or not self._is_labelled(row):
                    self.note((row.frame_id, row.region), row.annotator, SKIPPED, unusable=unusable)

    def _is_labelled(self, row: sa.Row[Any]) -> bool:
        number = self.number((row.frame_id, row.region))
        return number is not None and self._by(row.annotator)[number] == LABELLED

    # Names

    def number(self, sample: Sample) -> int | None:
        """Find a sample's number; None when it is not among those to label."""
        return self.names.number(sample)

    def sample(self, number: int) -> Sample:
        """Name the sample of a number."""
        return self.names.sample(number)

    def strip(self, camera: str, region: str, after: str, count: int) -> list[tuple[int, str]]:
        """List number and frame of one region that nobody has labelled, in the order of time."""

        def is_fresh(number: int) -> bool:
            return not self.voters[number] and not self.out[number]

        return self.names.strip(camera, region, after, count, is_fresh)

    # What was said

    def note(self, sample: Sample, annotator: str, state: int, *, unusable: bool = False) -> None:
        """Note what somebody has done about a sample.

        Args:
            sample: Which; one that nobody may label is ignored.
            annotator: Who.
            state: `FRESH` (took everything back: it is theirs again), `SKIPPED` or `LABELLED`.
            unusable: Nobody else needs to see it.
        """
        number = self.number(sample)
        if number is None:
            return
        done = self._by(annotator)
        change = int(state == LABELLED) - int(done[number] == LABELLED)
        self.voters[number] = min(max(int(self.voters[number]) + change, 0), 255)
        self.out[number] = unusable
        if state == FRESH and done[number] != FRESH and annotator in self._parts:
            self._parts[annotator].give_back(number)
        done[number] = state
        if annotator in self._parts:
            self._parts[annotator].counted_until = 0.0

    def ask_again(self, samples: Iterable[Sample]) -> None:
        """Ask for one more vote, where somebody was unsure or disagreement is likely."""
        for sample in samples:
            number = self.number(sample)
            if number is None or self.needed[number] > 1:
                continue
            self.needed[number] = 2
            # Only one person's part grows; dealing everything anew would hold everybody up.
            if len(self._people) > 1:
                second = self._people[second_of(int(self.rank[number]), len(self._people))]
                if second in self._parts:
                    self._parts[second].give_back(number)

    def _by(self, annotator: str) -> NDArray[np.uint8]:
        if annotator not in self._done:
            self._done[annotator] = np.zeros(self.count, np.uint8)
        return self._done[annotator]

    # Whose turn

    def set_people(self, people: Sequence[str]) -> None:
        """Deal the samples to these people, in equal parts; what was said stays said."""
        if sorted(people) != self._people:
            self._people = sorted(people)
            self._parts.clear()

    def dealt(self, people: Sequence[str], order: NDArray[np.int32]) -> dict[str, _Part]:
        """Deal the samples in some order; takes a moment a person, and may run in a thread."""
        return {name: self._dealt_to(sorted(people), name, order) for name in people}

    def set_order(self, order: NDArray[np.int32], parts: dict[str, _Part]) -> None:
        """Choose in which order all samples come up.

        Args:
            order: All numbers.
            parts: What `dealt` made of it; of somebody else it is made when needed.
        """
        for name, part in parts.items():
            if name in self._parts:
                part.returned = self._parts[name].returned
        self.order, self._parts = order, parts

    def next(self, annotator: str, count: int, tab: str, known: Iterable[Sample] = ()) -> list[int]:
        """List the numbers of the pictures that come next for somebody.

        What another tab of the same person holds is left out for two minutes.

        Args:
            annotator: Who asks.
            count: How many at most.
            tab: Name of the browser's tab.
            known: Samples that the tab has already.
        """
        now = time.monotonic()
        held = {n: by for n, by in self._held.get(annotator, {}).items() if by[1] > now}
        self._held[annotator] = held
        not_these = {self.number(sample) for sample in known}
        not_these |= {number for number, (holder, _) in held.items() if holder != tab}
        found = self._own(annotator, count, not_these)
        if len(found) < count:
            found += self._others(annotator, count - len(found), not_these | set(found))
        for number in found:
            held[number] = (tab, now + _HELD_S)
        return found

    def look_alikes(
        self, annotator: str, count: int, tab: str, known: Iterable[Sample] = ()
    ) -> list[int]:
        """List pictures of one person that look alike and get one proposal, surest first."""
        taken = {self.number(sample) for sample in known}
        done, numbers = self._by(annotator), self._part(annotator).numbers
        free = numbers[self._free(numbers, done)][:_LOOKED_THROUGH]
        free = free[~np.isin(free, [n for n in taken if n is not None])].astype(np.int64)
        if not len(free):
            return self.next(annotator, count, tab, known)
        if self.cluster is None or self.certainty is None or self.proposed is None:
            return sorted(free[:count].tolist())
        best = free[self.certainty[free].argmax()]
        same = free[self.proposed[free] == self.proposed[best]]
        alike = self.cluster[same] == self.cluster[best]
        # Where few look alike the screen is filled up with the surest of the same class.
        order = np.lexsort((-self.certainty[same], ~alike))
        fewest = max(int(np.count_nonzero(alike)), min(count, _FEWEST_TOGETHER))
        return [int(number) for number in same[order][: min(count, fewest)]]

    def _part(self, annotator: str) -> _Part:
        if annotator not in self._parts:
            self._parts[annotator] = self._dealt_to(self._people, annotator, self.order)
        return self._parts[annotator]

    def _dealt_to(self, people: Sequence[str], annotator: str, order: NDArray[np.int32]) -> _Part:
        if annotator not in people:
            return _Part(order)
        mine = deal(self.rank, self.needed, people.index(annotator), len(people))
        return _Part(order[mine[order]])

    def _own(self, annotator: str, count: int, not_these: set[int | None]) -> list[int]:
        part, done = self._part(annotator), self._by(annotator)
        found = [n for n in part.returned if not done[n] and n not in not_these][:count]
        part.returned = [n for n in part.returned if not done[n]]
        at = part.at
        while at < len(part.numbers) and len(found) < count:
            block = part.numbers[at : at + _BLOCK]
            free = self._free(block, done)
            if not free.any() and at == part.at:
                part.at += len(block)
            fresh = (n for n in block[free].tolist() if n not in not_these and n not in found)
            found += [n for n, _ in zip(fresh, range(count - len(found)), strict=False)]
            at += len(block)
        return found

    def _others(self, annotator: str, count: int, not_these: set[int | None]) -> list[int]:
        """Help where somebody else has not got to yet, from the end of the order."""
        done = self._by(annotator)
        found: list[int] = []
        for end in range(len(self.order), 0, -_BLOCK):
            block = self.order[max(0, end - _BLOCK) : end][::-1]
            free = block[self._free(block, done)]
            found += [n for n in free.tolist() if n not in not_these]
            if len(found) >= count:
                break
        return found[:count]

    def _free(self, block: NDArray[np.int32], done: NDArray[np.uint8]) -> NDArray[np.bool_]:
        wanted = self.voters[block] < self.needed[block]
        return np.asarray((done[block] == FRESH) & ~self.out[block] & wanted)

    def progress(self, annotator: str) -> dict[str, int]:
        """Count samples, those with a label, and the own part of somebody (empty: of nobody)."""
        labelled = int(np.count_nonzero(self.voters))
        if not annotator:
            return {"samples": self.count, "labelled": labelled}
        part = self._part(annotator)
        now = time.monotonic()
        if now > part.counted_until:
            part.done = int(np.count_nonzero(self._by(annotator)[part.numbers]))
            part.counted_until = now + _COUNTED_S
        return {
            "samples": self.count,
            "labelled": labelled,
            "part": len(part.numbers),
            "part_done": part.done,
        }

    def proposal(self, number: int) -> dict[str, Any]:
        """Tell which class a model proposes for a sample, and how sure it is."""
        if self.proposed is None or self.certainty is None or self.proposed[number] < 0:
            return {}
        name = self.proposed_classes[int(self.proposed[number])]
        return {"proposed": name, "certainty": round(float(self.certainty[number]), 3)}

    def proposals(self, numbers: Sequence[int]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Give proposed class (-1 for none) and its probability of some samples."""
        if self.proposed is None or self.certainty is None:
            return np.full(len(numbers), -1, np.int16), np.zeros(len(numbers), np.float32)
        return self.proposed[numbers], self.certainty[numbers]
