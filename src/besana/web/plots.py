"""Plots of how good a classifier is, as SVG for a page (matplotlib behind it)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from besana.web.language import LANGUAGES, spanish_number, text
from besana.web.render import visible
from besana.web.values import number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREY = "#3f7cac", "#c8553d", "#8a8f86"
_MOST_NUMBERED = 20


def confusion_plot(matrix: NDArray[np.integer], classes: Sequence[str]) -> dict[str, str]:
    """Draw a confusion matrix: shades are shares of the true class, numbers are samples.

    Args:
        matrix: (classes, classes), truth first.
        classes: Names of the classes.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.55 * len(classes)

    def draw(language: str) -> Figure:
        figure, axes = _figure(side + 0.8, side)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if len(classes) <= _MOST_NUMBERED:
            for (row, column), count in np.ndenumerate(matrix):
                dark = share[row, column] > 0.55
                axes.text(
                    column,
                    row,
                    number_text(int(count), language),
                    ha="center",
                    va="center",
                    color="#ffffff" if dark else "#26303a",
                )
        names = [visible(name) for name in classes]
        turn = 45 if max(map(len, names)) * len(names) > 24 else 0
        axes.set_xticks(range(len(names)), names, rotation=turn, ha="right" if turn else "center")
        axes.set_yticks(range(len(names)), names)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            # A "$" in somebody's name is no formula.
            label.set_parse_math(False)
        axes.set_xlabel(text("Predicted", language))
        axes.set_ylabel(text("label", language))
        return figure

    return _in_languages(draw)


def reliability_plot(bins: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Draw how often the model is right against how sure it is (Guo et al., 2017, figure 1).

    Args:
        bins: Of each bin that is not empty `samples`, `confidence` and `accuracy`.
    """
    confidence, accuracy, samples = (
        np.array([one[key] for one in bins]) for key in ("confidence", "accuracy", "samples")
    )

    def draw(language: str) -> Figure:
        figure, axes = _figure(4.6, 4.2)
        low = min(0.5, float(confidence.min()), float(accuracy.min()))
        axes.plot([low, 1], [low, 1], color=_GREY, linestyle="--", linewidth=1)
        area = 12 + 240 * samples / samples.max()
        axes.scatter(
            confidence, accuracy, s=area, color=_BLUE, alpha=0.75, linewidth=0, clip_on=False
        )
        axes.plot(confidence, accuracy, color=_BLUE, linewidth=1)
        axes.set_xlim(low - 0.02, 1.02)
        axes.set_ylim(low - 0.02, 1.02)
        axes.set_xlabel(text("How sure the model is", language))
        axes.set_ylabel(text("How often it is right", language))
        _write_numbers(language, axes.xaxis, axes.yaxis)
        return figure

    return _in_languages(draw)


def interval_plot(
    rows: Sequence[tuple[str, float, float, float]], *, marked: int | None = None
) -> dict[str, str]:
    """Draw shares with their intervals, one below the other.

    Args:
        rows: Phrase or name, value, low and high, 0 to 1; NaN ends where nobody knows them.
        marked: Number of a row to set apart.
    """

    def draw(language: str) -> Figure:
        figure, axes = _figure(7.0, 0.9 + 0.38 * len(rows))
        for y, (_, value, low, high) in enumerate(rows):
            colour = _ORANGE if y == marked else _BLUE
            axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=2)
            axes.plot([100 * value], [y], color=colour, marker="o", markersize=7)
        axes.set_yticks(range(len(rows)), [text(visible(row[0]), language) for row in rows])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(text("Accuracy, %", language))
        axes.grid(axis="x", color=_GREY, alpha=0.25)
        _write_numbers(language, axes.xaxis)
        return figure

    return _in_languages(draw)


def _write_numbers(language: str, *axes: Axis) -> None:
    """Write the numbers along axes as a language does."""
    from matplotlib.ticker import ScalarFormatter

    class Spanish(ScalarFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return spanish_number(super().__call__(x, pos))

    for axis in axes if language == "es" else ():
        axis.set_major_formatter(Spanish())


def _in_languages(draw: Callable[[str], Figure]) -> dict[str, str]:
    return {language: _svg(draw(language)) for language in LANGUAGES}


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    # Letters stay letters, so that a page can be searched and its font is used.
    letters = mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "besana"})
    with letters, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
