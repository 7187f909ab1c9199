"""Classify samples with a registered model.

Reads: samples, shards, models/<name>/<version>
Writes: predictions
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from besana import catalog as tables
from besana.catalog import insert
from besana.config import Settings
from besana.engines import Engine
from besana.engines.local import LocalEngine
from besana.errors import ConfigError, NotReadyError
from besana.labels.tables import neutralised
from besana.learning.on_engine import Judging, Row, judge_rows, whole_batches
from besana.learning.sample_pages import manifest_of, sample_pages, usable_samples
from besana.progress import track
from besana.storage import Folder, Storage, open_storage
from besana.web.report_page import open_report
from besana.workspace import Report, Table, Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from besana.learning.folder_frames import Packed
    from besana.models.model import Model
    from besana.registry import Version

#: Gives pages of samples with their probabilities, (n, classes); NaN where a record is damaged.
Judge = Callable[
    [sa.Select[Any]], Iterator[tuple[Sequence[Mapping[str, Any]], "NDArray[np.float32]"]]
]

EXAMPLE = "besana predict farm --folder /media/card/DCIM --camera pen-a"

_DIGITS = 6


class Config(Settings):
    """Settings of `predict`."""

    model: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the model.",
    )
    version: str = Field(
        default="champion", description="Its version: champion, challenger or a number."
    )
    folder: Path | None = Field(
        default=None, description="Classify the images of this folder instead, into a CSV."
    )
    camera: str = Field(
        default="", description="With a folder: the camera whose lens and regions to use."
    )
    output: Path | None = Field(
        default=None, description="With a folder: the CSV to write; empty: reports/predictions.csv."
    )
    batch_size: int = Field(default=32, ge=1, description="Samples at a time.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to compute; auto: a GPU when there is one."
    )
    threads: int = Field(default=0, ge=0, le=256, description="Threads; 0: one a core.")
    tracking_uri: str = Field(
        default="",
        description="MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )
    max_dropped_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of dropped samples above which the run fails."
    )


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Classify every sample that this model version has not classified, or a folder of images.

    Memory: one page of rows and the batches of the loader, whatever the number of samples.

    Args:
        workspace: Where the samples are.
        config: Settings; None means those of the workspace.
        engine: Where the images of a folder are decoded; None means the workspace's engine. An
            engine of other machines also classifies samples; here this process does.

    Raises:
        NotReadyError: If no such model version is registered.
        ConfigError: If settings contradict each other.
    """
    config = config or workspace.settings("predict", Config)
    if config.folder is None and (config.camera or config.output):
        raise ConfigError("camera and output are for images of a folder.", "Add --folder.")
    version, model = _open_model(workspace, config)
    with open_report(
        workspace, "predict", config, max_dropped_share=config.max_dropped_share
    ) as report:
        report.fact("model", f"{version.model}/{version.number}")
        report.fact("alias", ", ".join(version.aliases))
        counted: Counter[str] = Counter()
        if config.folder is None:
            judge: Judge = partial(_judge_here, workspace, config, model)
            if engine is not None and not isinstance(engine, LocalEngine):
                folder = workspace.models.below(f"{version.model}/{version.number}")
                judge = partial(_judge_elsewhere, workspace, config, model, folder.url, engine)
            _predict_samples(workspace, version, model, report, counted, judge)
        else:
            engine = engine or workspace.open_engine()
            _predict_folder(workspace, config, engine, model, report, counted)
        rows = [(name, count) for name, count in counted.most_common()]
        report.add(Table("Predicted classes", ("class", "samples"), rows))
    return report


def _open_model(workspace: Workspace, config: Config) -> tuple[Version, Model]:
    import torch

    from besana.models.model import load_model
    from besana.registry import open_registry
    from besana.shards.memory import usable_processors

    registry = open_registry(workspace, config.tracking_uri)
    version = registry.version(config.model, config.version)
    torch.set_num_threads(config.threads or usable_processors())
    folder = workspace.models.below(f"{version.model}/{version.number}")
    return version, load_model(folder, device=config.device)


