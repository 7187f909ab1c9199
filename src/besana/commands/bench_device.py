"""Measure a model on the device at hand: latency, memory, throughput.

Reads: FOLDER of `besana export FARM onnx` or `edge`
Writes: nothing
"""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from besana.config import Settings
from besana.console import plain_console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from besana.models.onnx_model import OnnxModel

EXAMPLE = "besana bench-device edge --precision int8"
ARGUMENTS = ("folder",)


class Config(Settings):
    """What to measure and for how long."""

    folder: Path = Field(description="Folder of an exported model.")
    precision: Literal["fp32", "fp16", "int8"] = Field(
        default="fp32", description="Which of its files."
    )
    threads: int = Field(default=1, ge=1, le=256, description="Threads for one batch.")
    batch_size: int = Field(default=16, ge=1, description="Pictures at a time for throughput.")
    seconds: float = Field(default=3.0, gt=0, description="How long each measurement takes.")


def run(farm: Path, config: Config) -> dict[str, float]:
    """Load an export, repeat its golden set, and print what it costs here.

    Args:
        farm: Not used: a device has no workspace.
        config: What to measure.

    Returns:
        The figures by name, units in suffixes.

    Raises:
        NotReadyError: If there is no such export.
        CorruptDataError: If this device answers differently from where the export was made.
    """
    from rich.table import Table

    from besana.models.onnx_model import load_export

    before = _peak_bytes()
    started = time.perf_counter()
    model = load_export(config.folder, precision=config.precision, threads=config.threads)
    figures = {"load_s": time.perf_counter() - started}
    figures |= _latency(model, config.seconds)
    figures["pictures_per_s"] = _throughput(model, config.batch_size, config.seconds)
    figures["memory_bytes"] = float(_peak_bytes() - before)
    figures["probability_gap"] = model.parity.probability_gap
    table = Table("figure", "value", title=f"{config.folder}, {config.precision}")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}" if value < 1e5 else f"{value:,.0f}")
    plain_console(soft_wrap=False).print(table)
    return figures


def _latency(model: OnnxModel, seconds: float) -> dict[str, float]:
    times: list[float] = []
    until = time.perf_counter() + seconds
    one = _pictures(model, 1)
    while (started := time.perf_counter()) < until or len(times) < 10:
        model.run(one)
        times.append(1000 * (time.perf_counter() - started))
    cuts = statistics.quantiles(times, n=100)
    return {"median_ms": statistics.median(times), "p99_ms": cuts[98]}


def _throughput(model: OnnxModel, batch_size: int, seconds: float) -> float:
    batch, count = _pictures(model, batch_size), 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or not count:
        model.run(batch)
        count += batch_size
    return count / (time.perf_counter() - started)


def _pictures(model: OnnxModel, count: int) -> NDArray[np.uint8]:
    import numpy as np

    size, bands = model.certificate.preprocessing.size_px, model.certificate.preprocessing.channels
    return np.random.default_rng(0).integers(0, 256, (count, size, size, bands)).astype(np.uint8)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
