"""What every catalog promises, an embedded SQLite file as well as a PostgreSQL server."""

import datetime as dt
import subprocess
import sys

import pytest
import sqlalchemy as sa

from besana.catalog import (
    METADATA,
    Catalog,
    current_class_labels,
    current_labels,
    datasets,
    frames,
    insert,
    issues,
    labels,
    predictions,
    properties,
    quality,
    samples,
)
from besana.catalog.views import COUNTED, VIEWS
from besana.errors import ConfigError, StorageError

NOW = dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)


def frame(number, camera="barn-1", **changes):
    row = {
        "id": f"{camera}/20260301T{number:06d}.000Z-0a1b2c3d",
        "camera": camera,
        "captured_at": NOW + dt.timedelta(minutes=5 * number),
        "time_source": "name",
        "name": f"{camera}/{number}.jpg",
        "source": f"file:///card/{camera}/{number}.jpg",
        "source_size_bytes": 123_456,
        "source_modified_ns": 1_772_368_215_123_456_789,
        "bands": [{"band": "rgb", "key": "ab/ab.jpg", "sha256": "ab", "size_bytes": 123_456}],
        "sha256": "ab",
        "size_bytes": 123_456,
        "width_px": None,
        "height_px": None,
        "metadata": {},
        "collected_at": NOW,
    }
    return {**row, **changes}


def event(number, frame_id, annotator, class_name="lying", *, at=0, holds=True, region="bed-1"):
    return {
        "id": f"event-{number:04d}",
        "frame_id": frame_id,
        "region": region,
        "class_name": class_name,
        "holds": holds,
        "annotator": annotator,
        "source": "test",
        "labelled_at": NOW + dt.timedelta(seconds=at),
        "note": "",
        "added_at": NOW,
    }


def current(catalog, view=current_labels):
    return [dict(row._mapping) for row in catalog.rows(sa.select(view).order_by(*view.c))]


# Inserts


def test_insert_adds_and_counts_only_new_rows(catalog):
    rows = [frame(number) for number in range(10)]
    assert catalog.insert(frames, rows) == 10
    assert catalog.insert(frames, rows) == 0
    assert catalog.insert(frames, [*rows[5:], frame(10), frame(11)]) == 2
    assert catalog.count(sa.select(frames.c.id)) == 12


def test_insert_keeps_the_row_that_was_there(catalog):
    catalog.insert(frames, [frame(1, name="first")])
    catalog.insert(frames, [frame(1, name="second")])
    assert catalog.scalar(sa.select(frames.c.name)) == "first"


def test_insert_counts_a_key_that_comes_twice_in_one_call_once(catalog):
    assert catalog.insert(frames, [frame(1), frame(2), frame(1)]) == 2


def test_insert_of_nothing_adds_nothing(catalog):
    assert catalog.insert(frames, []) == 0


@pytest.mark.parametrize("rows", [1, 7, 1_000, 5_003])
def test_insert_counts_exactly_at_every_size(catalog, rows):
    made = [frame(number) for number in range(rows)]
    catalog.insert(frames, made[::3])
    assert catalog.insert(frames, made) == rows - len(made[::3])


def test_insert_gives_missing_columns_their_empty_value(catalog):
    row = frame(1)
    del row["width_px"], row["captured_at"]
    catalog.insert(frames, [row, {key: row[key] for key in reversed(row)} | {"id": "barn-1/x"}])
    assert catalog.rows(sa.select(frames.c.width_px, frames.c.captured_at)) == [(None, None)] * 2


def test_insert_with_a_missing_required_column_adds_nothing(catalog):
    row = frame(2)
    del row["camera"]
    with pytest.raises(StorageError):
        catalog.insert(frames, [frame(1), row])
    assert catalog.count(sa.select(frames.c.id)) == 0


def test_insert_of_an_unknown_column_is_an_error(catalog):
    with pytest.raises(StorageError, match="camra"):
        catalog.insert(frames, [frame(1, camra="typo")])


def test_rows_come_back_as_they_went_in(catalog):
    row = frame(
        7,
        name="ferme/été\nnew line/'); DROP TABLE frames; --.jpg",
        metadata={"plot": "n° 5", "depth": {"m": [1.5, None, True]}, "big": 2**53},
        width_px=1280,
    )
    catalog.insert(frames, [row])
    assert dict(catalog.rows(sa.select(frames))[0]._mapping) == row


