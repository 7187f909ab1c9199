"""Pictures of answers: what each bed was in hour by hour, mean days, shares with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from besana.web.language import LANGUAGES, spanish_number, text
from besana.web.render import visible

# Okabe and Ito (2008): told apart by people with any kind of colour blindness. Lying is dark and
# standing light, so that they differ in a black-and-white print as well.
COLOURS = {"lying": "#0072B2", "standing": "#E69F00", "empty": "#DAD7CB", "other": "#009E73"}
FURTHER_COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7D827B")
UNKNOWN = "unknown"

# Unknown time is hatched: it must not pass for one more state, whatever the colours.
_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<path d="M-1 1 1-1M0 6 6 0M5 7 7 5" stroke="#8a8f86" stroke-width="1.1" fill="none"/>'
    "</pattern></defs>"
)

WIDTH = 960
LEFT, DAYS_LEFT, RIGHT, TOP = 180, 215, 16, 46
ROW, BAR = 17, 13
DAY_GAP = 9
MOST_ROWS = 120


@dataclass(frozen=True)
class Row:
    """What one region was in during one day.

    Attributes:
        name: The region.
        edges_h: (spans + 1,) hours since local midnight.
        states: (spans,) number of the state in the legend; -1 for unknown.
    """

    name: str
    edges_h: NDArray[np.float64]
    states: NDArray[np.int64]


@dataclass(frozen=True)
class Day:
    """All regions of one camera during one local day."""

    name: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1 with its interval, NaN where it has none."""

    name: str
    value: float
    low: float
    high: float


