"""Look at one camera's last hours beside the days that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from besana.statistics.blocks import Blocks, residual, usual_residuals
from besana.statistics.drift import Verdict, judge, judge_length, look_level
from besana.statistics.intervals import student_quantile
from besana.statistics.ratios import ratio
from besana.watching.rows import FRAME_SIGNALS
from besana.watching.ruler import Amount, Ruler
from besana.watching.words import CONFIDENCES, place_of, steadiness

Floats = NDArray[np.float64]
State = Literal["ok", "drift", "unknown"]

CAMERA = ""
"""Name of the stream that is all regions of a camera together."""
ACCURACY, MEASURED, APPEARANCE, CONFIDENCE, FRAMES = (
    *("estimated_accuracy", "measured_accuracy", "appearance", "confidence", "frames_share"),
)
SHARE = "share:"
UNKNOWN_CAMERA = "unknown_camera"
BROKEN = ("change_bits", "unusable_share", FRAMES)
"""Signals of a camera that has to be repaired; no training cures them."""

# Changes of a share or of confidence that do not matter, for a camera and for one region.
_SHARE_MATTERS = (0.12, 0.2)
_CONFIDENCE_MATTERS = (0.03, 0.06)
# With fewer frames than this part of the usual ones, a camera is silent.
_SILENT = 0.5


@dataclass(frozen=True)
class Finding:
    """What one look says about one signal of one stream.

    Attributes:
        region: Name of the region; empty for the camera.
        signal: What was looked at.
        samples: Samples or frames behind it.
        value: What was seen.
        expected: What was to be expected.
        low: Lower end of the value's interval; NaN without.
        high: Upper end.
        score: How far it is from the expected, in its own prediction errors.
        limit: From which score on it is a change.
        state: `ok`, `drift` or `unknown`.
    """

    region: str
    signal: str
    samples: int
    value: float
    expected: float
    low: float = nan
    high: float = nan
    score: float = nan
    limit: float = nan
    state: State = "ok"


@dataclass(frozen=True)
class Stream:
    """What is known about a camera or a region.

    Attributes:
        said: Blocks of `Words.said`.
        looks: Blocks of places along principal directions; None when nobody computes them.
    """

    said: Blocks
    looks: Blocks | None


@dataclass(frozen=True)
class Seen:
    """A camera during some time: the reference, or what is judged.

    Attributes:
        frames: Blocks of `FRAME_COLUMNS`.
        streams: Region to what is known, `CAMERA` among them.
        right: Blocks of how right the model was, one signal, where labels are there.
    """

    frames: Blocks
    streams: Mapping[str, Stream]
    right: Blocks

    def between(self, start: int, end: int) -> Seen:
        """Give the part of the units from `start` to before `end`."""

        def part(blocks: Blocks) -> Blocks:
            return blocks.part((blocks.units >= start) & (blocks.units < end))

        streams = {
            name: Stream(part(one.said), None if one.looks is None else part(one.looks))
            for name, one in self.streams.items()
        }
        return Seen(part(self.frames), streams, part(self.right))


@dataclass(frozen=True)
class Terms:
    """On what terms a look is taken.

    Attributes:
        window_hours: Hours that it takes in.
        every_hours: Hours between two looks.
        false_alarms: Bearable false alarms a camera and month.
        max_drop: Loss of accuracy from which on it is a change.
        days: Whether the reference's units are days; else its blocks are, for want of days.
    """

    window_hours: int
    every_hours: int
    false_alarms: float
    max_drop: float
    days: bool


class _Levels(NamedTuple):
    """Probabilities of a false alarm at one look at one signal."""

    appearance: float
    others: float


def _levels(terms: Terms, *, streams: int, others: int) -> _Levels:
    """Share half of the budget out: appearance, which alone sees another herd, gets half of it."""

    def level(signals: int) -> float:
        return look_level(terms.false_alarms / 4, every_hours=terms.every_hours, signals=signals)

    return _Levels(level(streams), level(others))


def look(reference: Seen, window: Seen, ruler: Ruler, terms: Terms) -> Iterator[Finding]:
    """Take one look at a camera.

    Half of the budget of false alarms goes to the camera as a whole, half to its regions.

    Args:
        reference: The days that the model was trained on.
        window: The hours that are judged.
        ruler: What turns the model's words into an accuracy.
        terms: On what terms.
    """
    classes = len(ruler.words.classes)
    levels = _levels(terms, streams=1, others=len(FRAME_SIGNALS) + 1 + classes + 3)
    yield from _frame_findings(reference.frames, window.frames, levels.others, terms)
    regions = [name for name in window.streams if name != CAMERA]
    if CAMERA in window.streams and CAMERA in reference.streams:
        yield from _stream_findings(CAMERA, reference, window, ruler, levels, terms)
        yield from _accuracies(reference, window, ruler, terms, levels.others)
    levels = _levels(terms, streams=len(regions), others=len(regions) * (classes + 1))
    for name in sorted(regions):
        if name in reference.streams:
            yield from _stream_findings(name, reference, window, ruler, levels, terms)


def _fair(reference: Blocks, window: Blocks, signal: int, terms: Terms) -> float:
    """Tell how much less a thin window weighs than a usual day.

    A mean of half the samples is further off by chance, so its distance counts less.
    """
    if not terms.days:
        return 1.0
    usual = float(np.median(reference.counts[:, :, signal].sum(axis=1)))
    usual *= terms.window_hours / 24
    own = float(window.counts[:, :, signal].sum())
    return sqrt(min(1.0, own / usual)) if usual > 0 else 1.0


def _frame_findings(
    reference: Blocks, window: Blocks, level: float, terms: Terms
) -> Iterator[Finding]:
    usual, away = usual_residuals(reference), residual(reference, window)
    mean = _means(window)
    for number, (name, (least, side)) in enumerate(FRAME_SIGNALS.items()):
        if np.isnan(away[number]):
            continue
        now = float(away[number]) * _fair(reference, window, number, terms)
        verdict = judge(usual[:, number], now, level=level, least=least, side=side)  # type: ignore[arg-type]  # the table's words
        samples = int(window.counts[:, :, number].sum())
        yield _finding(CAMERA, name, samples, mean[number], float(away[number]), verdict)
    if terms.days:
        yield _silence(reference, window, level, terms)


def _silence(reference: Blocks, window: Blocks, level: float, terms: Terms) -> Finding:
    """Tell whether a camera sends fewer frames than on its days of reference."""
    counts = reference.sums[:, :, -1].sum(axis=1)
    usual = float(counts.mean())
    own = float(window.sums[:, :, -1].sum()) * 24 / terms.window_hours
    verdict = judge(counts / usual - 1, own / usual - 1, level=level, least=_SILENT, side="below")
    return _finding(CAMERA, FRAMES, int(own), own / usual, own / usual - 1, verdict)


def _stream_findings(
    name: str, reference: Seen, window: Seen, ruler: Ruler, levels: _Levels, terms: Terms
) -> Iterator[Finding]:
    if name not in reference.streams:
        return
    before, now = reference.streams[name], window.streams[name]
    place = 0 if name == CAMERA else 1
    classes = ruler.words.classes
    usual, away = usual_residuals(before.said), residual(before.said, now.said)
    mean = _means(now.said)
    believed = len(classes) + CONFIDENCES.index("believed")
    wanted = [
        *((SHARE + one, number, _SHARE_MATTERS[place]) for number, one in enumerate(classes)),
        (CONFIDENCE, believed, _CONFIDENCE_MATTERS[place]),
    ]
    for signal, number, least in wanted:
        if np.isnan(away[number]):
            continue
        fair = _fair(before.said, now.said, number, terms)
        far = float(away[number]) * fair
        verdict = judge(usual[:, number], far, level=levels.others, least=least)
        samples = int(now.said.counts[:, :, number].sum())
        yield _finding(name, signal, samples, mean[number], float(away[number]), verdict)
    if before.looks is not None and now.looks is not None and now.looks.samples:
        yield _appearance(name, before.looks, now.looks, levels.appearance, terms)


def _appearance(name: str, before: Blocks, now: Blocks, level: float, terms: Terms) -> Finding:
    usual, away = usual_residuals(before), residual(before, now)
    away = away * _fair(before, now, 0, terms)
    verdict = judge_length(usual, away, level=level)
    length = float(np.linalg.norm(away))
    expected = float(np.median(np.linalg.norm(usual, axis=1))) if len(usual) else nan
    finding = _finding(name, APPEARANCE, now.samples, length, length - expected, verdict)
    return replace(finding, expected=expected)


def _accuracies(
    reference: Seen, window: Seen, ruler: Ruler, terms: Terms, level: float
) -> Iterator[Finding]:
    """Estimate the accuracy, and measure it where people have labelled."""
    said = window.streams[CAMERA].said
    if said.samples:
        before = reference.streams[CAMERA].said
        away = residual(before, said)[: -len(CONFIDENCES)] * _fair(before, said, 0, terms)
        steady = steadiness(away, kind=ruler.words.kind)
        words = np.append(_means(said)[-len(CONFIDENCES) :], steady)
        amount = Amount(said.samples, _hours_of_regions(window))
        estimate = ruler.estimate(words, _place(reference, window, ruler), amount)
        error = (estimate.high - estimate.low) / 2 / student_quantile(0.95, ruler.line.degrees)
        finding = Finding(
            *(CAMERA, ACCURACY, said.samples, estimate.value, ruler.accuracy),
            low=estimate.low,
            high=estimate.high,
        )
        yield _lost(finding, error, ruler, terms, student_quantile(1 - level, ruler.line.degrees))
    if window.right.samples:
        yield _measured(window.right, ruler, terms, student_quantile(1 - level, 1000))


def _place(reference: Seen, window: Seen, ruler: Ruler) -> Floats:
    """Say where a window's pictures lie beside those of the reference."""
    before, now = reference.streams[CAMERA].looks, window.streams[CAMERA].looks
    looks = np.full(ruler.line.places.shape[1] - 1, nan)
    if before is not None and now is not None:
        looks = _beyond_chance(usual_residuals(before), residual(before, now))
    shift = residual(reference.frames, window.frames)[list(FRAME_SIGNALS).index("shift_share")]
    return place_of(looks, max(0.0, float(np.nan_to_num(shift))) / ruler.region_share)


