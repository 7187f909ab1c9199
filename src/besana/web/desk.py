"""What the server of the pages holds: the workspace, its people, the deck, and who saves."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from besana import catalog as tables
from besana.catalog.web import create_tables
from besana.config import Settings
from besana.errors import BesanaError
from besana.labels.labelled import is_multi
from besana.web.classes import ClassBook
from besana.web.deck import FRESH, LABELLED, SKIPPED, Deck
from besana.web.gate import RefusedError
from besana.web.keeper import Keeper
from besana.web.model_loop import FIRST_LABELS, Learned, learn
from besana.web.names import Sample
from besana.web.passwords import Patience
from besana.web.people import FILE, People
from besana.web.pictures import PictureMaker
from besana.web.saving import Saver, Saying
from besana.web.surveys import Surveys
from besana.workspace import Workspace

_LOG = logging.getLogger("besana.web")
_CHECK_S = 2.0
_AFTER_ERROR_S = 15.0
LABELLERS = ("labeller", "reviewer", "admin")


class DeskSettings(Settings):
    """How work is dealt."""

    overlap_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of the samples that two people see, blind."
    )
    seed: int = Field(default=0, ge=0, description="Another seed, another random order.")


class Desk:
    """Everything behind the pages of one workspace.

    The deck is only touched by the event loop; a new one is read in a thread and put in its
    place, with what was said meanwhile.

    Args:
        workspace: Whose pages.
        settings: How work is dealt.
    """

    def __init__(self, workspace: Workspace, settings: DeskSettings) -> None:
        create_tables(workspace.catalog)
        self.workspace, self.settings = workspace, settings
        self.people = People(workspace.path / FILE)
        self.patience = Patience()
        self.classes = ClassBook(workspace, workspace.path / FILE)
        self.pictures = PictureMaker()
        self.saver = Saver(workspace.catalog)
        self.surveys = Surveys(workspace, self.is_multi)
        self.keeper = Keeper(workspace)
        self._deck: Deck | None = None
        self._since: list[tuple[Sample, str, int, bool]] | None = None
        self._counted: dict[str, dict[str, int]] = {}
        self._said_here = 0
        self.learned = Learned()
        self._learned_of: tuple[Deck | None, str, int] = (None, "", 0)

    def close(self) -> None:
        """Save what waits and end the children."""
        self.saver.close()
        self.surveys.close()
        self.pictures.close()
        self.people.close()
        self.classes.close()
        if self._deck is not None:
            self._deck.close()

    @property
    def deck(self) -> Deck:
        """The deck, once it has been read.

        Raises:
            RefusedError: While it is read for the first time.
        """
        if self._deck is None:
            raise RefusedError(503, "preparing", "The pictures are being counted.", retry_s=1)
        self._deck.set_people(self._labellers())
        return self._deck

    def _labellers(self) -> list[str]:
        return self.people.names(*LABELLERS)

    @property
    def is_ready(self) -> bool:
        """Whether the deck has been read."""
        return self._deck is not None

    def deals(self, sample: Sample) -> bool:
        """Tell whether a sample is known to be one; takes no time."""
        return self._deck is not None and self._deck.number(sample) is not None

    def is_multi(self) -> bool:
        """Whether several classes may hold for one sample."""
        kind = self.classes.kind
        return is_multi(self.workspace.catalog) if kind == "auto" else kind == "multi"

    # Keeping the deck up to date

    async def watch(self) -> None:
        """Read the deck, and again whenever something else changed samples or labels."""
        while True:
            wait_s = _CHECK_S
            try:
                if self._is_out_of_date(await asyncio.to_thread(self._count)):
                    await self._read_again()
                await self._learn_when_due()
                await self.keeper.work()
            except (BesanaError, OSError, sqlite3.Error) as error:
                # Also a full disk, on which scratch files cannot grow: labelling goes on meanwhile.
                _LOG.warning("what is in the workspace could not be read: %s", error)
                wait_s = _AFTER_ERROR_S
            await asyncio.sleep(wait_s if self._deck else 1.0)

    @property
    def order(self) -> str:
        """In which order pictures come up."""
        return self.people.choice("order", "mix")

    async def _learn_when_due(self) -> None:
        """Learn from the labels when there are enough new ones, or another order is wanted."""
        deck, order = self._deck, self.order
        if deck is None:
            return
        labels = int(np.count_nonzero(deck.voters))
        known, wanted, learned = self._learned_of
        next_at = FIRST_LABELS if learned < FIRST_LABELS else learned + max(25, learned // 10)
        enough = labels >= next_at
        if deck is known and order == wanted and not enough:
            return
        # Where several classes may hold, pictures are grouped and ordered, but nothing is proposed.
        names = [] if self.is_multi() else await asyncio.to_thread(self.classes.names)
        before = self.learned.vectors if deck is known else None
        found = await asyncio.to_thread(
            learn, self.workspace, deck, names, order, self.settings.seed, before
        )
        deck.proposed_classes = found.classes
        deck.proposed, deck.certainty = found.proposed, found.certainty
        deck.cluster = found.cluster
        suspects = np.array(found.suspects, np.int64)
        deck.needed[suspects] = np.maximum(deck.needed[suspects], 2)
        if found.order is not None and not np.array_equal(found.order, deck.order):
            parts = await asyncio.to_thread(deck.dealt, self._labellers(), found.order)
            deck.set_order(found.order, parts)
        self.learned, self._learned_of = found, (deck, order, labels)

    def _count(self) -> dict[str, dict[str, int]]:
        catalog = self.workspace.catalog
        counted = {
            table.name: catalog.counted(table)
            for table in (tables.samples, tables.labels, tables.issues)
        }
        return {**counted, "labels": {"": sum(counted["labels"].values())}}

    def _is_out_of_date(self, counted: dict[str, dict[str, int]]) -> bool:
        if self._deck is None:
            return True
        labels = {"": self._counted["labels"][""] + self._said_here}
        return counted != {**self._counted, "labels": labels}

    async def _read_again(self) -> None:
        self._since, self._said_here = [], 0
        counted = await asyncio.to_thread(self._count)
        deck = Deck(
            self.workspace.temporary, share=self.settings.overlap_share, seed=self.settings.seed
        )
        await asyncio.to_thread(deck.read, self.workspace.catalog)
        deck.set_people(self._labellers())
        deck.set_order(
            deck.order, await asyncio.to_thread(deck.dealt, self._labellers(), deck.order)
        )
        for sample, annotator, state, unusable in self._since:
            deck.note(sample, annotator, state, unusable=unusable)
        old, self._deck, self._since, self._counted = self._deck, deck, None, counted
        if old is not None:
            old.close()

    def _note(self, sample: Sample, annotator: str, state: int, unusable: bool = False) -> None:
        self.keeper.said()
        if self._deck is not None:
            self._deck.note(sample, annotator, state, unusable=unusable)
        if self._since is not None:
            self._since.append((sample, annotator, state, unusable))

    # Saving

    async def label(self, annotator: str, sayings: Sequence[Saying]) -> list[dict[str, Any]]:
        """Save labels, durable on return, and note them in the deck."""
        outcomes = await asyncio.wrap_future(self.saver.label(annotator, sayings))
        for saying, outcome in zip(sayings, outcomes, strict=True):
            self._said_here += outcome.pop("added", 0)
            # What was taken back before it was sent again stays taken back.
            if "saved" in outcome and not outcome.pop("undone", False):
                self._note((saying.frame_id, saying.region), annotator, LABELLED)
        return outcomes

    async def skip(self, annotator: str, key: str, sample: Sample, reason: str, note: str) -> None:
        """Save a skip; who is unsure leaves the sample to somebody else."""
        await asyncio.wrap_future(self.saver.skip(annotator, key, sample, reason, note))
        self._note(sample, annotator, SKIPPED, reason == "unusable")
        if reason == "unsure" and self._deck is not None:
            self._deck.ask_again([sample])

    async def undo(self, annotator: str, key: str) -> dict[str, Any]:
        """Take back an act."""
        undone = await asyncio.wrap_future(self.saver.undo(annotator, key))
        self._said_here -= undone.removed
        state = LABELLED if undone.last else SKIPPED if undone.skipped else FRESH
        self._note(undone.sample, annotator, state)
        return {"undone": key, "base": undone.last}
