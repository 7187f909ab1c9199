"""The Spark engine on a real cluster of this machine: the same results as local, nothing twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

import besana
from besana import catalog as tables
from besana.simulation.barn import BarnSettings, write_barn
from besana.storage import Folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed"),
]
HERE = Path(__file__).parent
CLUSTER = "local-cluster[2,1,1024]"


def spark_environment(master: str, *settings: str) -> dict[str, str]:
    conf = ["spark.ui.enabled=false", "spark.driver.memory=512m", *settings]
    words = ["--master", master, *(word for one in conf for word in ("--conf", one))]
    return {
        **os.environ,
        "PYSPARK_SUBMIT_ARGS": " ".join([*words, "pyspark-shell"]),
        "PYTHONPATH": str(HERE),
    }


def start(words: list[str], master: str, *settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        env=spark_environment(master, *settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(words: list[str], master: str = CLUSTER) -> str:
    process = start(words, master)
    out, err = process.communicate(timeout=300)
    assert process.returncode in (0, 3), err[-3000:]
    return out


PROMISES = """
import functools, operator, jobs
from besana.engines import open_engine
from besana.errors import BesanaError
engine = open_engine("spark")
assert engine.workers == 2, engine.workers
parts = [list(range(start, start + 10)) for start in range(0, 100, 10)]
assert sorted(engine.map(jobs.add, parts)) == [sum(part) for part in parts]
found = engine.map(jobs.die_on_seven, [list(range(10)), [10, 11]], on_death=lambda item: [-item])
assert sorted(functools.reduce(operator.iadd, found, [])) == [-7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
try:
    list(engine.map(jobs.refuse_three, [[1], [2, 3], [4]]))
except BesanaError as error:
    assert error.reason == "damaged" and "Three is broken" in str(error)
else:
    raise AssertionError("no error")
try:
    list(engine.map(jobs.die_on_seven, [[7]]))
except BesanaError as error:
    assert "A worker process died" in str(error)
else:
    raise AssertionError("no error")
drawn = []
def endless():
    while True:
        drawn.append(1)
        yield [1]
summaries = engine.map(jobs.add, endless())
assert [next(summaries) for _ in range(5)] == [1] * 5
summaries.close()
assert len(drawn) < 30, len(drawn)
assert engine.peak_memory_bytes > 5_000_000
print("kept")
"""


def test_spark_keeps_the_promises_of_an_engine():
    assert "kept" in run(["-c", PROMISES], "local[2]")


def rows(farm: besana.Workspace, table) -> list[tuple]:
    timeless = [c for c in table.columns if not c.name.endswith("_at") or c.name == "captured_at"]
    select = sa.select(*timeless).order_by(*table.primary_key.columns)
    return [tuple(row) for row in farm.catalog.rows(select)]


def content(farm: besana.Workspace) -> dict[str, str]:
    """Hash every frame and shard by its key."""
    found = {}
    for name in ("frames", "shards"):
        store = Folder(farm.path / name)
        found |= {f"{name}/{k}": hashlib.sha256(store.read(k)).hexdigest() for k in store.list()}
    return found


def everything(farm: besana.Workspace):
    kinds = (tables.frames, tables.quality, tables.issues, tables.samples)
    return {table.name: rows(farm, table) for table in kinds}, content(farm)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A farm walked up to prepare by the local engine, and one that nothing was done with."""
    folder = tmp_path_factory.mktemp("spark")
    settings = BarnSettings(days=4, interval_s=1800, width_px=640)
    local = write_barn(folder / "local", settings)
    shutil.copytree(local.path, folder / "cluster")
    farm = besana.Workspace(local.path)
    farm.tables["engine"] = {"workers": 2}
    for name in ("collect", "clean", "prepare"):
        besana.run_stage(farm, name, {"settle_s": 0} if name == "collect" else {})
    yield farm, folder / "cluster"
    farm.catalog.close()


def with_same_sources(found, path: Path, other: Path):
    """Two farms differ in nothing but the folder that they collected from."""
    table, hashes = found
    return {
        name: [tuple(str(v).replace(str(path), str(other)) for v in row) for row in each]
        for name, each in table.items()
    }, hashes


def test_a_cluster_that_loses_an_executor_gives_the_same_rows_and_bytes(pair):
    local, path = pair
    for name, options in (("collect", ["--settle-s", "0"]), ("clean", [])):
        run(["-m", "besana", name, str(path), "--engine", "spark", "--workers", "2", *options])
    words = ["-m", "besana", "prepare", str(path), "--engine", "spark", "--workers", "2"]
    speculation = ("spark.speculation=true", "spark.speculation.quantile=0.5")
    process = start(words, CLUSTER, *speculation)
    killed = kill_an_executor(process, path / "shards")
    _, err = process.communicate(timeout=300)
    assert process.returncode in (0, 3), err[-3000:]
    assert killed
    cluster = besana.Workspace(path)
    expected = with_same_sources(everything(local), local.path, path)
    found = with_same_sources(everything(cluster), local.path, path)
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert len(found[0]["samples"]) > 100
    cluster.catalog.close()


def kill_an_executor(process: subprocess.Popen[str], shards: Path) -> bool:
    """Kill one executor while the first shards are being written."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if shards.is_dir() and any(shards.rglob("*")):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if "CoarseGrainedExecutorBackend" in " ".join(child.cmdline()):
                        child.kill()
                        return True
        time.sleep(0.02)
    return False
