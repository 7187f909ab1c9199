"""What `evaluate` measures for a model trained on striped pictures, and what it leaves behind."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from besana.console import percent
from besana.errors import NotReadyError
from besana.stages import clean, collect, evaluate, prepare, split, train
from besana.statistics.evaluation import Judged, measure, measure_slice
from besana.storage import Folder
from besana.web.evaluation_page import doubted_labels, evaluation_sections, mistakes_of
from besana.web.plots import confusion_plot, interval_plot
from besana.web.svg import clean_svg
from besana.workspace import Pictures, Plot, Report, Table, Workspace

CLASSES = ("lying", "standing")
DAYS = 4
PLANTED = 3


def stripes(rng: np.random.Generator, upright: bool, night: bool) -> bytes:
    """Draw stripes of one direction, in colour by day and grey by night."""
    wave = 60 * np.sin(np.arange(48) / 48 * 2 * np.pi * rng.uniform(3, 6) + rng.uniform(0, 6))
    pixels = np.broadcast_to(wave[None, :] if upright else wave[:, None], (48, 48))[..., None]
    colour = np.zeros(3) if night else np.array([40.0, 0.0, -40.0])
    noise = rng.normal(0, 12, (48, 48, 1))
    picture = np.clip(120 + pixels + colour + noise, 0, 255).astype(np.uint8)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=90)


def write_pictures(folder: Path) -> None:
    """Write class folders: 64 pictures a day, the last day with some labels swapped."""
    rng = np.random.default_rng(7)
    for number in range(DAYS * 64):
        day, step = divmod(number, 64)
        upright, night = bool(number % 2), step >= 32
        at = dt.datetime(2024, 3, 1 + day, tzinfo=dt.UTC) + dt.timedelta(minutes=20 * step)
        swapped = day == DAYS - 1 and step in range(5, 5 + PLANTED)
        name = CLASSES[upright != swapped]
        path = folder / name / f"{at:%Y-%m-%dT%H-%M-%S}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stripes(rng, upright, night))


@dataclass(frozen=True)
class Done:
    workspace: Workspace
    report: Report
    figures: dict[str, Any]
    rows: list[dict[str, Any]]


def read(workspace: Workspace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    [folder] = [path.parent for path in workspace.runs.glob("*/evaluation.json")]
    figures = json.loads((folder / "evaluation.json").read_text())
    return figures, pq.read_table(folder / "evaluation.parquet").to_pylist()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("striped")
    write_pictures(folder / "pictures")
    workspace = Workspace.create(folder / "farm")
    engine = workspace.open_engine(workers=1)
    source = {"source": [str(folder / "pictures")], "layout": "classes", "settle_s": 0}
    collect.run(workspace, collect.Config(**source), engine)
    clean.run(workspace, clean.Config(), engine)
    prepare.run(workspace, prepare.Config(), engine)
    with pytest.raises(NotReadyError, match="besana train"):
        evaluate.run(workspace)
    split.run(workspace, split.Config(test_days=1))
    settings = {"strategy": "scratch", "size_px": 32, "epochs": 12, "augment": "none"}
    train.run(workspace, train.Config(**settings))
    report = evaluate.run(workspace)
    return Done(workspace, report, *read(workspace))


def test_evaluate_counts_what_it_judged(done: Done) -> None:
    assert done.report.counts_in == done.report.counts_out == 64
    assert done.figures["samples"] == len(done.rows) == 64
    assert done.figures["groups"] == len({row["group"] for row in done.rows})
    assert {row["captured_at"].date() for row in done.rows} == {dt.date(2024, 3, DAYS)}


def test_evaluate_figures_are_those_of_its_rows(done: Done) -> None:
    right = np.array([row["label"] == row["predicted"] for row in done.rows])
    accuracy = done.figures["metrics"]["accuracy"]
    assert accuracy["value"] == pytest.approx(right.mean(), abs=1e-6)
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert done.report.facts["accuracy_share"] == accuracy["value"]
    value, low, high = (percent(accuracy[name]) for name in ("value", "low", "high"))
    shown = f"accuracy {value} ({low} to {high})"
    assert done.report.results == [f"{shown} on the test split"]
    assert np.sum(done.figures["confusion"]) == 64
    assert np.trace(done.figures["confusion"]) == right.sum()
    for row in done.rows:
        assert sum(row["probability"]) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == done.figures["class_names"][np.argmax(row["probability"])]


def test_evaluate_learnt_the_stripes_and_finds_the_planted_label_errors(done: Done) -> None:
    assert done.figures["metrics"]["accuracy"]["value"] > 0.85
    assert done.report.facts["likely_label_errors"] >= PLANTED - 1
    pictures = {s.title: s.items for s in done.report.sections if isinstance(s, Pictures)}
    assert len(pictures["Likely label errors"]) == done.report.facts["likely_label_errors"]
    assert len(pictures["Worst mistakes"]) == done.report.facts["mistakes"]
    assert pictures["Worst mistakes"][0].data.startswith(b"\xff\xd8")


def test_evaluate_slices_add_up(done: Done) -> None:
    slices = done.figures["slices"]
    assert set(slices) == {"light", "hour"}
    for parts in slices.values():
        assert sum(part["samples"] for part in parts.values()) == 64
    right = sum(p["accuracy"]["value"] * p["samples"] for p in slices["light"].values())
    assert right / 64 == pytest.approx(done.figures["metrics"]["accuracy"]["value"], abs=1e-5)


def test_evaluate_page_speaks_both_languages(done: Done) -> None:
    page = (done.workspace.reports / "evaluate.html").read_text()
    assert "How good the model is" in page
    assert "Cómo de bueno es el modelo" in page
    plots = [s for s in done.report.sections if isinstance(s, Plot)]
    assert {plot.title for plot in plots} >= {
        "What is taken for what",
        "Can its probabilities be believed?",
    }
    for plot in plots:
        assert set(plot.svg) == {"en", "es"}
        assert plot.svg["en"] != plot.svg["es"]


def test_evaluate_again_finds_the_same(done: Done) -> None:
    evaluate.run(done.workspace)
    figures, rows = read(done.workspace)
    assert rows == done.rows
    assert figures == done.figures


def test_evaluate_says_when_there_is_no_such_split(done: Done) -> None:
    split.run(done.workspace, split.Config(name="bare", test_days=1, validation_share=0))
    train.run(
        done.workspace, train.Config(dataset="bare", strategy="scratch", size_px=32, epochs=1)
    )
    with pytest.raises(NotReadyError, match="no validation split"):
        evaluate.run(done.workspace, evaluate.Config(split="validation"))


def judged(*, multi: bool, n: int = 400) -> Judged:
    rng = np.random.default_rng(3)
    group = np.sort(rng.integers(20, size=n))
    if multi:
        truth = rng.random((n, 3)) < (0.5, 0.2, 0.1)
        probability = np.clip(0.25 + 0.5 * truth + rng.normal(0, 0.2, (n, 3)), 0.01, 0.99)
        predicted = probability >= 0.5
    else:
        truth = rng.integers(3, size=n)
        score = rng.normal(size=(n, 3)) + 2 * np.eye(3)[truth]
        probability = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
        predicted = probability.argmax(axis=1)
    names = ("dry", "weed", "wet")
    return Judged(truth, probability.astype(np.float32), predicted, group, names)


@pytest.mark.parametrize("multi", [False, True])
def test_measure_gives_every_figure_an_interval(multi: bool) -> None:
    found = measure(judged(multi=multi), replicates=200)

    json.dumps(found, allow_nan=False)
    for name, figure in found["metrics"].items():
        if name != "mean_average_precision":
            assert figure["low"] < figure["value"] < figure["high"], name
    for of_class in found["classes"].values():
        metrics = {"precision", "recall", "f1"} | ({"average_precision"} if multi else set())
        assert set(of_class) == {"samples", *metrics}
    assert sum(one["samples"] for one in found["reliability"]) == (1200 if multi else 400)


@pytest.mark.parametrize("multi", [False, True])
def test_evaluation_sections_show_every_figure(multi: bool) -> None:
    whole = judged(multi=multi)
    figures = measure(whole, replicates=200) | {
        "kind": "multi" if multi else "single",
        "level": 0.95,
        "class_names": list(whole.classes),
        "slices": {"light": {"day": measure_slice(whole.part(whole.group < 9), replicates=200)}},
        "promises": [{"way": "Test split", "accuracy": {"value": 0.8, "low": None, "high": None}}],
    }
    sections = list(evaluation_sections(figures))

    for table in (s for s in sections if isinstance(s, Table)):
        assert all(len(row) == len(table.columns) for row in table.rows)
    titles = [section.title for section in sections]
    assert ("What is taken for what" in titles) is not multi
    assert "By light" in titles


def test_plots_survive_any_class_name() -> None:
    names = ("$x^$", "<script>", "bed\u202e", "vache couchée 牛")
    for svg in confusion_plot(np.eye(4, dtype=int) * 30, names).values():
        cleaned = clean_svg(svg, "p")
        assert "<script" not in cleaned
        assert "$x^$" in cleaned
    for svg in interval_plot([(name, 0.5, np.nan, np.nan) for name in names]).values():
        assert "bed" in clean_svg(svg, "p")


def test_plots_write_numbers_as_each_language_does() -> None:
    shares = interval_plot([("Test split", 0.975, 0.962, 0.984)])
    assert ">97.5<" in shares["en"]
    assert ">97,5<" in shares["es"]
    counts = confusion_plot(np.eye(2, dtype=int) * 1155, ("lying", "standing"))
    assert ">1,155<" in counts["en"]
    assert ">1\u202f155<" in counts["es"]


@pytest.mark.parametrize("multi", [False, True])
def test_doubts_are_ordered_by_how_sure_the_model_is(multi: bool) -> None:
    whole = judged(multi=multi)
    if multi:
        whole.truth[7] = [True, False, False]
        whole.probability[7] = [0.01, 0.01, 0.999]
    else:
        whole.truth[7], whole.predicted[7] = 0, 2
        whole.probability[7] = [0.0005, 0.0005, 0.999]
    changed = Judged(
        whole.truth,
        whole.probability,
        whole.probability >= 0.5 if multi else whole.predicted,
        whole.group,
        whole.classes,
    )
    assert mistakes_of(changed)[0].sample == 7
    assert doubted_labels(changed)[0].sample == 7
    assert len(mistakes_of(changed)) == (changed.truth != changed.predicted).sum()


def test_evaluate_leaves_whole_files(done: Done) -> None:
    run = next(done.workspace.runs.glob("*/evaluation.json")).parent
    left = [key for key in Folder(run).list() if key.startswith("evaluation")]
    assert left == ["evaluation.json", "evaluation.parquet"]