def days_that_fit(regions: int, wanted: int) -> int:
    """Tell how many days one picture can hold with so many regions."""
    return max(1, min(wanted, MOST_ROWS // max(regions, 1)))


def colour(state: str, number: int) -> str:
    """Give the colour of a state; a class that is no posture takes the next free one."""
    return COLOURS.get(state) or FURTHER_COLOURS[number % len(FURTHER_COLOURS)]


def ethogram_svg(days: Sequence[Day], states: Sequence[str]) -> dict[str, str]:
    """Draw a bar a region and day from midnight to midnight, in both languages.

    Args:
        days: The days, oldest first.
        states: Names of the states, by number.
    """
    return {language: _ethogram(days, states, language) for language in LANGUAGES}


def mean_day_svg(regions: Mapping[str, Sequence[float]], states: Sequence[str]) -> dict[str, str]:
    """Draw how a mean day of each region is made up, in both languages.

    Args:
        regions: Region -> hours a day in each state, then unknown hours.
        states: Names of the states.
    """
    return {language: _mean_days(regions, states, language) for language in LANGUAGES}


def share_svg(shares: Sequence[Share]) -> dict[str, str]:
    """Draw shares as bars with their intervals, in both languages."""
    return {language: _shares(shares, language) for language in LANGUAGES}


def _ethogram(days: Sequence[Day], states: Sequence[str], language: str) -> str:
    width = WIDTH - DAYS_LEFT - RIGHT
    hours = max([24.0, *(float(row.edges_h[-1]) for day in days for row in day.rows)])
    parts = [_legend(states, language, DAYS_LEFT), _hour_names(34, width / hours)]
    y = TOP
    for day in days:
        parts.append(_words(2, y + BAR - 2, visible(day.name), "plot-day"))
        parts.append(_hour_lines(y, len(day.rows) * ROW, width / hours))
        for row in day.rows:
            parts.append(
                _words(DAYS_LEFT - 8, y + BAR - 2, _short(row.name, 17), "plot-label", "end")
            )
            parts += _spans(row, states, y, width / hours)
            y += ROW
        y += DAY_GAP
    parts.append(_hour_names(y + 6, width / hours))
    return _svg(y + 14, "".join(parts))


def _hour_names(y: float, scale: float) -> str:
    return "".join(
        _words(DAYS_LEFT + hour * scale, y, f"{hour} h", "plot-quiet", "middle")
        for hour in range(0, 25, 3)
    )


def _spans(row: Row, states: Sequence[str], y: float, scale: float) -> Iterable[str]:
    """Draw all spans of one state as one path: a day of flickering states stays small."""
    for number in sorted({int(state) for state in row.states}):
        inside = row.states == number
        path = "".join(
            f"M{DAYS_LEFT + start * scale:.1f} {y}h{(end - start) * scale:.1f}v{BAR}"
            f"h-{(end - start) * scale:.1f}z"
            for start, end in zip(row.edges_h[:-1][inside], row.edges_h[1:][inside], strict=True)
        )
        yield f'<path d="{path}" {_fill(states, number)}/>'


def _hour_lines(y: float, height: float, scale: float) -> str:
    lines = "".join(
        f"M{DAYS_LEFT + hour * scale:.1f} {y - 3}v{height + 2}" for hour in range(0, 25, 3)
    )
    return f'<path d="{lines}" class="plot-line"/>'


def _mean_days(regions: Mapping[str, Sequence[float]], states: Sequence[str], language: str) -> str:
    width = WIDTH - LEFT - RIGHT
    parts = [_legend(states, language, LEFT)]
    y = TOP - 16
    for region, hours in regions.items():
        parts.append(_words(LEFT - 8, y + 18, _short(region), "plot-label", "end"))
        x, scale = float(LEFT), width / max(sum(hours), 1e-9)
        for number, value in enumerate(hours):
            known = number < len(states)
            parts.append(_bar(x, y, value * scale, 26, _fill(states, number if known else -1)))
            if value * scale > 46:
                ink = "plot-dark" if not known or states[number] == "lying" else "plot-light"
                ink = "plot-over" if not known else ink
                parts.append(
                    _words(x + value * scale / 2, y + 18, _hours(value, language), ink, "middle")
                )
            x += value * scale
        y += 34
    return _svg(y + 2, "".join(parts))


def _shares(shares: Sequence[Share], language: str) -> str:
    width = WIDTH - LEFT - RIGHT - 90
    parts = []
    most = max([0.01, *(max(s.value, s.high if math.isfinite(s.high) else 0) for s in shares)])
    scale = width / min(1.0, _rounded_up(most))
    y = 6
    for number, share in enumerate(shares):
        parts.append(_words(LEFT - 8, y + 16, _short(share.name), "plot-label", "end"))
        fill = f'fill="{FURTHER_COLOURS[number % len(FURTHER_COLOURS)]}"'
        parts.append(_bar(LEFT, y, share.value * scale, 22, fill))
        end = share.value * scale
        if math.isfinite(share.low):
            low, high = LEFT + share.low * scale, LEFT + share.high * scale
            parts.append(
                f'<path class="plot-whisker" d="M{low:.1f} {y + 11}H{high:.1f}'
                f'M{low:.1f} {y + 6}v10M{high:.1f} {y + 6}v10"/>'
            )
            end = max(end, share.high * scale)
        parts.append(_words(LEFT + end + 8, y + 16, _percent(share.value, language), "plot-label"))
        y += 31
    return _svg(y, "".join(parts))


def _legend(states: Sequence[str], language: str, left: float) -> str:
    parts, x = [], left
    for number, state in enumerate([*states, UNKNOWN]):
        name = text(state, language) if state in (*COLOURS, UNKNOWN) else visible(state)
        fill = _fill(states, number if number < len(states) else -1)
        parts.append(_bar(x, 4, 14, 14, fill))
        parts.append(_words(x + 20, 16, name, "plot-label"))
        x += 42 + 7.2 * len(name)
    return "".join(parts)


def _fill(states: Sequence[str], number: int) -> str:
    """Fill by class, which the page colours for light and dark, with a colour of its own beside."""
    if number < 0:
        return 'class="plot-unknown" fill="url(#hatch)"'
    name = states[number] if states[number] in COLOURS else "class"
    return f'class="plot-{name}" fill="{colour(states[number], number)}"'


def _bar(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" {fill}/>'


def _words(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" class="{style}" text-anchor="{anchor}" font-size="13">'
        f"{escape(words)}</text>"
    )


def _svg(height: float, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}">{_HATCH}{content}</svg>'
    )


def _short(name: str, most: int = 23) -> str:
    shown = visible(name)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _hours(value: float, language: str) -> str:
    return _in_language(f"{value:.1f} h", language)


def _percent(value: float, language: str) -> str:
    return _in_language(f"{100 * value:.1f} %", language)


def _in_language(number: str, language: str) -> str:
    return spanish_number(number) if language == "es" else number


def _rounded_up(share: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten, so that small shares fill the picture."""
    power = float(10.0 ** math.floor(math.log10(share)))
    return next(step * power for step in (1, 2, 5, 10) if share <= step * power)
