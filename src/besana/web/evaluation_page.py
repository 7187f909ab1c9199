"""What a page shows of an evaluation: tables, plots, and the pictures that went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from besana.console import percent
from besana.errors import CorruptDataError
from besana.statistics.evaluation import Judged
from besana.statistics.metrics import label_error_candidates
from besana.storage import Storage
from besana.web.plots import confusion_plot, interval_plot, reliability_plot
from besana.workspace import Picture, Plot, Scalar, Section, Table

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest, Positions

_FIGURE_COLUMNS = ("value_share", "low_share", "high_share")
# More classes than this make a plot that nobody can read; the table of classes stays.
_MOST_PLOTTED = 60


def evaluation_sections(figures: Mapping[str, Any]) -> Iterator[Section]:
    """Turn the figures of `evaluation.json` into what a page shows."""
    yield Table(
        "How good the model is",
        ["metric", *_FIGURE_COLUMNS],
        [[name, *_figure(figure)] for name, figure in figures["metrics"].items()],
        f"From {figures['samples']:,} samples in {figures['groups']:,} groups. Intervals hold the"
        f" true value in {percent(figures['level'], 0)} of such tests; they come from drawing whole"
        " groups, because frames of one hour resemble each other.",
    )
    yield from _promises(figures["promises"])
    yield _classes(figures["classes"])
    names = figures["class_names"]
    if figures["kind"] == "single" and len(names) <= _MOST_PLOTTED:
        matrix = np.array(figures["confusion"])
        yield Plot(
            "What is taken for what",
            confusion_plot(matrix, names),
            "Numbers are samples; the darker, the larger the share of the labelled class.",
        )
    yield Plot(
        "Can its probabilities be believed?",
        reliability_plot(figures["reliability"]),
        "On the dashed line the model is as often right as it claims; below it, it claims too"
        " much. Larger dots stand for more samples.",
    )
    for name, title in (
        ("light", "By light"),
        ("camera", "By camera"),
        ("region", "By region"),
        ("hour", "By hour of the day"),
    ):
        if name in figures["slices"]:
            yield _slice(title, name, figures["slices"][name])


def _promises(promises: Sequence[Mapping[str, Any]]) -> Iterator[Section]:
    lights = sorted({name for one in promises for name in one.get("light", {})})
    rows: list[list[Scalar]] = [
        [one["way"], *_figure(one["accuracy"]), *(one.get("light", {}).get(n) for n in lights)]
        for one in promises
    ]
    yield Table(
        "What each way of testing promises",
        ["way_of_testing", *_FIGURE_COLUMNS, *(f"{name}_share" for name in lights)],
        rows,
        "Accuracy. A random split tests on near-copies of what was trained on; only groups that"
        " never cross tell what to expect of days and places to come.",
    )
    if len(promises) > 1:
        told = [
            (one["way"], *(np.nan if v is None else v for v in _figure(one["accuracy"])))
            for one in promises
        ]
        yield Plot("Accuracy by way of testing", interval_plot(told, marked=len(told) - 1))


def _classes(classes: Mapping[str, Mapping[str, Any]]) -> Table:
    metrics = [name for name in next(iter(classes.values())) if name != "samples"]
    columns = ["class", "samples"]
    for metric in metrics:
        columns += [f"{metric}_share", f"{metric}_low_share", f"{metric}_high_share"]
    rows: list[list[Scalar]] = []
    for name, of_class in classes.items():
        figures = [value for metric in metrics for value in _figure(of_class[metric])]
        rows.append([name, of_class["samples"], *figures])
    return Table("Each class", columns, rows)


def _slice(title: str, name: str, parts: Mapping[str, Mapping[str, Any]]) -> Table:
    balanced = "balanced_accuracy" in next(iter(parts.values()))
    columns = [name, "samples", "groups", "accuracy_share", "low_share", "high_share"]
    rows: list[list[Scalar]] = []
    for value, part in parts.items():
        row: list[Scalar] = [value, part["samples"], part["groups"], *_figure(part["accuracy"])]
        if balanced:
            row.append(part["balanced_accuracy"]["value"])
        rows.append(row)
    return Table(title, [*columns, "balanced_accuracy_share"] if balanced else columns, rows)


def _figure(figure: Mapping[str, float | None]) -> tuple[float | None, ...]:
    return figure["value"], figure["low"], figure["high"]


@dataclass(frozen=True)
class Doubt:
    """A sample that the model and its label do not agree on.

    Attributes:
        sample: Its number among those judged.
        words: Label, prediction and how sure the model is.
    """

    sample: int
    words: str


def mistakes_of(judged: Judged) -> list[Doubt]:
    """List wrong predictions, the surest first."""
    p, names = judged.probability, judged.classes
    if judged.is_multi:
        rows, columns = np.nonzero(judged.truth != judged.predicted)
        order = np.argsort(-np.abs(p[rows, columns] - judged.truth[rows, columns]), kind="stable")
        pairs = zip(rows[order].tolist(), columns[order].tolist(), strict=True)
        return [Doubt(i, _multi_words(judged, i, j)) for i, j in pairs]
    rows = np.flatnonzero(judged.truth != judged.predicted)
    margin = p[rows, judged.predicted[rows]] - p[rows, judged.truth[rows]]
    return [
        Doubt(i, _words(names[judged.truth[i]], names[judged.predicted[i]], p[i].max()))
        for i in rows[np.argsort(-margin, kind="stable")].tolist()
    ]


def doubted_labels(judged: Judged) -> list[Doubt]:
    """List labels that are probably wrong, the surest first (confident learning)."""
    p, names = judged.probability, judged.classes
    if not judged.is_multi:
        found, _ = label_error_candidates(judged.truth, p)
        return [
            Doubt(i, _words(names[judged.truth[i]], names[int(p[i].argmax())], p[i].max()))
            for i in found.tolist()
        ]
    doubts = []
    for j in range(len(names)):
        binary = np.stack([1 - p[:, j], p[:, j]], axis=1)
        found, margins = label_error_candidates(judged.truth[:, j].astype(np.int64), binary)
        doubts += [
            (-margin, Doubt(i, _multi_words(judged, i, j)))
            for i, margin in zip(found.tolist(), margins.tolist(), strict=True)
        ]
    return [doubt for _, doubt in sorted(doubts, key=lambda pair: pair[0])]


def _words(label: str, predicted: str, probability: float) -> str:
    return f"{label} → {predicted} {percent(probability, 0)}"


def _multi_words(judged: Judged, sample: int, number: int) -> str:
    sign = "+" if judged.truth[sample, number] else "-"
    return f"{sign} {judged.classes[number]} → {percent(judged.probability[sample, number], 0)}"


def sample_pictures(
    shards: Storage, manifest: Manifest, positions: Positions, captions: Sequence[str]
) -> list[Picture]:
    """Read the pictures of some samples out of their shards; those that cannot be are left out.

    Args:
        shards: Where the shards lie.
        manifest: What the positions mean.
        positions: The samples, a page full.
        captions: What to write below each.
    """
    pictures = []
    for position, caption in zip(positions, captions, strict=True):
        place = manifest.location(int(position))
        data = shards.read_range(
            place.shard, place.payload_offset_bytes, place.payload_length_bytes
        )
        try:
            pictures.append(Picture(_as_jpeg(data), caption))
        except CorruptDataError:
            continue
    return pictures


def _as_jpeg(data: bytes) -> bytes:
    if data.startswith(b"\xff\xd8"):
        return data
    from besana.images.decode import decode
    from besana.images.encode import encode_jpeg

    pixels = decode(data).pixels
    if pixels.dtype != np.uint8:
        high = max(float(pixels.max()), 1.0)
        pixels = (pixels.astype(np.float32) * (255 / high)).astype(np.uint8)
    shown = pixels if pixels.shape[2] in (1, 3) else pixels[:, :, :1]
    return encode_jpeg(shown)
