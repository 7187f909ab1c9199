"""`monitor` watches what a server kept as it watches what was collected and predicted."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from besana import catalog as tables
from besana.catalog.watch import create_served, drift, served
from besana.models.model import load_model
from besana.models.network import features
from besana.serving.rows import served_row
from besana.stages import monitor, predict
from besana.watching.served import served_frames
from watched import CAMERA, REGIONS, START, add_days, picture, quality_row


def serve_days(farm, first, days, *, camera=CAMERA, share=1.0, brightness=120.0, **looks):
    """Keep rows as a server does that is asked once an hour; give the pictures' hashes."""
    model = load_model(farm.models.below("classifier/1"), device="cpu")
    rng = np.random.default_rng([7, first])
    rows = []
    for hour in range(first * 24, (first + days) * 24):
        if rng.random() > share:
            continue
        images = np.stack([picture(rng, rng.integers(2), **looks) for _ in REGIONS])
        with torch.no_grad():
            vectors = features(
                model.network, model.card.preprocessing.normalise(torch.from_numpy(images))
            ).numpy()
        for region, values, vector in zip(REGIONS, model.predict(images), vectors, strict=True):
            named = dict(zip(model.card.classes, values.tolist(), strict=True))
            best = max(named, key=named.get)
            row = served_row(
                {
                    "region": region,
                    "class_name": best,
                    "probability": named[best],
                    "probabilities": named,
                },
                request=f"{camera}-{hour:08x}-0",
                model="classifier",
                version=1,
                role="answer",
                camera=camera,
                sha256=f"{hour:064x}",
                quality=quality_row("", rng, brightness),
                embedding=vector,
                kept_share=share,
            )
            at = START + dt.timedelta(hours=hour, seconds=1)
            rows.append({**row, "served_at": at})
    create_served(farm.catalog)
    farm.catalog.insert(served, rows)
    return rows


def look(farm, **settings):
    return monitor.run(farm, monitor.Config(threads=1, pictures=0, **settings))


def found(farm, **where):
    select = sa.select(drift).order_by(drift.c.window_end, drift.c.region, drift.c.signal)
    for name, value in where.items():
        select = select.where(drift.c[name] == value)
    return farm.catalog.rows(select)


def test_served_days_like_those_of_training_are_as_usual(farm):
    rows = serve_days(farm, 9, 3)

    report = look(farm)

    assert (report.facts["looks"], report.facts["changes"]) == (9, 0)
    assert report.counts_in == report.counts_out == len(rows)
    signals = {row.signal for row in found(farm, region="")}
    assert signals >= {"brightness", "change_bits", "appearance", "confidence", "share:upright"}
    assert {row.state for row in found(farm)} == {"ok"}
    assert found(farm, signal="estimated_accuracy")[-1].samples == 48


def test_a_change_of_served_pictures_is_found_within_a_day(farm):
    serve_days(farm, 9, 1)
    serve_days(farm, 10, 1, ground=(0, 60), stripe=110, brightness=45.0)

    report = look(farm)

    changed = {(row.region, row.signal) for row in found(farm, state="drift")}
    assert {("", "brightness"), ("", "appearance")} <= changed
    assert report.facts["new_changes"] == len(changed)


@pytest.mark.slow
def test_a_sampled_camera_is_not_silent(farm):
    serve_days(farm, 9, 2, share=0.3)

    look(farm)

    shares = found(farm, signal="frames_share")
    assert shares
    assert all(0.5 < row.value < 1.6 and row.state == "ok" for row in shares)


def test_a_frame_that_was_collected_and_served_counts_once(farm):
    add_days(farm, 9, 2, labelled=False)
    predict.run(farm, predict.Config(threads=1))
    rows = serve_days(farm, 9, 2)
    f = tables.frames.c
    start = START + dt.timedelta(days=9)
    ids = [row.id for row in farm.catalog.rows(sa.select(f.id).where(f.captured_at >= start))]
    hashes = sorted({row["sha256"] for row in rows})
    with farm.catalog.transaction() as connection:
        for frame, sha256 in zip(ids, hashes, strict=True):
            connection.execute(sa.update(tables.frames).where(f.id == frame).values(sha256=sha256))

    report = look(farm)

    assert report.counts_in == 96
    end = start + dt.timedelta(days=2)
    assert len(served_frames(farm.catalog, CAMERA, start, end).at_s) == 0


@pytest.mark.slow
def test_cameras_that_nobody_knows_or_named_are_told_apart(farm):
    serve_days(farm, 9, 2, camera="gate")
    serve_days(farm, 10, 1, camera="")

    report = look(farm)

    assert {row.signal for row in found(farm, camera="gate")} == {"unknown_camera"}
    assert found(farm, camera="") == []
    assert report.facts["served_without_camera"] == 36


def test_older_tables_get_the_column_that_they_lack(farm):
    create_served(farm.catalog)
    with farm.catalog.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE served DROP COLUMN kept_share")

    rows = serve_days(farm, 9, 1)

    start = START + dt.timedelta(days=9)
    frames = served_frames(farm.catalog, CAMERA, start, start + dt.timedelta(days=1))
    assert len(frames.at_s) == len(rows) // 2


@pytest.mark.slow
def test_a_camera_that_died_is_missed_when_others_go_on(farm):
    add_days(farm, 9, 1, labelled=False)
    predict.run(farm, predict.Config(threads=1))
    serve_days(farm, 9, 3, camera="gate")

    report = look(farm)

    silent = [row for row in found(farm, signal="frames_share") if row.state == "drift"]
    assert {row.camera for row in silent} == {CAMERA}
    assert silent[0].window_end - START <= dt.timedelta(days=11)
    assert report.facts["changes"] > 0
    assert look(farm).facts["looks"] == 0


def test_the_page_says_why_nothing_was_looked_at(farm):
    add_days(farm, 9, 1, labelled=False)

    page = look(farm, every_hours=24, window_hours=48).page.read_text()

    assert "Not looked at this time" in page
    assert "Esta vez sin mirada" in page
    assert "2024-05-12 00:00:00 UTC" in page