def test_numbers_keep_their_full_size_and_precision(catalog):
    row = {
        "frame_id": "f",
        "width_px": 2**31 - 1,
        "height_px": 1,
        "channels": 16,
        "brightness": 0.1 + 0.2,
        "dark_share": 1e-300,
        "bright_share": 1.0,
        "contrast": 1 / 3,
        "sharpness": 1e12,
        "entropy_bits": 0.0,
        "perceptual_hash": -(2**63),
        "light": "ir",
        "shift_x_px": -0.25,
        "shift_y_px": None,
        "thumbnail": bytes(range(256)),
    }
    catalog.insert(quality, [row])
    assert dict(catalog.rows(sa.select(quality))[0]._mapping) == row


def test_a_refused_row_leaves_the_whole_insert_out(catalog):
    rows = [{"frame_id": "f", "kind": "dark", "stage": "clean", "blocks": True, "found_at": NOW}]
    catalog.insert(issues, rows)
    naive = dt.datetime(2026, 3, 1)  # noqa: DTZ001  # what is tested
    with pytest.raises(ConfigError, match="has no time zone"):
        catalog.insert(issues, [{**rows[0], "kind": "blurry", "found_at": naive}])
    assert catalog.counted(issues) == {"dark": 1}


def test_times_are_utc_whatever_zone_they_came_in(catalog):
    zone = dt.timezone(dt.timedelta(hours=8))
    local = dt.datetime(2021, 3, 8, 7, 30, 0, 250_000, tzinfo=zone)
    catalog.insert(frames, [frame(1, captured_at=local), frame(2, captured_at=None)])
    first, second = catalog.rows(sa.select(frames.c.captured_at).order_by(frames.c.id))
    assert first.captured_at == local
    assert first.captured_at.utcoffset() == dt.timedelta(0)
    assert second.captured_at is None
    assert catalog.count(sa.select(frames.c.id).where(frames.c.captured_at < NOW)) == 1
    assert catalog.count(sa.select(frames.c.id).where(frames.c.captured_at == local)) == 1


# Transactions


