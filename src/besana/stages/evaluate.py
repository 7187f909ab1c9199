"""Measure a trained model on the test split, with honest intervals.

Reads: runs, datasets, shards
Writes: runs/<id>/evaluation.json, runs/<id>/evaluation.parquet
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from besana.config import Settings, parse
from besana.console import percent
from besana.engines import Engine
from besana.errors import MissingExtraError, NotReadyError
from besana.progress import track
from besana.shards.datasets import Dataset, open_dataset
from besana.statistics.evaluation import Figure, Judged, measure, measure_slice
from besana.statistics.local_time import local_seconds
from besana.storage import Folder
from besana.web.report_page import open_report
from besana.workspace import Picture, Pictures, Report, Workspace

if TYPE_CHECKING:
    from besana.learning.promise import Promise
    from besana.learning.runs import Run
    from besana.shards.manifest import Manifest, Positions

EXAMPLE = "besana evaluate farm --random-split"

_STEP = 8192
_SLICES = ("light", "camera", "region", "hour")


class Config(Settings):
    """Settings of `evaluate`."""

    run: str = Field(default="", description="Run to evaluate; empty: the last one trained.")
    split: Literal["test", "validation"] = Field(
        default="test", description="Split of the run's dataset to evaluate on."
    )
    level: float = Field(default=0.95, gt=0.5, lt=1, description="Level of the intervals.")
    replicates: int = Field(
        default=2000, ge=100, le=100_000, description="Draws of the bootstrap over groups."
    )
    batch_size: int = Field(
        default=0, ge=0, description="Samples judged at a time; 0: 16, on a GPU 128."
    )
    pictures: int = Field(default=24, ge=0, le=200, description="Pictures of each kind to show.")
    random_split: bool = Field(
        default=False, description="Also tell what a random split would have promised."
    )
    max_dropped_share: float = Field(
        default=0.01, ge=0, le=1, description="Share of unreadable samples above which it fails."
    )


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Evaluate a run's model and leave the figures beside it.

    Args:
        workspace: Where the run is.
        config: Settings; None means those of the workspace.
        engine: Not needed; here as in every stage.

    Raises:
        NotReadyError: If nothing is trained, or the dataset has no such split.
        MissingExtraError: If torch or matplotlib is not installed.
    """
    config = config or workspace.settings("evaluate", Config)
    _need_libraries()
    from besana.learning.runs import open_run

    trained = open_run(workspace, config.run)
    dataset = open_dataset(
        workspace, trained.record["dataset"]["name"], trained.record["dataset"]["version"]
    )
    manifest = dataset.manifest()
    if config.split not in manifest.splits:
        raise NotReadyError(
            f"Dataset {dataset.place} has no {config.split} split.",
            f"Run: besana split {workspace.word} --{config.split}-share 0.2, then train again.",
        )
    with open_report(
        workspace, "evaluate", config, max_dropped_share=config.max_dropped_share
    ) as report:
        tested = _judge(workspace, config, trained, dataset, manifest, report)
        figures = measure(tested.judged, replicates=config.replicates, level=config.level)
        figures["slices"] = _slices(workspace, config, manifest, tested)
        figures["promises"] = _promises(workspace, config, trained, dataset, manifest, figures)
        figures["folds"] = trained.record.get("folds", [])
        figures = _head(config, trained, dataset) | figures
        _write(report, trained.folder, manifest, tested, figures)
        _describe(report, figures)
        _show(report, workspace, config, manifest, tested)
    return report


@dataclass(frozen=True)
class _Tested:
    positions: Positions
    judged: Judged


def _need_libraries() -> None:
    try:
        import matplotlib  # noqa: F401  # both asked for by name, to say what to install
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"Evaluating needs {error.name}.", 'Run: pip install "besana[train]"'
        ) from None


def _judge(
    workspace: Workspace,
    config: Config,
    trained: Run,
    dataset: Dataset,
    manifest: Manifest,
    report: Report,
) -> _Tested:
    from besana.learning.judging import judge
    from besana.models.model import load_model

    model = load_model(trained.model)
    positions = manifest.select(config.split)
    report.count_in(len(positions))
    with track("evaluate", len(positions)) as advance:
        probability = judge(
            model.network,
            model.card.preprocessing,
            dataset.kind,
            manifest,
            positions,
            workspace.shards,
            batch_size=config.batch_size or (16 if model.device.type == "cpu" else 128),
            advance=advance,
        )
    usable = ~np.isnan(probability).any(axis=1)
    report.drop("damaged", int((~usable).sum()))
    report.count_out(int(usable.sum()))
    positions, probability = positions[usable], probability[usable]
    if not len(positions):
        raise NotReadyError("No sample of the split could be read.", "Run: besana prepare")
    holds = model.holds(probability)
    predicted = holds if dataset.kind == "multi" else probability.argmax(axis=1)
    return _Tested(positions, _judged(manifest, positions, probability, predicted, dataset))


