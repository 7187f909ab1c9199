"""The model in the loop: learns from the labels of the last minutes, proposes classes and order.

Works on embeddings that `besana embed` left; without them people label in the order they choose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.current import current_label
from besana.labels.next_to_label import clusters, evener, most_telling, picks, spread, uncertainty
from besana.labels.proposals import Fitted, fit, likely_errors
from besana.web.deck import Deck
from besana.web.vectors import Vectors, newest_embeddings
from besana.workspace import Workspace

FIRST_LABELS = 100
_MOST_LEARNED = 5_000
_LOOKED_AT = 4000
_SPREAD_OUT = 400
_KEPT_AWAY_FROM = 500
_CLUSTERS = 48
_PAGE_ROWS = 5000

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]


class Said(NamedTuple):
    """The current labels of a deck.

    Attributes:
        numbers: (n,) of the samples, rising.
        classes: (n,) index of what each is.
    """

    numbers: Numbers
    classes: NDArray[np.int64]


class Lesson(NamedTuple):
    """A fitted classifier, and the samples that it was fitted to."""

    numbers: Numbers
    fitted: Fitted


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


def learn(
    workspace: Workspace,
    deck: Deck,
    classes: list[str],
    order: str,
    seed: int,
    before: Vectors | None = None,
) -> Learned:
    """Learn from all labels and look at all samples; takes seconds, and runs in a thread.

    One core has to do, for beside it pages are to answer within milliseconds.

    Args:
        workspace: Whose labels and embeddings.
        deck: Whose samples; only read.
        classes: What may be said.
        order: One of `deck.ORDERS`.
        seed: Where choices start.
        before: From an earlier round with the same deck.
    """
    with threadpool_limits(1):
        return _learn(workspace, deck, classes, order, seed, before)


def _learn(
    workspace: Workspace,
    deck: Deck,
    classes: list[str],
    order: str,
    seed: int,
    before: Vectors | None,
) -> Learned:
    learned = Learned(classes=list(classes))
    embeddings = newest_embeddings(workspace)
    if embeddings is None or not deck.count:
        learned.order = simple_order(deck, order)
        return learned
    if before is None or before.rows != len(embeddings) or before.is_used_up(deck):
        before = Vectors(workspace, deck, embeddings)
    learned.vectors = vectors = before
    said = Said(*labelled_numbers(workspace.catalog, deck, classes))
    learned.labels = len(said.numbers)
    lesson = _lesson(vectors, said, classes) if learned.labels >= FIRST_LABELS else None
    if lesson is not None:
        learned.curve = lesson.fitted.curve
        learned.suspects = _suspects(vectors, said, lesson)
    unsure = _look_at_all(learned, deck, vectors, lesson, seed)
    learned.order = _order(learned, deck, vectors, order, unsure, seed)
    return learned


def _lesson(vectors: Vectors, said: Said, classes: list[str]) -> Lesson | None:
    """Fit a classifier to the labels, of very many to a fair part of them."""
    known = np.intersect1d(said.numbers, vectors.numbers, assume_unique=True)
    found, x = vectors.of(known[:: max(1, -(-len(known) // _MOST_LEARNED))])
    fitted = fit(x, said.classes[np.searchsorted(said.numbers, found)], classes)
    return None if fitted is None else Lesson(found, fitted)


def _suspects(vectors: Vectors, said: Said, lesson: Lesson) -> list[int]:
    """Find samples whose label is probably wrong, each judged by what has not seen it."""
    unseen = np.full((len(said.numbers), lesson.fitted.unseen.shape[1]), np.nan, np.float32)
    for start in range(0, len(said.numbers), _PAGE_ROWS):
        found, x = vectors.of(said.numbers[start : start + _PAGE_ROWS])
        unseen[np.searchsorted(said.numbers, found)] = lesson.fitted.proposer.probabilities(x)
    unseen[np.searchsorted(said.numbers, lesson.numbers)] = lesson.fitted.unseen
    known = np.flatnonzero(np.isfinite(unseen[:, 0]))
    wrong = likely_errors(unseen[known], said.classes[known])
    return [int(number) for number in said.numbers[known[wrong]]]


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
    learned: Learned, deck: Deck, vectors: Vectors, lesson: Lesson | None, seed: int
) -> Floats:
    """Propose a class and find the look-alikes of what has a vector; give how unsure each is."""
    some = np.random.default_rng(seed).permutation(vectors.numbers)[:_LOOKED_AT]
    _, x = vectors.of(np.sort(some))
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
        if lesson is not None:
            probability = lesson.fitted.proposer.probabilities(block)
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
    some = labelled[:: max(1, len(labelled) // _KEPT_AWAY_FROM)]
    near = vectors.of(some)[1] * learned.scale
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
