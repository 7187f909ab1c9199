"""Plots of answers as PNG and SVG files for slides and papers (matplotlib behind it)."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from besana.errors import MissingExtraError
from besana.storage import open_storage
from besana.web.language import text
from besana.web.render import visible
from besana.web.timeline import COLOURS, FURTHER_COLOURS, UNKNOWN, Day, Share, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNKNOWN_LOOK: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": "#8a8f86",
    "hatch": "////",
    "linewidth": 0.0,
}


def check_matplotlib() -> None:
    """Make sure that plots can be drawn, before a stage has worked for nothing.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401  # asked for by name, to say what to install
    except ImportError:
        raise MissingExtraError(
            "Plots need matplotlib.", 'Run: pip install "besana[train]", or set plots = false'
        ) from None


def file_name(words: str) -> str:
    """Turn a camera's name into a part of a file name that every system takes.

    Names that differ only in what is replaced get another ending.

    >>> file_name("pen-a")
    'pen-a'
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", words).strip("._")[:60]
    if plain == words:
        return plain
    return f"{plain}-{hashlib.sha256(words.encode(errors='surrogatepass')).hexdigest()[:6]}"


def save_ethogram(
    days: Sequence[Day], states: Sequence[str], folder: Path, name: str, language: str
) -> list[Path]:
    """Draw a bar a region and day from midnight to midnight.

    Args:
        days: The days, oldest first.
        states: Names of the states, by number.
        folder: Where the files go.
        name: Name of the files without ending.
        language: `en` or `es`.

    Returns:
        The PNG and the SVG file.
    """
    rows = [(day, row) for day in days for row in day.rows]
    figure, axes = _figure(10, 1.2 + 0.22 * len(rows))
    for y, (_, row) in enumerate(rows):
        for number in sorted({int(state) for state in row.states}):
            inside = row.states == number
            spans = np.stack([row.edges_h[:-1][inside], np.diff(row.edges_h)[inside]], axis=1)
            axes.broken_barh(spans.tolist(), (y - 0.4, 0.8), **_look(states, number))
    # A day's name stands once, beside its first bed.
    labels = [f"{day.name}   {row.name}" if row is day.rows[0] else row.name for day, row in rows]
    _name_rows(axes, labels)
    hours = max([24.0, *(float(row.edges_h[-1]) for _, row in rows)])
    axes.set_xlim(0, hours)
    axes.set_xticks(range(0, 25, 3), [f"{hour} h" for hour in range(0, 25, 3)])
    _legend(axes, states, language)
    return _save(figure, folder, name)


def save_mean_days(
    regions: Mapping[str, Sequence[float]],
    states: Sequence[str],
    folder: Path,
    name: str,
    language: str,
) -> list[Path]:
    """Draw how a mean day of each region is made up; arguments as for `save_ethogram`.

    Args:
        regions: Region -> hours a day in each state, then unknown hours.
        states: Names of the states.
        folder: Where the files go.
        name: Name of the files without ending.
        language: `en` or `es`.
    """
    figure, axes = _figure(10, 1.2 + 0.4 * len(regions))
    left = np.zeros(len(regions))
    table = np.array(list(regions.values()), dtype=np.float64)
    for number in range(table.shape[1]):
        known = number if number < len(states) else -1
        axes.barh(
            np.arange(len(regions)), table[:, number], 0.75, left=left, **_look(states, known)
        )
        left += table[:, number]
    _name_rows(axes, list(regions))
    axes.set_xlim(0, max(float(left.max(initial=0.0)), 1e-9))
    axes.set_xlabel(text("Hours a day", language))
    _legend(axes, states, language)
    return _save(figure, folder, name)


def save_shares(shares: Sequence[Share], folder: Path, name: str, language: str) -> list[Path]:
    """Draw shares as bars with their intervals; arguments as for `save_ethogram`."""
    figure, axes = _figure(8, 1.0 + 0.4 * len(shares))
    for y, share in enumerate(shares):
        axes.barh(y, 100 * share.value, 0.7, color=FURTHER_COLOURS[y % len(FURTHER_COLOURS)])
        if math.isfinite(share.low):
            reach = [[100 * (share.value - share.low)], [100 * (share.high - share.value)]]
            axes.errorbar(100 * share.value, y, xerr=reach, color="black", capsize=3, linewidth=1)
    _name_rows(axes, [share.name for share in shares])
    axes.set_xlim(left=0)
    axes.set_xlabel(text("Share of the area, %", language))
    return _save(figure, folder, name)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, max(height, 1.8)), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)
    return figure, axes


def _look(states: Sequence[str], number: int) -> dict[str, Any]:
    if number < 0:
        return dict(_UNKNOWN_LOOK)
    return {"facecolor": colour(states[number], number), "linewidth": 0.0}


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [visible(name) for name in names])
    for label in axes.get_yticklabels():
        # A "$" in somebody's name is no formula.
        label.set_parse_math(False)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _legend(axes: Axes, states: Sequence[str], language: str) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(
            label=text(state, language) if state in COLOURS else visible(state),
            **_look(states, number),
        )
        for number, state in enumerate(states)
    ]
    patches.append(Patch(label=text(UNKNOWN, language), **_look(states, -1)))
    legend = axes.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False
    )
    for label in legend.get_texts():
        label.set_parse_math(False)


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write both files, each whole or not at all."""
    target = open_storage(folder)
    paths = []
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # A name may hold letters that matplotlib's font lacks; it then draws boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(
                buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None
            )
        target.write(f"{name}.{kind}", buffer.getvalue())
        paths.append(folder / f"{name}.{kind}")
    return paths
