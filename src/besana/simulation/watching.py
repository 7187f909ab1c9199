"""Watch a camera's samples that were drawn without pixels, exactly as `monitor` watches a farm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from besana.simulation.herd import CLASSES, DAY_S
from besana.simulation.streams import Samples
from besana.statistics.blocks import Blocks, add_up, slot_of
from besana.statistics.drift import Projection
from besana.statistics.label_free import Line, likeness
from besana.watching.look import Amount, Finding, Ruler, Seen, Terms, look
from besana.watching.reference import SLOTS, streams_of
from besana.watching.rows import FRAME_COLUMNS
from besana.watching.words import CONFIDENCES, Words, expected_of_labels

Floats = NDArray[np.float64]

# A line as spoilt pictures of a rendered barn teach it: see `learning.spoilt`.
_LINE = Line(np.array([0.2, 0.5, 0.9]), 0.0, 0.04, 24)
_SURENESS = 6.0
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
    probability = _probabilities(samples.vector, truth, learnt)
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
    ruler = Ruler(words, _LINE, float(right[held].mean()), usual, rests, alike)
    terms = Terms(window_hours, every_hours, false_alarms, 0.05, days=True)
    for end in range(train_days * 24 + window_hours, int(hour.max()) + 2, every_hours):
        window = seen.between(end - window_hours, end)
        yield Look(end / 24, list(look(reference, window, ruler, terms)))


def _probabilities(vector: Floats, truth: NDArray[np.bool_], learnt: NDArray[np.bool_]) -> Floats:
    """Fit a linear classifier by least squares and give its probabilities for all samples."""
    x = np.column_stack([vector, np.ones(len(vector))])
    own = x[learnt]
    ridge = 0.1 * np.eye(x.shape[1])
    weights = np.linalg.solve(own.T @ own + ridge, own.T @ truth[learnt].astype(np.float64))
    scores = np.exp(_SURENESS * (x @ weights))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


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