def _judge(model: Model, manifest: Any, shards: Storage, batch_size: int) -> NDArray[np.float32]:
    import numpy as np

    from besana.learning.judging import judge

    return judge(
        model.network,
        model.card.preprocessing,
        model.card.kind,
        manifest,
        np.arange(len(manifest)),
        shards,
        batch_size=batch_size,
    )


def _predict_samples(
    workspace: Workspace,
    version: Version,
    model: Model,
    report: Report,
    counted: Counter[str],
    judge: Judge,
) -> None:
    select = _work(version)
    channels = model.card.preprocessing.channels
    fitting = select.where(tables.samples.c.channels == channels)
    total = workspace.catalog.count(fitting)
    others = workspace.catalog.count(select) - total
    if not total and not workspace.catalog.counted(tables.samples):
        raise NotReadyError("There are no samples.", f"Run: besana prepare {workspace.word}")
    report.count_in(others)
    report.drop("other_channels", others)
    with track("predict", total) as advance:
        for page, probability in judge(fitting):
            rows = list(_rows(page, probability, model, version))
            _store(workspace, version, rows)
            counted.update(row["class_name"] for row in rows)
            report.count_in(len(page))
            report.count_out(len(rows))
            report.drop("damaged", len(page) - len(rows))
            advance(len(page))


def _judge_here(
    workspace: Workspace, config: Config, model: Model, select: sa.Select[Any]
) -> Iterator[tuple[Sequence[Row], NDArray[np.float32]]]:
    """Classify samples in this process, a page at a time."""
    for page in sample_pages(workspace, select):
        with manifest_of(page, workspace.temporary) as manifest:
            yield page, _judge(model, manifest, workspace.shards, config.batch_size)


def _judge_elsewhere(
    workspace: Workspace,
    config: Config,
    model: Model,
    url: str,
    engine: Engine,
    select: sa.Select[Any],
) -> Iterator[tuple[Sequence[Row], NDArray[np.float32]]]:
    """Classify samples on an engine, with the model out of the store."""
    job = Judging(
        model=url,
        weights_sha256=model.card.weights_sha256,
        shards=workspace.shards,
        device=config.device,
        batch_size=config.batch_size,
        threads=config.threads,
    )
    partitions = (
        part
        for page in sample_pages(workspace, select)
        for part in whole_batches(page, config.batch_size)
    )
    yield from engine.map(partial(judge_rows, job=job), partitions)


def _work(version: Version) -> sa.Select[Any]:
    """Select the samples without a prediction of this version, or prepared anew since."""
    samples, predictions = tables.samples.c, tables.predictions.c
    predicted = sa.exists().where(
        predictions.frame_id == samples.frame_id,
        predictions.region == samples.region,
        predictions.model == version.model,
        predictions.version == version.number,
        predictions.predicted_at >= samples.prepared_at,
    )
    return usable_samples().where(~predicted)


def _rows(
    page: Sequence[Row],
    probability: NDArray[np.float32],
    model: Model,
    version: Version,
) -> Iterator[dict[str, Any]]:
    now = dt.datetime.now(dt.UTC)
    for sample, values in zip(page, probability.tolist(), strict=True):
        if values[0] == values[0]:  # not NaN: the record was whole
            named = _named(model, values)
            yield {
                "frame_id": sample["frame_id"],
                "region": sample["region"],
                "model": version.model,
                "version": version.number,
                "class_name": max(named, key=named.__getitem__),
                "probability": max(named.values()),
                "probabilities": named,
                "predicted_at": now,
            }


def _named(model: Model, values: Sequence[float]) -> dict[str, float]:
    return {
        name: round(value, _DIGITS) for name, value in zip(model.card.classes, values, strict=True)
    }