def _beyond_chance(usual: Floats, away: Floats) -> Floats:
    """Shorten a distance by what days of the reference have by chance (James and Stein, 1961).

    NaN where no two days of it can be compared.
    """
    squares = (usual**2).sum(axis=1)
    told = squares[~np.isnan(squares)]
    chance = float(told.mean()) if len(told) else nan
    return np.asarray(away * np.maximum(0.0, 1 - chance / max(float((away**2).sum()), 1e-12)))


def _lost(finding: Finding, error: float, ruler: Ruler, terms: Terms, limit: float) -> Finding:
    """Say whether an accuracy is so much lower that it matters and is no chance."""
    drop = ruler.accuracy - finding.value
    score = -drop / max(np.hypot(error, ruler.error), 1e-9)
    state: State = "drift" if -score > limit and drop > terms.max_drop else "ok"
    return replace(finding, score=float(score), limit=limit, state=state)


def _cells(blocks: Blocks) -> int:
    return max(1, int((blocks.counts[:, :, 0] > 0).sum()))


def _hours_of_regions(window: Seen) -> int:
    """Count the hours of regions that a window has samples of."""
    regions = [one.said for name, one in window.streams.items() if name != CAMERA]
    return sum(map(_cells, regions or [window.streams[CAMERA].said]))


