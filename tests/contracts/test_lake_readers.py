"""Spark with Delta's jar and a Presto server read what `publish` wrote, and what it undid."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from lake_jars import folder_of
from presto_server import serve
from test_publish import frame, label, run

import besana
from besana.catalog import frames, labels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed"),
]
SCRIPT = Path(__file__).parents[2] / "benchmarks/lake_spark.py"


def program(name: str) -> Path:
    folder = folder_of(name)
    if folder is None:
        pytest.skip("needs jars from Maven: python tests/contracts/lake_jars.py")
    return folder


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A lake whose second version has rows more, changed and deleted."""
    farm = besana.Workspace.create(tmp_path_factory.mktemp("lake") / "farm")
    farm.catalog.insert(frames, [frame(number) for number in range(50)])
    farm.catalog.insert(labels, [label(number, "lying") for number in range(20)])
    run(farm)
    farm.catalog.insert(frames, [frame(number) for number in range(50, 53)])
    gone = labels.c.frame_id == "barn-1/00007"
    with farm.catalog.transaction() as connection:
        connection.execute(sa.delete(frames).where(frames.c.id == "barn-1/00003"))
        connection.execute(
            sa.update(frames).where(frames.c.id == "barn-1/00004").values(width_px=640)
        )
        connection.execute(sa.delete(labels).where(gone))
    run(farm)
    yield farm.path / "lake"
    farm.catalog.close()


def test_spark_reads_rows_versions_and_deletions(lake):
    jars = ",".join(str(path) for path in program("delta").glob("*.jar"))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(lake), "--jars", jars],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["frames"] == {"now": 52, "first": 50}
    assert found["labels"] == {"now": 19, "first": 20}
    assert found["predictions"]["now"] == 0
    assert found["classes"] == {"lying": 19}


def test_presto_reads_rows_versions_and_deletions(lake, tmp_path):
    with serve(program("presto"), tmp_path / "presto") as presto:
        path = f'delta."$path$"."file://{lake}'
        assert presto.ask(f'SELECT count(*), count(captured_at) FROM {path}/frames"') == [[52, 41]]
        assert presto.ask(f'SELECT count(*) FROM {path}/frames@v1"') == [[50]]
        changed = (
            f'SELECT name, source_size_bytes, metadata FROM {path}/frames" WHERE width_px = 640'
        )
        assert presto.ask(changed) == [["ä 4's.jpg", 2**40 + 4, '{"a": "\\u00fc", "b": 1}']]
        classes = f'SELECT class_name, count(*) FROM {path}/current_labels" GROUP BY 1'
        assert presto.ask(classes) == [["lying", 19]]