def _judged(
    manifest: Manifest,
    positions: Positions,
    probability: NDArray[np.float32],
    predicted: NDArray[Any],
    dataset: Dataset,
) -> Judged:
    _, group = np.unique(np.asarray(manifest.column("group"))[positions], return_inverse=True)
    truths = manifest.label if manifest.labels is None else manifest.labels
    return Judged(truths[positions], probability, predicted, group, dataset.classes)


def _head(config: Config, trained: Run, dataset: Dataset) -> dict[str, Any]:
    return {
        "run": trained.id,
        "strategy": trained.record["strategy"],
        "dataset": {"name": dataset.name, "version": dataset.version, "hash": dataset.hash},
        "kind": dataset.kind,
        "class_names": list(dataset.classes),
        "split": config.split,
        "level": config.level,
    }


def _slices(
    workspace: Workspace, config: Config, manifest: Manifest, tested: _Tested
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in _SLICES:
        codes, values = _sliced_by(workspace, manifest, tested.positions, name)
        parts = {}
        for code, value in enumerate(values):
            chosen = codes == code
            if chosen.any():
                part = tested.judged.part(chosen)
                parts[value] = measure_slice(
                    part, replicates=min(config.replicates, 1000), level=config.level
                )
        if len(parts) > 1:
            found[name] = dict(sorted(parts.items()))
    return found


def _sliced_by(
    workspace: Workspace, manifest: Manifest, positions: Positions, name: str
) -> tuple[NDArray[Any], Sequence[str]]:
    """Give a code a sample, -1 for none, and what the codes mean."""
    if name != "hour":
        column = manifest.column(name)
        codes = column.codes[positions].astype(np.int64)  # type: ignore[union-attr]  # names
        names = column.names  # type: ignore[union-attr]
        return np.where(np.array([bool(n) for n in names])[codes], codes, -1), names
    at = np.asarray(manifest.column("captured_at"))[positions]
    camera, cameras = _sliced_by(workspace, manifest, positions, "camera")
    hours = np.full(len(positions), -1)
    for code, one in enumerate(cameras):
        mine = (camera == code) & ~np.isnat(at)
        if mine.any():
            seconds = at[mine].astype("datetime64[s]").astype(np.int64)
            hours[mine] = local_seconds(seconds, workspace.camera(one).time_zone) // 3600 % 24
    return hours, [f"{hour:02d} h" for hour in range(24)]


def _promises(
    workspace: Workspace,
    config: Config,
    trained: Run,
    dataset: Dataset,
    manifest: Manifest,
    figures: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """List what each way of testing says about this training, from the most flattering on."""
    found: list[dict[str, Any]] = []
    if config.random_split:
        from besana.learning.promise import promise
        from besana.learning.settings import TrainSettings

        settings = parse(TrainSettings, trained.record["settings"], where="run.json")
        with track("embed", len(manifest)) as advance:
            promised = promise(
                workspace,
                settings,
                dataset,
                manifest,
                penalty=trained.record["metrics"].get("penalty"),
                advance=advance,
            )
        if promised is not None:
            found += _promised(config, manifest, dataset, promised)
    metrics = trained.record["metrics"]
    for way, prefix in (
        ("Random folds of the training samples", "random_folds"),
        ("Folds of whole groups of the training samples", "grouped_folds"),
        ("Folds of the dataset", "folds"),
        ("Validation split", "validation"),
    ):
        if f"{prefix}_accuracy" in metrics:
            value = metrics[f"{prefix}_accuracy"]
            found.append({"way": way, "accuracy": {"value": value, "low": None, "high": None}})
    way = "Test split" if config.split == "test" else "Validation split, measured again"
    light = figures["slices"].get("light", {})
    found.append(
        {
            "way": way,
            "accuracy": figures["metrics"]["accuracy"],
            "light": {name: part["accuracy"]["value"] for name, part in light.items()},
        }
    )
    return found


def _promised(
    config: Config, manifest: Manifest, dataset: Dataset, promised: Promise
) -> Iterator[dict[str, Any]]:
    light = manifest.column("light")
    codes = light.codes[promised.positions]  # type: ignore[union-attr]  # it holds names
    names = light.names  # type: ignore[union-attr]
    for way, probability in (
        ("Probe, random split of all samples", promised.random),
        ("Probe, split of all samples by groups", promised.grouped),
    ):
        if probability is None:
            continue
        predicted = probability >= 0.5 if dataset.kind == "multi" else probability.argmax(axis=1)
        judged = _judged(manifest, promised.positions, probability, predicted, dataset)
        by_light = {
            name: float((judged.truth == judged.predicted)[codes == code].mean())
            for code, name in enumerate(names)
            if name and (codes == code).any()
        }
        accuracy = measure_slice(judged, level=config.level)["accuracy"]
        yield {"way": way, "accuracy": accuracy, "light": by_light}


def _write(
    report: Report,
    folder: Path,
    manifest: Manifest,
    tested: _Tested,
    figures: Mapping[str, Any],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    storage, judged = Folder(folder), tested.judged
    group = np.asarray(manifest.column("group"))
    said = pa.list_(pa.bool_()) if judged.is_multi else pa.string()
    schema = pa.schema(
        [
            ("frame_id", pa.string()),
            ("region", pa.string()),
            ("camera", pa.string()),
            ("captured_at", pa.timestamp("us", tz="UTC")),
            ("light", pa.string()),
            ("group", pa.int64()),
            ("label", said),
            ("predicted", said),
            ("probability", pa.list_(pa.float32())),
        ]
    )
    names = np.array(judged.classes, dtype=object)
    with (
        storage.open_writer("evaluation.parquet") as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for start in range(0, len(tested.positions), _STEP):
            part = slice(start, start + _STEP)
            positions = tested.positions[part]
            truth, predicted = judged.truth[part], judged.predicted[part]
            rows: dict[str, Any] = {
                key: [row[key] for row in manifest.identities(positions)]
                for key in ("frame_id", "region", "camera", "captured_at", "light")
            }
            rows["group"] = group[positions]
            rows["label"] = (truth if judged.is_multi else names[truth]).tolist()
            rows["predicted"] = (predicted if judged.is_multi else names[predicted]).tolist()
            rows["probability"] = judged.probability[part].tolist()
            writer.write_table(pa.table(rows, schema=schema))
    storage.write("evaluation.json", json.dumps(figures, indent=1).encode())
    report.files["evaluation.json"] = folder / "evaluation.json"
    report.files["evaluation.parquet"] = folder / "evaluation.parquet"


def _describe(report: Report, figures: Mapping[str, Any]) -> None:
    from besana.learning.runs import fold_table
    from besana.web.evaluation_page import evaluation_sections

    report.fact("run", figures["run"])
    report.fact("dataset", f"{figures['dataset']['name']}/{figures['dataset']['version']}")
    report.fact("groups", figures["groups"])
    for name, figure in figures["metrics"].items():
        report.fact(f"{name}_share", figure["value"])
    accuracy: Figure = figures["metrics"]["accuracy"]
    report.fact("accuracy_low_share", accuracy["low"])
    report.fact("accuracy_high_share", accuracy["high"])
    report.result(_in_words(figures))
    report.sections.extend(evaluation_sections(figures))
    if figures["folds"]:
        report.add(fold_table(figures["folds"]))


def _in_words(figures: Mapping[str, Any]) -> str:
    accuracy: Figure = figures["metrics"]["accuracy"]
    value, low, high = accuracy["value"], accuracy["low"], accuracy["high"]
    assert value is not None  # a split without samples is refused before
    interval = "" if low is None or high is None else f" ({percent(low)} to {percent(high)})"
    return f"accuracy {percent(value)}{interval} on the {figures['split']} split"


def _show(
    report: Report, workspace: Workspace, config: Config, manifest: Manifest, tested: _Tested
) -> None:
    """Show the mistakes that the model was surest of, and labels that are probably wrong."""
    from besana.web.evaluation_page import Doubt, doubted_labels, mistakes_of, sample_pictures

    mistakes, errors = mistakes_of(tested.judged), doubted_labels(tested.judged)
    report.fact("mistakes", int((~tested.judged.right).sum()))
    report.fact("likely_label_errors", len({error.sample for error in errors}))

    def shown(found: Sequence[Doubt]) -> list[Picture]:
        first = found[: config.pictures]
        positions = tested.positions[[doubt.sample for doubt in first]]
        names = manifest.sample_ids(positions)
        captions = [f"{doubt.words} · {name}" for doubt, name in zip(first, names, strict=True)]
        return sample_pictures(workspace.shards, manifest, positions, captions)

    if config.pictures and mistakes:
        note = "Label, then what the model says and how sure it is; the surest mistakes first."
        report.add(Pictures("Worst mistakes", shown(mistakes), note))
    if config.pictures and errors:
        note = (
            "The model, which has not seen these samples, finds another class much more likely"
            " than their label. Have a second look at them."
        )
        report.add(Pictures("Likely label errors", shown(errors), note))