def _measured(right: Blocks, ruler: Ruler, terms: Terms, limit: float) -> Finding:
    """Measure the accuracy on the labels of the window."""
    value = float(_means(right)[0])
    error = ruler.by_chance(value, Amount(right.samples, _cells(right)))
    reach = student_quantile(0.95, 1000) * error
    finding = Finding(
        *(CAMERA, MEASURED, right.samples, value, ruler.accuracy),
        low=max(0.0, value - reach),
        high=min(1.0, value + reach),
    )
    return _lost(finding, error, ruler, terms, limit)


def _means(blocks: Blocks) -> Floats:
    return ratio(blocks.sums.sum(axis=(0, 1)), blocks.counts.sum(axis=(0, 1)))


def _finding(
    region: str, signal: str, samples: int, value: float, away: float, verdict: Verdict
) -> Finding:
    return Finding(
        *(region, signal, samples, float(value), float(value) - away),
        score=verdict.score,
        limit=verdict.limit,
        state=verdict.state,
    )


def drifting(findings: Sequence[Finding]) -> list[Finding]:
    """Give the findings that are changes, the furthest away first."""
    found = [finding for finding in findings if finding.state == "drift"]
    return sorted(found, key=lambda one: -_ratio(one))


def _ratio(finding: Finding) -> float:
    told = abs(finding.score) / finding.limit if finding.limit else nan
    return 0.0 if np.isnan(told) else told


def missed(findings: Sequence[Finding]) -> list[Finding]:
    """Say of a camera whose frames are overdue that it is silent, however few hours it has been.

    How many frames its last hours had tells less than that the next one does not come.
    """
    counted = [one for one in findings if (one.region, one.signal) == (CAMERA, FRAMES)]
    others = [one for one in findings if (one.region, one.signal) != (CAMERA, FRAMES)]
    nothing = Finding(CAMERA, FRAMES, 0, 0.0, 1.0)
    return [*others, *(replace(one, state="drift") for one in counted or [nothing])]
