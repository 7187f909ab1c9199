"""A farm that falls silent as a whole is told of, though no frame says what time it is."""

import datetime as dt

import pytest
import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog.watch import drift
from besana.cli import main
from besana.stages import monitor, predict
from besana.watching.due import Pace, plan_looks
from besana.watching.rhythm import overdue, rhythm_of
from besana.watching.state import watch_status
from watched import CAMERA, START, add_days

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
ENDED = START + 9 * DAY - HOUR


@pytest.fixture
def live(farm):
    """The same farm, whose frames came a minute after they were taken."""
    f = tables.frames.c
    with farm.catalog.transaction() as connection:
        for row in connection.execute(sa.select(f.id, f.captured_at)).all():
            own = sa.update(tables.frames).where(f.id == row.id)
            connection.execute(own.values(collected_at=row.captured_at + dt.timedelta(minutes=1)))
    return farm


def looks_at(farm, clock):
    from besana.registry import open_registry
    from besana.shards.datasets import open_dataset

    version = open_registry(farm).version("classifier", "champion")
    manifest = open_dataset(farm).manifest()
    [camera] = plan_looks(farm, version.model, version.number, manifest, Pace(24, 6, 7), clock)
    return camera


def test_next_frame_is_due_after_the_usual_gap_and_some_patience(live):
    found = rhythm_of(live.catalog, CAMERA)
    assert (found.last_at, found.gap, found.lag) == (ENDED, HOUR, dt.timedelta(minutes=1))
    due = ENDED + 6 * HOUR + dt.timedelta(minutes=1)
    assert found.due_at == due
    assert overdue(live.catalog, due) == {}
    assert list(overdue(live.catalog, due + HOUR)) == [CAMERA]


def test_recordings_that_came_in_a_heap_are_never_due(farm):
    assert rhythm_of(farm.catalog, CAMERA) is None
    assert overdue(farm.catalog, dt.datetime.now(dt.UTC)) == {}


def test_looks_follow_the_wall_clock_once_a_frame_is_overdue(live):
    assert looks_at(live, ENDED + 6 * HOUR).looks == []
    later = looks_at(live, ENDED + 2 * DAY)
    assert later.looks[-1].end_at > ENDED + DAY + 12 * HOUR
    assert later.misses(later.looks[-1])
    assert looks_at(live, ENDED + 20 * DAY).looks[-1].end_at <= ENDED + 7 * DAY
    assert looks_at(live, ENDED + 365 * DAY).looks == []  # that farm is over


def test_a_silent_farm_is_an_alert_a_status_and_an_exit_status(live):
    clock = ENDED + 8 * HOUR
    assert monitor.run(live, monitor.Config(threads=1), clock=clock).facts["silent_cameras"] == 1
    clock = ENDED + 30 * HOUR
    report = monitor.run(live, monitor.Config(threads=1), clock=clock)
    assert report.facts["silent_cameras"] == 1
    rows = live.catalog.rows(sa.select(drift).where(drift.c.signal == "frames_share"))
    assert rows[-1].state == "drift"
    assert report.facts["new_changes"] >= 1
    assert "The camera sends fewer frames" in report.page.read_text()
    due = rhythm_of(live.catalog, CAMERA).due_at.timestamp()
    figures = (live.reports / "monitor.prom").read_text()
    assert (
        f'besana_next_frame_due_timestamp_seconds{{farm="farm",camera="pen"}} {due:.0f}' in figures
    )
    assert f"{CAMERA} silent since 2024-05-09" in watch_status(live.catalog, clock)
    path = str(live.path)
    live.catalog.close()
    with pytest.raises(SystemExit) as caught:
        main(["monitor", path, "--threads", "1"])
    assert caught.value.code == 4


@pytest.mark.slow
def test_the_first_look_after_the_due_time_misses_it(live):
    add_days(live, 9, 1, labelled=False)
    f = tables.frames.c
    with live.catalog.transaction() as connection:
        for row in connection.execute(sa.select(f.id, f.captured_at)).all():
            own = sa.update(tables.frames).where(f.id == row.id)
            connection.execute(own.values(collected_at=row.captured_at))
    predict.run(live, predict.Config(threads=1))
    ended = ENDED + DAY
    monitor.run(live, monitor.Config(threads=1), clock=ended + HOUR)
    assert states(live) == ["ok"]
    monitor.run(live, monitor.Config(threads=1), clock=ended + 14 * HOUR)
    assert states(live)[-1] == "drift"
    last = live.catalog.rows(sa.select(drift).where(drift.c.signal == "frames_share"))[-1]
    assert last.window_end - ended <= 13 * HOUR


def states(farm):
    select = sa.select(drift.c.state).where(drift.c.signal == "frames_share")
    return [row.state for row in farm.catalog.rows(select.order_by(drift.c.window_end))]


def test_a_camera_that_sends_again_is_not_silent(live):
    add_days(live, 9, 1, labelled=False)
    f = tables.frames.c
    now = START + 10 * DAY
    with live.catalog.transaction() as connection:
        later = sa.update(tables.frames).where(f.captured_at >= START + 9 * DAY)
        connection.execute(later.values(collected_at=now))
    assert overdue(live.catalog, now + HOUR) == {}