def test_a_transaction_that_fails_leaves_nothing(catalog):
    with pytest.raises(ZeroDivisionError), catalog.transaction() as connection:
        insert(connection, frames, [frame(number // (3 - number)) for number in range(4)])
    with pytest.raises(ZeroDivisionError), catalog.transaction() as connection:
        assert insert(connection, frames, [frame(1)]) // 0
    assert catalog.count(sa.select(frames.c.id)) == 0
    assert catalog.counted(frames) == {}


def test_a_transaction_is_seen_by_others_when_it_ends(catalog, catalog_url):
    other = Catalog(catalog_url)
    with catalog.transaction() as connection:
        insert(connection, frames, [frame(1)])
        insert(connection, labels, [event(1, frame(1)["id"], "ana")])
    assert other.counted(frames) == {"barn-1": 1}
    assert other.counted(labels) == {"lying": 1}
    other.close()


def test_a_killed_writer_leaves_what_it_had_committed(catalog, catalog_url):
    program = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from test_catalogs import Catalog, frame, frames, insert\n"
        "catalog = Catalog(sys.argv[1])\n"
        "catalog.insert(frames, [frame(1)])\n"
        "with catalog.transaction() as connection:\n"
        "    insert(connection, frames, [frame(n) for n in range(2, 5000)])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", program, catalog_url, *sys.path]
    assert subprocess.run(command, check=False).returncode == -9
    assert catalog.counted(frames) == {"barn-1": 1}
    assert catalog.insert(frames, [frame(number) for number in range(1, 10)]) == 8


def test_two_catalogs_may_write_in_turns(catalog, catalog_url):
    other = Catalog(catalog_url)
    for number in range(10):
        assert (catalog, other)[number % 2].insert(frames, [frame(number)]) == 1
    assert other.insert(frames, [frame(number) for number in range(12)]) == 2
    assert catalog.counted(frames) == {"barn-1": 12}
    other.close()


# Reading


def test_pages_give_every_row_once_in_order(catalog):
    catalog.insert(frames, [frame(number) for number in range(25)])
    for rows in (1, 5, 7, 25, 100):
        pages = list(catalog.pages(sa.select(frames.c.id), [frames.c.id], rows))
        assert [row.id for page in pages for row in page] == [frame(n)["id"] for n in range(25)]
        assert max(len(page) for page in pages) <= rows


def test_pages_of_nothing_are_none(catalog):
    assert list(catalog.pages(sa.select(frames.c.id), [frames.c.id])) == []


def test_pages_order_by_several_columns(catalog):
    rows = [
        {
            "frame_id": f"f{number // 4}",
            "kind": f"kind-{number % 4}",
            "stage": "clean",
            "blocks": False,
            "found_at": NOW,
        }
        for number in range(20)
    ]
    catalog.insert(issues, rows)
    select = sa.select(issues.c.kind, issues.c.frame_id)
    pages = catalog.pages(select, [issues.c.frame_id, issues.c.kind], 3)
    found = [(row.frame_id, row.kind) for page in pages for row in page]
    assert found == [(row["frame_id"], row["kind"]) for row in rows]


def test_a_page_by_time_goes_on_where_it_stopped(catalog):
    catalog.insert(frames, [frame(number) for number in reversed(range(9))])
    select = sa.select(frames.c.captured_at, frames.c.id)
    pages = catalog.pages(select, [frames.c.captured_at, frames.c.id], 2)
    assert [row.id for page in pages for row in page] == [frame(n)["id"] for n in range(9)]


def test_the_caller_may_write_between_two_pages(catalog):
    catalog.insert(frames, [frame(number) for number in range(20)])
    waiting = sa.select(frames.c.id).where(~sa.exists().where(issues.c.frame_id == frames.c.id))
    seen = []
    for page in catalog.pages(waiting, [frames.c.id], 3):
        seen += [row.id for row in page]
        found = {"kind": "dark", "stage": "clean", "blocks": True, "found_at": NOW}
        catalog.insert(issues, [{"frame_id": row.id, **found} for row in page])
    assert seen == [frame(number)["id"] for number in range(20)]
    assert catalog.count(waiting) == 0


def test_stream_gives_everything_in_parts(catalog):
    catalog.insert(frames, [frame(number) for number in range(25)])
    parts = list(catalog.stream(sa.select(frames.c.id).order_by(frames.c.id), 10))
    assert [len(part) for part in parts] == [10, 10, 5]
    assert [row.id for part in parts for row in part] == [frame(n)["id"] for n in range(25)]


def test_a_stream_may_be_left_early(catalog):
    catalog.insert(frames, [frame(number) for number in range(25)])
    stream = catalog.stream(sa.select(frames.c.id), 10)
    next(stream)
    stream.close()
    assert catalog.insert(frames, [frame(99)]) == 1


def test_scalar_of_nothing_is_none(catalog):
    assert catalog.scalar(sa.select(frames.c.id)) is None


# Counts


def test_counts_follow_inserts_and_deletes(catalog):
    rows = [frame(number, camera=f"barn-{number % 3}") for number in range(10)]
    catalog.insert(frames, rows)
    catalog.insert(frames, rows[:4])
    assert catalog.counted(frames) == {"barn-0": 4, "barn-1": 3, "barn-2": 3}
    with catalog.transaction() as connection:
        connection.execute(sa.delete(frames).where(frames.c.camera == "barn-1"))
        connection.execute(sa.delete(frames).where(frames.c.id == rows[0]["id"]))
    assert catalog.counted(frames) == {"barn-0": 3, "barn-2": 3}
    catalog.insert(frames, rows)
    assert catalog.counted(frames) == {"barn-0": 4, "barn-1": 3, "barn-2": 3}


def test_counts_follow_a_changed_part(catalog):
    sample = {
        "frame_id": "f",
        "region": "bed-1",
        "recipe": "old",
        "shard": "s",
        "offset_bytes": 0,
        "length_bytes": 10,
        "payload_offset_bytes": 2,
        "payload_length_bytes": 5,
        "crc32c": 2**32 - 1,
        "width_px": 96,
        "height_px": 96,
        "channels": 3,
        "prepared_at": NOW,
    }
    catalog.insert(samples, [sample, {**sample, "region": "bed-2"}])
    with catalog.transaction() as connection:
        change = sa.update(samples).where(samples.c.region == "bed-2").values(recipe="new")
        connection.execute(change)
    assert catalog.counted(samples) == {"old": 1, "new": 1}


def test_every_counted_table_counts(catalog):
    made = {
        "frames": [frame(1)],
        "issues": [
            {"frame_id": "f", "kind": "dark", "stage": "clean", "blocks": True, "found_at": NOW}
        ],
        "labels": [event(1, "f", "ana")],
        "predictions": [
            {
                "frame_id": "f",
                "region": "all",
                "model": "cow",
                "version": 1,
                "class_name": "lying",
                "probability": 0.75,
                "probabilities": {"lying": 0.75, "standing": 0.25},
                "predicted_at": NOW,
            }
        ],
    }
    for name, rows in made.items():
        catalog.insert(METADATA.tables[name], rows)
        assert sum(catalog.counted(METADATA.tables[name]).values()) == 1
    assert {*made, "quality", "samples"} == set(COUNTED)
    assert catalog.rows(sa.select(predictions.c.probabilities)) == [
        ({"lying": 0.75, "standing": 0.25},)
    ]


# The current label


def test_the_current_label_is_the_latest_of_its_annotator(catalog):
    catalog.insert(
        labels,
        [
            event(1, "f", "ana", "lying", at=0),
            event(2, "f", "ana", "standing", at=20),
            event(3, "f", "ana", "empty", at=10),
        ],
    )
    assert current(catalog) == [
        {
            "frame_id": "f",
            "region": "bed-1",
            "class_name": "standing",
            "votes": 1,
            "voters": 1,
            "tied": False,
        }
    ]


def test_the_current_label_is_what_most_annotators_say(catalog):
    catalog.insert(
        labels,
        [
            event(1, "f", "ana", "lying"),
            event(2, "f", "ben", "standing"),
            event(3, "f", "eva", "standing"),
            event(4, "f", "ben", "standing", at=-60),
        ],
    )
    (row,) = current(catalog)
    assert (row["class_name"], row["votes"], row["voters"], row["tied"]) == (
        "standing",
        2,
        3,
        False,
    )


def test_a_tie_is_said_and_stays_the_same(catalog):
    catalog.insert(labels, [event(1, "f", "ana", "standing", at=5), event(2, "f", "ben", "lying")])
    (row,) = current(catalog)
    assert (row["class_name"], row["votes"], row["voters"], row["tied"]) == ("lying", 1, 2, True)


def test_a_smaller_party_is_no_tie(catalog):
    people = ["ana", "ben", "eva", "leo"]
    classes = ["lying", "lying", "standing", "empty"]
    events = [event(n, "f", *pair) for n, pair in enumerate(zip(people, classes, strict=True))]
    catalog.insert(labels, events)
    (row,) = current(catalog)
    assert (row["class_name"], row["votes"], row["voters"], row["tied"]) == ("lying", 2, 4, False)


def test_of_two_events_at_one_time_the_later_added_wins(catalog):
    later = {**event(1, "f", "ana", "standing"), "added_at": NOW + dt.timedelta(seconds=1)}
    catalog.insert(labels, [later, event(2, "f", "ana", "lying")])
    assert [row["class_name"] for row in current(catalog)] == ["standing"]


def test_samples_do_not_share_votes(catalog):
    catalog.insert(
        labels,
        [
            event(1, "f", "ana", "lying", region="bed-1"),
            event(2, "f", "ana", "standing", region="bed-2"),
            event(3, "g", "ana", "empty", region="bed-1"),
        ],
    )
    found = {(row["frame_id"], row["region"]): row["class_name"] for row in current(catalog)}
    assert found == {("f", "bed-1"): "lying", ("f", "bed-2"): "standing", ("g", "bed-1"): "empty"}


def test_the_single_label_view_looks_at_what_holds(catalog):
    catalog.insert(
        labels,
        [
            event(1, "t", "ana", "weed", holds=True),
            event(2, "t", "ana", "water", at=10, holds=False),
            event(3, "u", "ana", "water", holds=False),
        ],
    )
    assert [(row["frame_id"], row["class_name"]) for row in current(catalog)] == [("t", "weed")]


def test_several_classes_hold_each_by_its_own_votes(catalog):
    catalog.insert(
        labels,
        [
            event(1, "t", "ana", "weed", holds=True),
            event(2, "t", "ana", "water", holds=True),
            event(3, "t", "ben", "weed", holds=True),
            event(4, "t", "ben", "water", holds=False),
            event(5, "t", "eva", "weed", holds=True),
            event(6, "t", "eva", "weed", at=5, holds=False),
            event(7, "t", "eva", "double_plant", holds=False),
        ],
    )
    found = {row["class_name"]: row for row in current(catalog, current_class_labels)}
    facts = {name: (row["holds"], row["votes"], row["voters"]) for name, row in found.items()}
    assert facts == {"weed": (True, 2, 3), "water": (False, 1, 2), "double_plant": (False, 0, 1)}
    assert {name for name, row in found.items() if row["tied"]} == {"water"}
    assert all(type(row["holds"]) is bool and type(row["tied"]) is bool for row in found.values())


# Asking


def test_ask_reads(catalog):
    catalog.insert(frames, [frame(number) for number in range(3)])
    with catalog.ask("SELECT camera, count(*) AS frames FROM frames GROUP BY camera") as answer:
        columns, rows = answer
        assert columns == ["camera", "frames"]
        assert [tuple(row) for row in rows] == [("barn-1", 3)]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM frames",
        "INSERT INTO properties VALUES ('a', 'b')",
        "UPDATE frames SET camera = 'x' RETURNING id",
        "DROP TABLE frames",
        "CREATE TABLE mine (x integer)",
        "SELEC 1",
        "SELECT nothing FROM frames",
        "SELECT 1; DELETE FROM frames",
        "",
    ],
)
def test_ask_refuses_everything_that_does_not_read(catalog, query):
    catalog.insert(frames, [frame(1)])
    with pytest.raises(ConfigError), catalog.ask(query) as (_, rows):
        list(rows)
    assert catalog.counted(frames) == {"barn-1": 1}
    assert catalog.scalar(sa.select(frames.c.camera)) == "barn-1"


