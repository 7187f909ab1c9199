"""Turn the figures of all rounds into tables and a plot."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Rows = list[dict[str, str]]
REFERENCE = "tf_data"
_CEILINGS = {
    "besana_native_parts": "bare_parts",
    "besana_native_plain": "bare_plain",
    "besana_process": "bare_parts",
    "besana_parts": "bare_parts",
    "besana_plain": "bare_plain",
}


def write_report(folder: Path) -> None:
    """Write `loader.md` and `loader.svg` beside `loader.csv` and `loader.json`."""
    with (folder / "loader.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    about = json.loads((folder / "loader.json").read_text())
    groups = list(dict.fromkeys(row["group"] for row in rows))
    parts = [f"{about['machine']}; Python {about['python']}."]
    parts += [_table(name, [row for row in rows if row["group"] == name]) for name in groups]
    parts.append(_contenders(about["contenders"]))
    (folder / "loader.md").write_text("\n\n".join(parts) + "\n")
    (folder / "loader.svg").write_text(_plot([row for row in rows if "-real" not in row["group"]]))


def _entries(rows: Rows) -> dict[tuple[str, str, str], dict[str, dict[str, str]]]:
    """Sort rows by entry and round."""
    found: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        key = row["contender"], row["pictures"], row["workers"]
        found.setdefault(key, {})[row["round"]] = row
    return found


def _rate(row: dict[str, str]) -> float:
    return float(row["pictures_per_s"])


def _by_cpu(row: dict[str, str]) -> float:
    return 1000 / float(row["cpu_ms"])


def _ratio(
    one: dict[str, dict[str, str]],
    other: dict[str, dict[str, str]],
    rate: Callable[[dict[str, str]], float] = _rate,
) -> str:
    """Give the median of the ratios of same rounds, with the least and the greatest."""
    shared = [round_at for round_at in one if round_at in other]
    ratios = [rate(one[round_at]) / rate(other[round_at]) for round_at in shared]
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _table(name: str, rows: Rows) -> str:
    entries = _entries(rows)
    by_name = {key[0]: rounds for key, rounds in entries.items()}
    first = next(iter(entries.values()))
    reference = by_name.get(REFERENCE, first)
    against = REFERENCE if REFERENCE in by_name else "the first"
    lines = [
        f"## {name}",
        "",
        f"| contender | pictures | threads | pictures/s | of {against} | the same by CPU "
        "| of its ceiling | the same by CPU | CPU, ms | memory, MB | first batch, s "
        "| rounds, load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (contender, pictures, workers), rounds in sorted(
        entries.items(), key=lambda item: -_median(item[1], "pictures_per_s")
    ):
        ceiling = by_name.get(_CEILINGS.get(contender, ""), {})
        loads = [float(row["load"]) for row in rounds.values()]
        cells = (
            *(contender, pictures, workers, f"{_median(rounds, 'pictures_per_s'):,.0f}"),
            *(_ratio(rounds, reference), _ratio(rounds, reference, _by_cpu)),
            *(_ratio(rounds, ceiling), _ratio(rounds, ceiling, _by_cpu)),
            f"{_median(rounds, 'cpu_ms'):.2f}",
            f"{_median(rounds, 'memory_mb'):,.0f}",
            f"{_median(rounds, 'first_s'):.2f}",
            f"{len(rounds)}, {min(loads):.1f} to {max(loads):.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(rounds: dict[str, dict[str, str]], figure: str) -> float:
    return statistics.median(float(row[figure]) for row in rounds.values())


def _contenders(known: dict[str, dict[str, Any]]) -> str:
    lines = [
        "## What was compared",
        "",
        "| contender | versions | settings |",
        "| --- | --- | --- |",
    ]
    for name, facts in known.items():
        if "missing" in facts:
            lines.append(f"| {name} | missing: {facts['missing']} | |")
            continue
        versions = ", ".join(f"{key} {value}" for key, value in facts["versions"].items())
        lines.append(f"| {name} | {versions} | {facts['settings']} |")
    return "\n".join(lines)


def _plot(rows: Rows) -> str:
    """Draw bars of pictures a second of one processor, a panel a group, as SVG."""
    parts, top = [], 8
    for name in dict.fromkeys(row["group"] for row in rows):
        entries = _entries([row for row in rows if row["group"] == name])
        rates = {
            f"{contender}, {pictures}" if "resolution" in name else f"{contender} ({workers})": (
                1000 / _median(rounds, "cpu_ms")
            )
            for (contender, pictures, workers), rounds in entries.items()
        }
        panel, height = _panel(name, rates, top)
        parts += panel
        top += height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{top}" font-size="12" '
    body = "\n".join(parts)
    head += 'font-family="sans-serif">\n<title>Pictures a second of one processor</title>'
    return f"{head}\n{body}\n</svg>\n"


def _panel(name: str, rates: dict[str, float], top: int) -> tuple[Sequence[str], int]:
    most = max(rates.values())
    title = f"{name}: pictures a second of one processor"
    parts = [f'<text x="8" y="{top + 14}" font-weight="bold">{title}</text>']
    for line, (label, rate) in enumerate(sorted(rates.items(), key=lambda item: -item[1])):
        y = top + 24 + 18 * line
        colour = "#2a6f4e" if label.startswith("besana") else "#9aa5a0"
        parts.append(f'<text x="230" y="{y + 12}" text-anchor="end">{label}</text>')
        width = round(400 * rate / most)
        parts.append(f'<rect x="238" y="{y + 2}" width="{width}" height="13" fill="{colour}"/>')
        parts.append(f'<text x="{244 + width}" y="{y + 12}">{rate:,.0f}</text>')
    return parts, 36 + 18 * len(rates)
