"""The model in the loop: learns from the labels of the last minutes, proposes classes and order.

Works on embeddings that `besana embed` left; without them people label in the order they choose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.current import current_label
from besana.labels.next_to_label import clusters, evener, most_telling, picks, spread, uncertainty
from besana.labels.proposals import Fitted, fit, likely_errors
from besana.learning.embeddings import Embeddings, sample_keys
from besana.web.deck import Deck
from besana.web.names import labelable_samples
from besana.workspace import Workspace

FIRST_LABELS = 50
_MOST_LEARNED = 20_000
_LOOKED_AT = 4000
_SPREAD_OUT = 400
_CLUSTERS = 48
_PAGE_ROWS = 5000

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]


@dataclass
class Learned:
    """What a round of learning found.

    Attributes:
        labels: How many labels it learned from.
        proposed: (n,) class of each sample of the deck, -1 for unknown.
        certainty: (n,) probability of that class.
        cluster: (n,) which group of look-alikes it belongs to, -1 for unknown.
        classes: Names.
        order: All samples in the order that was asked for.
        curve: As in `Fitted`.
        suspects: Numbers of samples whose label is probably wrong.
        vectors: For the next round.
        scale: (features,) what to multiply vectors by before their distances count.
    """

    labels: int = 0
    proposed: NDArray[np.int16] | None = None
    certainty: Floats | None = None
    cluster: NDArray[np.int16] | None = None
    classes: list[str] = field(default_factory=list)
    order: Numbers | None = None
    curve: tuple[tuple[int, float, float], ...] = ()
    suspects: list[int] = field(default_factory=list)
    vectors: Vectors | None = None
    scale: Floats | float = 1.0


class Vectors:
    """The embeddings of a deck's samples, read in blocks; a few bytes a sample in memory.

    Args:
        workspace: Whose embeddings.
        deck: Whose samples.
    """

    def __init__(self, workspace: Workspace, deck: Deck, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self.rows = len(embeddings)
        keys = np.zeros(deck.count, np.uint64)
        at = 0
        for page in workspace.catalog.pages(
            *labelable_samples(tables.samples.c.crc32c), _PAGE_ROWS
        ):
            ends = [deck.number((row.frame_id, row.region)) for row in (page[0], page[-1])]
            # Samples came or went since the deck was read: look up each.
            if ends != [at, at + len(page) - 1]:
                page = [row for row in page if deck.number((row.frame_id, row.region)) is not None]
                at = deck.number((page[0].frame_id, page[0].region)) or 0 if page else at
            crc = np.array([row.crc32c for row in page], np.uint32)
            identities = [{"frame_id": row.frame_id, "region": row.region} for row in page]
            keys[at : at + len(page)] = sample_keys(identities, crc)
            at += len(page)
        self._order = np.argsort(keys, kind="stable").astype(np.int32)
        self._keys = keys[self._order]

    def blocks(self) -> Iterator[tuple[Numbers, Floats]]:
        """Walk over numbers of the deck and their vectors, (k, features)."""
        for block in self._embeddings.blocks():
            place = np.searchsorted(self._keys, block.keys)
            here = place < len(self._keys)
            here[here] = self._keys[place[here]] == block.keys[here]
            if here.any():
                yield self._order[place[here]], block.vectors[here].astype(np.float32)

    def of(self, numbers: Numbers) -> tuple[Numbers, Floats]:
        """Read the vectors of some samples, in the order of their numbers; some may lack one."""
        wanted = np.zeros(len(self._keys), np.bool_)
        wanted[numbers] = True
        found, vectors = [], []
        for here, block in self.blocks():
            chosen = wanted[here]
            found.append(here[chosen])
            vectors.append(block[chosen])
        if not found:
            return np.empty(0, np.int32), np.empty((0, self._embeddings.features), np.float32)
        together = np.concatenate(found)
        order = np.unique(together, return_index=True)[1]
        return together[order], np.concatenate(vectors)[order]


def newest_embeddings(workspace: Workspace) -> Embeddings | None:
    """Find the embeddings of most samples; None when there are none."""
    found = []
    for key in workspace.embeddings.list():
        if key.endswith("/index.json"):
            index = json.loads(workspace.embeddings.read(key))
            folder = workspace.embeddings.below(key.rpartition("/")[0])
            found.append((sum(index["rows"]), key, folder, int(index["features"])))
    if not found:
        return None
    _, _, folder, features = max(found, key=lambda item: item[:2])
    return Embeddings(folder, features)


def learn(
    workspace: Workspace,
    deck: Deck,
    classes: list[str],
    order: str,
    seed: int,
    before: Vectors | None = None,
) -> Learned:
    """Learn from all labels and look at all samples; takes seconds, and runs in a thread.

    Args:
        workspace: Whose labels and embeddings.
        deck: Whose samples; only read.
        classes: What may be said.
        order: One of `deck.ORDERS`.
        seed: Where choices start.
        before: From an earlier round with the same deck.
    """
    learned = Learned(classes=list(classes))
    embeddings = newest_embeddings(workspace)
    if embeddings is None or not deck.count:
        learned.order = simple_order(deck, order)
        return learned
    known = before is not None and before.rows == len(embeddings)
    vectors = before if before is not None and known else Vectors(workspace, deck, embeddings)
    learned.vectors = vectors
    numbers, said = labelled_numbers(workspace.catalog, deck, classes)
    learned.labels = len(numbers)
    fitted = None
    if len(numbers):
        some = numbers[:: -(-len(numbers) // _MOST_LEARNED)]
        said = said[:: -(-len(numbers) // _MOST_LEARNED)]
        found, x = vectors.of(some)
        y = said[np.searchsorted(some, found)]
        fitted = fit(x, y, classes) if len(numbers) >= FIRST_LABELS else None
        if fitted is not None:
            learned.curve = fitted.curve
            learned.suspects = found[likely_errors(fitted.unseen, y)].tolist()
    unsure = _look_at_all(learned, deck, vectors, fitted, seed)
    learned.order = _order(learned, deck, vectors, order, unsure, seed)
    return learned


def simple_order(deck: Deck, order: str) -> Numbers:
    """Give the orders that need no model."""
    if order == "time":
        return np.arange(deck.count, dtype=np.int32)
    return np.argsort(deck.rank, kind="stable").astype(np.int32)


def labelled_numbers(
    catalog: Catalog, deck: Deck, classes: list[str]
) -> tuple[Numbers, NDArray[np.int64]]:
    """Read the current labels of a deck, in short reads: numbers in rising order, and classes."""
    labels, place = tables.labels.c, {name: index for index, name in enumerate(classes)}
    numbers, said = [], []
    pending: list[Any] = []

    def settle() -> None:
        label = current_label(pending)
        number = deck.number((pending[0].frame_id, pending[0].region))
        if label and not label.tied and label.class_name in place and number is not None:
            numbers.append(number)
            said.append(place[label.class_name])

    key = [labels.frame_id, labels.region, labels.id]
    for page in catalog.pages(sa.select(tables.labels), key, _PAGE_ROWS):
        for row in page:
            if pending and (pending[0].frame_id, pending[0].region) != (row.frame_id, row.region):
                settle()
                pending.clear()
            pending.append(row)
    if pending:
        settle()
    return np.array(numbers, np.int32), np.array(said, np.int64)


def _look_at_all(
    learned: Learned, deck: Deck, vectors: Vectors, fitted: Fitted | None, seed: int
) -> Floats:
    """Propose a class and find the look-alikes of every sample; give how unsure each is."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(deck.count)[:_LOOKED_AT]).astype(np.int32)
    _, x = vectors.of(some)
    unsure = np.zeros(deck.count, np.float32)
    learned.proposed = np.full(deck.count, -1, np.int16)
    learned.certainty = np.zeros(deck.count, np.float32)
    learned.cluster = np.full(deck.count, -1, np.int16)
    if not len(x):
        return unsure
    learned.scale = evener(x)
    group = clusters(x, max(2, min(_CLUSTERS, len(x) // 20)), seed=seed)
    centres = np.stack([x[group == g].mean(axis=0) for g in np.unique(group)])
    for numbers, block in vectors.blocks():
        distance = (centres**2).sum(axis=1) - 2 * (block @ centres.T)
        learned.cluster[numbers] = distance.argmin(axis=1)
        if fitted is not None:
            probability = fitted.proposer.probabilities(block)
            learned.proposed[numbers] = probability.argmax(axis=1)
            learned.certainty[numbers] = probability.max(axis=1)
            unsure[numbers] = uncertainty(probability)
    return unsure


def _order(
    learned: Learned, deck: Deck, vectors: Vectors, order: str, unsure: Floats, seed: int
) -> Numbers:
    """Put all samples in order: what teaches most comes first."""
    random = simple_order(deck, "random")
    if order in ("random", "time"):
        return simple_order(deck, order)
    labelled = np.flatnonzero(deck.voters > 0).astype(np.int32)
    near = vectors.of(labelled[-500:])[1] * learned.scale
    fresh = random[(deck.voters[random] == 0) & ~deck.out[random]]
    apart = _apart(vectors, fresh[:_LOOKED_AT], near, learned.scale, seed)
    knows = learned.proposed is not None and bool((learned.proposed >= 0).any())
    doubtful = fresh[np.argsort(-unsure[fresh], kind="stable")] if knows else apart
    if order == "diversity" or not knows:
        first = apart
    elif order == "uncertainty":
        some = doubtful[: 4 * picks(len(fresh))]
        first = _apart(vectors, some, near, learned.scale, seed)
    else:
        found, x = vectors.of(doubtful[: 4 * picks(len(fresh))])
        told = most_telling(x * learned.scale, len(fresh), near if len(near) else None, seed)
        first = np.array([(fresh if drawn else found)[at] for drawn, at in told], np.int32)
    rest = doubtful if knows and order != "diversity" else random
    # Second votes come soon, so that disagreement shows while there is time to talk about it.
    voters = deck.voters[random]
    seconds = random[(voters > 0) & (voters < deck.needed[random]) & ~deck.out[random]]
    return _first_then(first, seconds, rest, random)


def _apart(
    vectors: Vectors, numbers: Numbers, near: Floats, scale: Floats | float, seed: int
) -> Numbers:
    found, x = vectors.of(numbers)
    if not len(found):
        return numbers
    return found[spread(x * scale, _SPREAD_OUT, near=near if len(near) else None, seed=seed)]


def _first_then(*parts: Numbers) -> Numbers:
    """Put parts one after the other, each sample where it comes first."""
    together = np.concatenate(parts)
    return together[np.sort(np.unique(together, return_index=True)[1])].astype(np.int32)
