"""The current label: Python and SQL say the same for any history of events."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from besana import catalog as tables
from besana.catalog import Catalog
from besana.labels.current import current_class_labels, current_label, labelled_samples
from besana.labels.events import Event, add_events, event_row

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

events = st.builds(
    Event,
    frame_id=st.sampled_from(["f1", "f2"]),
    region=st.sampled_from(["all", "bed"]),
    class_name=st.sampled_from(["cow", "empty", "hay"]),
    holds=st.booleans(),
    annotator=st.sampled_from(["ana", "eva", "joe"]),
    source=st.just("csv"),
    labelled_at=st.integers(0, 3).map(lambda minutes: START + dt.timedelta(minutes=minutes)),
)


def empty_catalog(path: Path) -> Catalog:
    catalog = Catalog(f"sqlite:///{path / 'catalog.db'}")
    with catalog.transaction() as connection:
        connection.execute(sa.delete(tables.labels))
    return catalog


def views(catalog: Catalog) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
    single = catalog.rows(sa.select(tables.current_labels))
    multi = catalog.rows(sa.select(tables.current_class_labels))
    return (
        {(r.frame_id, r.region, r.class_name, r.votes, r.voters, bool(r.tied)) for r in single},
        {
            (r.frame_id, r.region, r.class_name, bool(r.holds), r.votes, r.voters, bool(r.tied))
            for r in multi
        },
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(events, max_size=25))
def test_views_agree_with_the_reference(tmp_path: Path, history: list[Event]) -> None:
    catalog = empty_catalog(tmp_path)
    add_events(catalog, history, now=START)
    single, multi = set(), set()
    for rows in labelled_samples(catalog):
        sample = (rows[0].frame_id, rows[0].region)
        if label := current_label(rows):
            single.add((*sample, label.class_name, label.votes, label.voters, label.tied))
        for name, said in current_class_labels(rows).items():
            multi.add((*sample, name, said.holds, said.votes, said.voters, said.tied))
    assert views(catalog) == (single, multi)
    catalog.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(events, max_size=25), data=st.data())
def test_order_and_repetition_of_imports_do_not_matter(
    tmp_path: Path, history: list[Event], data: st.DataObject
) -> None:
    catalog = empty_catalog(tmp_path)
    add_events(catalog, history, now=START)
    before = views(catalog)
    catalog.close()
    catalog = empty_catalog(tmp_path)
    shuffled = data.draw(st.permutations(history))
    half = len(shuffled) // 2
    for part in (shuffled[:half], shuffled, shuffled[half:]):
        add_events(catalog, part, now=START)
    assert views(catalog) == before
    catalog.close()


def test_an_event_row_is_named_by_everything_that_makes_it() -> None:
    event = Event("f", "all", "cow", True, "ana", "csv", START, "note")
    others = [
        Event("g", "all", "cow", True, "ana", "csv", START),
        Event("f", "bed", "cow", True, "ana", "csv", START),
        Event("f", "all", "hay", True, "ana", "csv", START),
        Event("f", "all", "cow", False, "ana", "csv", START),
        Event("f", "all", "cow", True, "eva", "csv", START),
        Event("f", "all", "cow", True, "ana", "web", START),
        Event("f", "all", "cow", True, "ana", "csv", START + dt.timedelta(microseconds=1)),
    ]
    ids = {event_row(other, START)["id"] for other in [event, *others]}
    assert len(ids) == 8
    zone = dt.timezone(dt.timedelta(hours=8))
    same = Event("f", "all", "cow", True, "ana", "csv", START.astimezone(zone))
    assert event_row(same, START)["id"] == event_row(event, START)["id"]


def test_words_without_a_time_are_new_only_when_they_differ(tmp_path: Path) -> None:
    catalog = empty_catalog(tmp_path)

    def say(class_name: str, minutes: int) -> int:
        event = Event("f", "all", class_name, True, "ana", "csv")
        return add_events(catalog, [event], now=START + dt.timedelta(minutes=minutes))

    assert [say("cow", 0), say("cow", 1), say("hay", 2), say("cow", 3), say("cow", 4)] == [
        1, 0, 1, 1, 0,
    ]  # fmt: skip
    by_class: dict[str, int] = defaultdict(int)
    for row in catalog.rows(sa.select(tables.labels)):
        by_class[row.class_name] += 1
    assert by_class == {"cow": 2, "hay": 1}
    catalog.close()


def test_two_words_of_one_moment_are_a_tie_until_somebody_decides(tmp_path: Path) -> None:
    catalog = empty_catalog(tmp_path)
    said = [
        Event("f1", "all", name, True, "ana", "csv", labelled_at=START) for name in ("cow", "hay")
    ]
    add_events(catalog, said, now=START)
    single, _ = views(catalog)
    assert single == {("f1", "all", "cow", 1, 1, True)}
    add_events(catalog, [Event("f1", "all", "hay", True, "eva", "csv", START)], now=START)
    single, _ = views(catalog)
    assert single == {("f1", "all", "hay", 2, 2, False)}
    later = START + dt.timedelta(minutes=1)
    add_events(catalog, [Event("f1", "all", "cow", True, "ana", "csv", later)], now=START)
    single, _ = views(catalog)
    assert single == {("f1", "all", "cow", 1, 2, True)}
    catalog.close()


def test_yes_and_no_of_one_moment_are_a_tie(tmp_path: Path) -> None:
    catalog = empty_catalog(tmp_path)
    said = [Event("f1", "all", "cow", holds, "ana", "csv", START) for holds in (True, False)]
    add_events(catalog, said, now=START)
    _, multi = views(catalog)
    assert multi == {("f1", "all", "cow", False, 1, 1, True)}
    catalog.close()