def test_the_catalog_writes_again_after_a_question(catalog):
    with catalog.ask("SELECT 1 AS one") as (_, rows):
        assert [row.one for row in rows] == [1]
    assert catalog.insert(frames, [frame(1)]) == 1


def test_ask_takes_a_percent_sign_and_a_colon_as_they_are(catalog):
    catalog.insert(frames, [frame(1)])
    query = "SELECT camera || ':x' AS name FROM frames WHERE camera LIKE 'barn%'"
    with catalog.ask(query) as (_, rows):
        assert [row.name for row in rows] == ["barn-1:x"]


# Schema


def test_opening_twice_changes_nothing(catalog, catalog_url):
    catalog.insert(frames, [frame(1)])
    again = Catalog(catalog_url)
    assert again.counted(frames) == {"barn-1": 1}
    again.close()


def test_views_of_another_version_are_renewed_when_the_catalog_opens(catalog, catalog_url):
    catalog.insert(labels, [event(1, "f", "ana"), event(2, "f", "eva", "standing", at=20)])
    expected = current(catalog)
    with catalog.transaction() as connection:
        for name, statement in VIEWS.items():
            connection.exec_driver_sql(f"DROP VIEW {name}")
            connection.exec_driver_sql(statement.replace("age = 1", "age = 2"))
        connection.execute(sa.delete(properties).where(properties.c.key.like("view %")))
    again = Catalog(catalog_url)
    assert current(again) == expected != []
    assert len(current(again, current_class_labels)) == 2
    assert again.counted(labels) == {"lying": 1, "standing": 1}
    again.close()


def test_another_schema_version_is_refused(catalog, catalog_url):
    with catalog.transaction() as connection:
        connection.execute(sa.update(properties).values(value="999"))
    with pytest.raises(ConfigError, match="schema version 999, this besana reads"):
        Catalog(catalog_url)


def test_datasets_are_immutable_rows(catalog):
    row = {
        "name": "beds",
        "version": 1,
        "hash": "abc",
        "kind": "single",
        "classes": ["lying", "standing"],
        "samples": 3_000_000_000,
        "settings": {"test": "last_days"},
        "created_at": NOW,
    }
    assert catalog.insert(datasets, [row]) == 1
    assert catalog.insert(datasets, [{**row, "hash": "other"}]) == 0
    assert dict(catalog.rows(sa.select(datasets))[0]._mapping) == row
