"""Watch a camera's samples that were drawn without pixels, exactly as `monitor` watches a farm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.simulation.herd import CLASSES, DAY_S
from besana.simulation.streams import Samples
from besana.statistics.blocks import Blocks, add_up, slot_of
from besana.statistics.drift import Projection
from besana.statistics.label_free import Line, likeness
from besana.watching.look import Finding, Seen, Terms, look
from besana.watching.reference import SLOTS, streams_of
from besana.watching.rows import FRAME_COLUMNS
from besana.watching.ruler import Amount, Ruler
from besana.watching.words import CONFIDENCES, Words, expected_of_labels, place_of, taught_line

Floats = NDArray[np.float64]

_SURENESS = 6.0
_SPOILT, _STREAM = 160, 82
# Every third sample is looked at; neighbours show the same.
_EVERY = 3


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        end_day: When its window ends, in days since the first midnight.
        findings: What it says.
    """

    end_day: float
    findings: list[Finding]


def watch_samples(
    samples: Samples,
    *,
    train_days: int,
    held_days: int = 3,
    every_hours: int = 6,
    window_hours: int = 24,
    false_alarms: float = 0.5,
) -> Iterator[Look]:
    """Train a linear model on the first days and watch the others.

    Args:
        samples: What the camera shows.
        train_days: Days that the model's dataset has.
        held_days: The last of them, which the model does not learn.
        every_hours: Hours between two looks.
        window_hours: Hours that a look takes in.
        false_alarms: Budget, a camera and month.
    """
    day, hour = samples.time_s // int(DAY_S), samples.time_s // 3600
    learnt = day < train_days - held_days
    held = (day >= train_days - held_days) & (day < train_days)
    truth = np.eye(len(CLASSES))[samples.truth] > 0
    classify = _classifier(samples.vector[learnt], truth[learnt])
    probability = classify(samples.vector)
    words = Words.learn(CLASSES, "single", {}, probability[held], truth[held])
    said, right = words.said(probability), words.right(probability, truth)
    expected = said.copy()
    expected[learnt] = expected_of_labels(said[held], truth[held], truth[learnt], kind="single")
    some = np.flatnonzero(day < train_days)[::7]
    place = Projection(samples.vector[some], truth[some])
    looks = np.full((len(day), place.components), np.nan)
    chosen = np.arange(len(day)) // int(samples.bed.max() + 1) % _EVERY == 0
    looks[chosen] = place(samples.vector[chosen])
    before, after = day < train_days, day >= train_days
    reference = _seen(samples, day, expected, looks, right, before)
    seen = _seen(samples, hour, said, looks, right, after)
    usual = np.append(said[held][:, -len(CONFIDENCES) :].mean(axis=0), 1.0)
    cells = hour[held] * int(samples.bed.max() + 1) + samples.bed[held]
    rests = Amount(int(held.sum()), len(np.unique(cells)))
    alike = likeness([(right[held], cells)])
    line = _taught(samples.vector[held], truth[held], classify, words, place)
    ruler = Ruler(words, line, float(right[held].mean()), usual, rests, alike=alike)
    terms = Terms(window_hours, every_hours, false_alarms, 0.05, days=True)
    for end in range(train_days * 24 + window_hours, int(hour.max()) + 2, every_hours):
        window = seen.between(end - window_hours, end)
        yield Look(end / 24, list(look(reference, window, ruler, terms)))


def _classifier(vector: Floats, truth: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
    """Fit a linear classifier by least squares; it gives probabilities."""

    def with_constant(vectors: Floats) -> Floats:
        return np.column_stack([vectors, np.ones(len(vectors))])

    x = with_constant(vector)
    ridge = 0.1 * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ truth.astype(np.float64))

    def classify(vectors: Floats) -> Floats:
        scores = np.exp(_SURENESS * (with_constant(vectors) @ weights))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    return classify


def _taught(
    vector: Floats,
    truth: NDArray[np.bool_],
    classify: Callable[[Floats], Floats],
    words: Words,
    place: Projection,
) -> Line:
    """Learn from spoilt vectors how accuracy follows from words, as `monitor` from pictures."""
    some = np.linspace(0, len(vector) - 1, _SPOILT).astype(np.int64)
    said, rights, places = [], [], []
    for spoilt in _spoilings(vector[some]):
        probability = classify(spoilt)
        said.append(words.said(probability).mean(axis=0))
        rights.append(words.right(probability, truth[some]).mean())
        places.append(place_of(place(spoilt).mean(axis=0), 0.0))
    return taught_line(np.array(said), np.array(rights), np.array(places), kind="single")


def _spoilings(vector: Floats) -> Iterator[Floats]:
    """Spoil vectors: less contrast, another tint, both, noise, parts that are gone."""
    rng = np.random.default_rng(_STREAM)
    middle, size = vector.mean(axis=0), vector.shape[1]

    def tint(length: float) -> Floats:
        way = rng.normal(size=size)
        return np.asarray(length * way / np.linalg.norm(way))

    yield vector
    for grey in (0.2, 0.4, 0.6, 0.8):
        yield vector * (1 - grey) + middle * grey
    for length in (0.3, 0.3, 0.6, 0.6, 0.9, 0.9, 1.2, 1.2):
        yield vector + tint(length)
    for grey, length in ((0.2, 0.3), (0.2, 0.3), (0.4, 0.5), (0.4, 0.5), (0.6, 0.7), (0.6, 0.7)):
        yield vector * (1 - grey) + tint(length)
    for spread in (0.25, 0.5, 1.0):
        yield vector + rng.normal(size=vector.shape) * spread
    for share in (0.15, 0.15, 0.3, 0.3, 0.5, 0.5):
        yield np.where(rng.random(size) < share, middle, vector)


def _seen(
    samples: Samples,
    unit: NDArray[np.int64],
    said: Floats,
    looks: Floats,
    right: Floats,
    chosen: NDArray[np.bool_],
) -> Seen:
    slot = slot_of(samples.time_s, 1)
    regions = np.array([f"bed-{number + 1}" for number in range(int(samples.bed.max()) + 1)])
    frames = np.full((len(unit), len(FRAME_COLUMNS)), np.nan)
    frames[:, FRAME_COLUMNS.index("brightness")] = samples.brightness
    frames[:, FRAME_COLUMNS.index("unusable_share")] = 0.0
    frames[:, FRAME_COLUMNS.index("frames")] = 1.0

    def added(values: Floats, rows: NDArray[np.bool_]) -> Blocks:
        return add_up(unit[rows], slot[rows], values[rows], slots=SLOTS)

    return Seen(
        added(frames, chosen & (samples.bed == 0)),
        streams_of(
            unit[chosen], slot[chosen], regions[samples.bed[chosen]], said[chosen], looks[chosen]
        ),
        added(right[:, None], chosen),
    )