def _store(workspace: Workspace, version: Version, rows: Sequence[dict[str, Any]]) -> None:
    """Put predictions in place of those of an earlier preparation, all or nothing."""
    predictions = tables.predictions.c
    stale = sa.delete(tables.predictions).where(
        predictions.frame_id == sa.bindparam("frame"),
        predictions.region == sa.bindparam("part"),
        predictions.model == version.model,
        predictions.version == version.number,
    )
    keys = [{"frame": row["frame_id"], "part": row["region"]} for row in rows]
    with workspace.catalog.transaction() as connection:
        if keys:
            connection.execute(stale, keys)
        insert(connection, tables.predictions, rows)


def _predict_folder(
    workspace: Workspace,
    config: Config,
    engine: Engine,
    model: Model,
    report: Report,
    counted: Counter[str],
) -> None:
    """Pack the images of a folder as `prepare` would, judge them, and forget the pack."""
    from besana.images.guard import Bounds
    from besana.learning.folder_frames import find_files, lost, pack_partition

    output = (config.output or workspace.reports / "predictions.csv").absolute()
    with (
        tempfile.TemporaryDirectory(dir=workspace.temporary) as packs,
        _csv_file(output, model.card.classes) as table,
        track("predict", None) as advance,
    ):
        shards = open_storage(packs)
        pack = partial(
            pack_partition,
            camera=workspace.camera(config.camera or "camera"),
            size_px=int(model.card.dataset["sample_px"]),
            bounds=Bounds(),
            shards=shards,
        )
        partitions = find_files(config.folder or Path(), dict(workspace.bands))
        for packed in engine.map(pack, partitions, on_death=lost):
            probability = _judge_packed(workspace, config, model, packed, shards)
            for key in {row["shard"] for row in packed.rows}:
                shards.delete(key)
            advance(_write(table, model, packed, probability, report, counted))
    report.files["predictions.csv"] = output
    report.peak_memory_bytes = engine.peak_memory_bytes


def _judge_packed(
    workspace: Workspace, config: Config, model: Model, packed: Packed, shards: Storage
) -> NDArray[np.float32]:
    """Classify the regions of some files; what does not fit the model becomes an issue."""
    import numpy as np

    channels = model.card.preprocessing.channels
    packed.refuse(
        {r["frame_id"] for r in packed.rows if r["channels"] != channels}, "other_channels"
    )
    if not packed.rows:
        return np.empty((0, len(model.card.classes)), np.float32)
    with manifest_of(packed.rows, workspace.temporary) as manifest:
        return _judge(model, manifest, shards, config.batch_size)


def _write(
    table: Callable[[Sequence[str]], object],
    model: Model,
    packed: Packed,
    probability: NDArray[np.float32],
    report: Report,
    counted: Counter[str],
) -> int:
    """Write one row a region, or one a file that cannot be used; counts are of files."""
    for row, values in zip(packed.rows, probability.tolist(), strict=True):
        named = _named(model, values)
        best = max(named, key=named.__getitem__)
        counted[best] += 1
        numbers = [str(value) for value in (named[best], *named.values())]
        table([row["frame_id"], row["region"], best, *numbers, ""])
    nothing = [""] * (3 + len(model.card.classes))
    for name, reason in packed.issues:
        table([name, *nothing, reason])
        report.drop(reason)
    done = len({row["frame_id"] for row in packed.rows})
    report.count_in(done + len(packed.issues))
    report.count_out(done)
    return done + len(packed.issues)


@contextlib.contextmanager
def _csv_file(output: Path, classes: Sequence[str]) -> Iterator[Callable[[Sequence[str]], object]]:
    """Write a CSV that appears whole at the end; no cell can run as a formula."""
    columns = ["file", "region", "class_name", "probability", *classes, "issue"]
    with Folder(output.parent).open_writer(output.name) as stream:
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(neutralised(column) for column in columns)
        yield lambda cells: writer.writerow(neutralised(cell) for cell in cells)
        text.detach()  # flushes, and leaves the closing to the storage
