"""Memory is bounded by settings, not by data: ten times the samples, the same peak."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "memory.py"
STAGES = ("collect", "clean", "prepare", "label", "split")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_peak_of_every_stage_is_flat_from_2_thousand_to_20_thousand_samples(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    peaks_mb: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for samples in (2_000, 20_000):
        folder = tmp_path / str(samples)
        benchmark.write_farm(folder, samples)
        for stage in STAGES:
            peaks_mb[stage].append(benchmark.run_stage(folder, stage)[0])

    grown = {stage: last / first for stage, (first, last) in peaks_mb.items()}
    assert {stage: share for stage, share in grown.items() if share > 1.1} == {}
