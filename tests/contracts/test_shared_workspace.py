"""A workspace whose rows lie in PostgreSQL and whose bytes lie in a bucket walks the same way."""

import uuid

import psycopg
import pytest

import besana
from besana import catalog as tables
from besana.simulation.barn import BarnSettings, write_barn


@pytest.fixture
def shared_farm(postgresql_server, s3_bucket, tmp_path):
    name = f"farm_{uuid.uuid4().hex}"
    server = psycopg.connect(
        f"host={postgresql_server} user=besana dbname=postgres", autocommit=True
    )
    with server:
        server.execute(f'CREATE DATABASE "{name}"')
    barn = write_barn(tmp_path / "farm", BarnSettings(days=3, interval_s=3600, width_px=320))
    settings = barn.path / "besana.toml"
    top = (
        f'catalog = "postgresql://besana@/{name}?host={postgresql_server}"\n'
        f'store = "{s3_bucket}/{name}"\n'
    )
    settings.write_text(top + settings.read_text())
    farm = besana.Workspace(barn.path)
    yield farm, barn
    farm.catalog.close()


def counts(farm):
    counted = (tables.frames, tables.quality, tables.issues, tables.samples, tables.labels)
    return {table.name: farm.catalog.counted(table) for table in counted}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_shared_workspace_walks_the_same_way(shared_farm):
    farm, barn = shared_farm
    overrides = {"label": {"file": [str(barn.truth_csv)]}, "collect": {"settle_s": 0}}
    reports = besana.run(farm, last="split", overrides=overrides)
    for report in reports.values():
        assert report.counts_in == report.counts_out + report.dropped.total(), report.stage
    made = counts(farm)
    assert made["frames"] == {"barn-1": 72}
    assert sum(made["samples"].values()) == 3 * reports["prepare"].counts_out
    assert {path.name for path in farm.path.iterdir()}.isdisjoint(
        {"frames", "shards", "catalog.db"}
    )
    assert any(key.endswith("manifest.parquet") for key in farm.datasets.list())
    again = besana.run(farm, last="split", overrides=overrides)
    assert counts(farm) == made
    assert again["collect"].counts_out == again["prepare"].counts_out == 0
