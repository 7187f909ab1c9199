"""Curves of a training as drawings for a report page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from besana.web.language import LANGUAGES, spanish_number, text
from besana.web.timeline import FURTHER_COLOURS

WIDTH, HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 44
_COLOURS = ("#0072B2", "#D55E00", *FURTHER_COLOURS)


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: An English phrase or a report's key; pages translate it.
        x: Where each value stands, in rising order.
        y: The values; NaN leaves a gap.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def draw_lines(
    lines: Sequence[Line], x_title: str, *, mark_x: float | None = None, logarithmic: bool = False
) -> dict[str, str]:
    """Draw curves over one axis, one drawing a language.

    Args:
        lines: The curves, at least one with a value.
        x_title: What the horizontal axis counts, an English phrase.
        mark_x: Where a dashed line marks what was chosen; None for no such line.
        logarithmic: Whether the horizontal axis is, for values above 0.
    """
    frame = _Frame.around(lines, logarithmic=logarithmic)
    return {language: _drawing(lines, x_title, frame, mark_x, language) for language in LANGUAGES}


@dataclass(frozen=True)
class _Frame:
    """Where values stand in the drawing."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    logarithmic: bool

    @staticmethod
    def around(lines: Sequence[Line], *, logarithmic: bool) -> _Frame:
        xs = [math.log10(x) if logarithmic else x for line in lines for x in line.x]
        ys = [y for line in lines for y in line.y if math.isfinite(y)]
        low, high = min(ys, default=0.0), max(ys, default=1.0)
        step = _step(high - low or abs(high) or 1.0)
        low_y = math.floor(low / step) * step
        high_y = max(math.ceil(high / step) * step, low_y + step)
        low_x, high_x = min(xs), max(xs)
        return _Frame(low_x, max(high_x, low_x + 1e-9), low_y, high_y, logarithmic)

    def x(self, value: float) -> float:
        placed = math.log10(value) if self.logarithmic else value
        share = (placed - self.low_x) / (self.high_x - self.low_x)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low_y) / (self.high_y - self.low_y)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def ticks_y(self) -> list[float]:
        step = _step(self.high_y - self.low_y)
        first = round(self.low_y / step)
        count = round((self.high_y - self.low_y) / step)
        return [(first + i) * step for i in range(count + 1)]


def _drawing(
    lines: Sequence[Line], x_title: str, frame: _Frame, mark_x: float | None, language: str
) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-size="12" role="img">',
        *_grid(frame, language),
        *_axis(lines, x_title, frame, language),
    ]
    if mark_x is not None:
        x = frame.x(mark_x)
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{HEIGHT - _BOTTOM}" '
            'stroke="#7D827B" stroke-dasharray="4 4"/>'
        )
    left = float(_LEFT)
    for line, colour in zip(lines, _COLOURS, strict=False):
        parts += _curve(line, frame, colour)
        name = text(line.name, language)
        parts.append(f'<rect x="{left:.1f}" y="10" width="16" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{left + 22:.1f}" y="16">{escape(name)}</text>')
        left += 44 + 6.6 * len(name)
    return "".join([*parts, "</svg>"])


def _curve(line: Line, frame: _Frame, colour: str) -> list[str]:
    points = [
        (frame.x(x), frame.y(y)) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)
    ]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = [f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>']
    drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in points]
    return drawn


def _grid(frame: _Frame, language: str) -> list[str]:
    parts = []
    for value in frame.ticks_y():
        y = frame.y(value)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" '
            'stroke="#8a8f86" stroke-opacity="0.35"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_number(value, language)}</text>"
        )
    return parts


def _axis(lines: Sequence[Line], x_title: str, frame: _Frame, language: str) -> list[str]:
    values = sorted({x for line in lines for x in line.x})
    every = max(1, math.ceil(len(values) / 12))
    parts = [
        f'<text x="{frame.x(value):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
        f"{_number(value, language)}</text>"
        for value in values[::every]
    ]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    title = escape(text(x_title, language))
    return [
        *parts,
        f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{title}</text>',
    ]


def _step(span: float) -> float:
    """Choose 1, 2 or 5 times a power of ten, so that there are three to eight lines."""
    power = 10.0 ** math.floor(math.log10(span / 3))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 8)


def _number(value: float, language: str) -> str:
    shown = f"{value:.4g}"
    return spanish_number(shown) if language == "es" else shown
