"""Which samples to label next, and who: drawing, dealing, and orders that teach a model most."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Place = TypeVar("Place", int, NDArray[np.int32])


def draw(count: int, share: float, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw a random place for each sample, and which samples two people see.

    Args:
        count: How many samples there are.
        share: Share of them that is seen twice, 0 to 1.
        seed: Another seed, another draw.

    Returns:
        (count,) place of each sample, and the numbers of those that are seen twice.
    """
    rng = np.random.default_rng(seed)
    rank = rng.permutation(count).astype(np.int32)
    twice = np.flatnonzero(rng.random(count) < share).astype(np.int32)
    return rank, twice


def deal(
    rank: NDArray[np.int32], needed: NDArray[np.uint8], person: int, people: int
) -> NDArray[np.bool_]:
    """Tell which samples are one person's: equal parts, and a part of what is seen twice.

    The second of a pair is another person in turn, so that everybody shares samples with
    everybody else.

    Args:
        rank: (n,) from `draw`.
        needed: (n,) how many people have to see a sample.
        person: Whose, from 0.
        people: How many there are.

    >>> rank = np.arange(6, dtype=np.int32)
    >>> twice = np.array([2, 1, 1, 1, 1, 1], np.uint8)
    >>> [deal(rank, twice, person, 3).nonzero()[0].tolist() for person in range(3)]
    [[0, 3], [0, 1, 4], [2, 5]]
    """
    first = rank % people
    if people < 2:
        return np.asarray(first == person)
    return np.asarray((first == person) | ((needed > 1) & (second_of(rank, people) == person)))


def second_of(place: Place, people: int) -> Place:
    """Tell who is the second to see samples that two people see.

    Args:
        place: Drawn places, from `draw`; or one of them.
        people: How many there are, 2 at least.
    """
    return (place % people + 1 + (place // people) % (people - 1)) % people


def uncertainty(probability: Floats) -> Floats:
    """Tell how unsure a model is: 1 less the gap of its two best classes, 0 to 1.

    Args:
        probability: (n, classes), 2 at least.
    """
    best = np.partition(probability, -2, axis=1)[:, -2:]
    return np.asarray(1 - (best[:, 1] - best[:, 0]), np.float32)


def evener(vectors: Floats) -> Floats:
    """Tell what to multiply features by so that each varies as much, as a classifier sees them.

    Else the few features that vary most decide alone which samples lie far from each other.
    Features that hardly vary are not blown up.

    Args:
        vectors: (n, features) of a fair sample.
    """
    deviation = vectors.std(axis=0)
    return np.asarray(1 / np.maximum(deviation, 0.05 * deviation.mean() + 1e-6), np.float32)


def spread(vectors: Floats, count: int, *, near: Floats | None = None, seed: int = 0) -> list[int]:
    """Choose samples that lie far from each other (k-center greedy, Sener and Savarese 2018).

    Args:
        vectors: (n, features).
        count: How many to choose.
        near: (m, features) of what is labelled already, which chosen ones keep away from.
        seed: Which sample is the first when nothing is labelled.
    """
    count = min(count, len(vectors))
    if not count:
        return []
    squares = (vectors**2).sum(axis=1)
    far = np.full(len(vectors), np.inf)
    for vector in [] if near is None else near:
        far = np.minimum(far, squares - 2 * (vectors @ vector) + vector @ vector)
    first = int(np.random.default_rng(seed).integers(len(vectors)))
    chosen: list[int] = []
    while len(chosen) < count:
        pick = first if np.isinf(far).all() else int(far.argmax())
        chosen.append(pick)
        far = np.minimum(far, squares - 2 * (vectors @ vectors[pick]) + squares[pick])
        far[pick] = -np.inf
    return chosen


def most_telling(
    doubtful: Floats, chance: int, near: Floats | None, seed: int
) -> list[tuple[bool, int]]:
    """Choose what to label next: doubtful samples that differ, and every fifth by chance.

    Neighbours in time look alike, so the most doubtful ones alone would all show the same; and a
    part by chance stays a fair sample of everything.

    Args:
        doubtful: (4 * n, features) of the most doubtful samples, from which n are chosen.
        chance: How many samples there are to choose by chance.
        near: (m, features) of what is labelled already.
        seed: Where choosing starts.

    Returns:
        Whether a place counts among all samples (by chance) or among the doubtful ones, and it.
    """
    chosen = spread(doubtful, max(1, len(doubtful) // 4), near=near, seed=seed)
    drawn = np.random.default_rng(seed).permutation(chance)[: len(chosen) // 4].tolist()
    told: list[tuple[bool, int]] = []
    for turn, place in enumerate(chosen):
        told.append((False, place))
        if turn % 4 == 3 and drawn:
            told.append((True, drawn.pop()))
    return told


def picks(fresh: int) -> int:
    """Tell how many samples to choose at once out of those that nobody has labelled."""
    return min(200, max(25, fresh // 20))


def clusters(vectors: Floats, count: int, *, seed: int = 0, rounds: int = 10) -> NDArray[np.int32]:
    """Group samples that look alike (k-means, Lloyd 1982); memory is one distance a pair.

    Args:
        vectors: (n, features), some thousands.
        count: How many groups at most.
        seed: Where it starts.
        rounds: How often the centres move.

    Returns:
        (n,) group of each sample, from 0.
    """
    centres = vectors[spread(vectors, count, seed=seed)]
    group = np.zeros(len(vectors), np.int32)
    for _ in range(rounds):
        distance = (centres**2).sum(axis=1) - 2 * (vectors @ centres.T)
        group = distance.argmin(axis=1).astype(np.int32)
        for number in range(len(centres)):
            if (group == number).any():
                centres[number] = vectors[group == number].mean(axis=0)
    return group
