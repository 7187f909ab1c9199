"""From a frame that is served to a look of `monitor`: the rows between them are the real ones."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
import sqlalchemy as sa
from servers import running, wait_for

from besana.catalog.watch import drift, served
from besana.images.encode import encode_png
from besana.learning.exporting import export_version
from besana.registry import open_registry
from besana.serving.registered import registry_lineups
from besana.serving.service import Serving
from besana.stages import monitor
from watched import CAMERA, START, make_farm, picture

pytestmark = pytest.mark.slow  # trains, exports and serves


def test_what_is_served_is_watched(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    farm = make_farm(tmp_path / "farm")
    registry = open_registry(farm)
    export_version(farm, registry, registry.version("classifier", "champion"), ("fp32",))
    rng = np.random.default_rng(1)
    lineups = registry_lineups(farm, registry, "classifier")
    with running(
        lineups, serving=Serving(embedding_share=1.0), catalog=farm.catalog, cameras=farm.cameras
    ) as server:
        for _ in range(26):
            frame = np.concatenate([picture(rng, rng.integers(2)) for _ in range(2)], axis=1)
            answer = server.ask("POST", f"/predict?camera={CAMERA}", encode_png(frame), "image/png")
            assert answer.status == 200
        wait_for(lambda: farm.catalog.count(sa.select(served)) == 52)
    s = served.c
    ids = sorted({row.id for row in farm.catalog.rows(sa.select(s.id))})
    with farm.catalog.transaction() as connection:
        for hour, one in enumerate(ids):  # as if one had come each hour of the next day
            at = START + dt.timedelta(days=9, hours=hour)
            connection.execute(sa.update(served).where(s.id == one).values(served_at=at))

    report = monitor.run(farm, monitor.Config(threads=1, pictures=0))

    rows = farm.catalog.rows(sa.select(drift).where(drift.c.region == ""))
    found = {row.signal: row for row in rows}
    assert report.facts["looks"] == 1
    assert report.counts_out == 48
    assert found["estimated_accuracy"].samples == found["appearance"].samples == 48
    assert found["frames_share"].state == "ok"
    assert found["confidence"].value > 0.7
    # The server measured real pictures; the farm's own figures are made up.
    assert (found["brightness"].state, found["change_bits"].samples) == ("drift", 23)
