"""What `split` freezes: whole groups, honest counts, the same version for the same content."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from besana import catalog as tables
from besana.config import parse
from besana.errors import ConfigError, NotReadyError
from besana.shards.datasets import Dataset, open_dataset
from besana.stages import split
from besana.storage import Folder
from besana.workspace import Report, Workspace

NOW = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
REGIONS = ("bed-1", "bed-2")
CAMERAS = '[cameras.north]\ntime_zone = "Europe/Madrid"\n'


class Farm:
    """A workspace whose rows wait until `flush`, so that many come in one transaction."""

    def __init__(self, path: Path) -> None:
        self.workspace = Workspace.create(path, CAMERAS)
        self.catalog = self.workspace.catalog
        self.datasets = self.workspace.datasets
        self.waiting: dict[str, tuple[sa.Table, list[dict[str, Any]]]] = {}
        self.count = 0

    def add(self, table: sa.Table, *rows: dict[str, Any]) -> None:
        self.waiting.setdefault(table.name, (table, []))[1].extend(rows)

    def flush(self) -> Workspace:
        for table, rows in self.waiting.values():
            self.catalog.insert(table, rows)
        self.waiting.clear()
        return self.workspace


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path / "farm")


def add_frame(
    farm: Farm,
    camera: str,
    at: dt.datetime | None,
    *,
    name: str = "",
    sha256: str = "",
    metadata: dict[str, str] | None = None,
    shard: str = "a.tfrecord",
) -> str:
    stem = at.strftime("%Y%m%dT%H%M%S.000Z") if at else name.replace("/", "-")
    frame_id = f"{camera}/{stem}-00000000"
    number = farm.count = farm.count + 1
    farm.add(
        tables.frames,
        {
            "id": frame_id,
            "camera": camera,
            "captured_at": at,
            "time_source": "name" if at else "none",
            "name": name or f"{stem}.jpg",
            "source": f"file:///{stem}",
            "source_size_bytes": 1,
            "source_modified_ns": 1,
            "bands": [],
            "sha256": sha256 or f"{number:064x}",
            "size_bytes": 1,
            "metadata": metadata or {},
            "collected_at": NOW,
        },
    )
    place = {"recipe": "r1", "shard": shard, "length_bytes": 100, "payload_length_bytes": 80}
    size = {"width_px": 64, "height_px": 48, "channels": 3}
    rows = [
        {
            "frame_id": frame_id,
            "region": region,
            "offset_bytes": 100 * number,
            "payload_offset_bytes": 100 * number + 16,
            "crc32c": number * 10 + i,
            "prepared_at": NOW,
            **place,
            **size,
        }
        for i, region in enumerate(REGIONS)
    ]
    farm.add(tables.samples, *rows)
    return frame_id


def add_label(
    farm: Farm,
    frame_id: str,
    region: str,
    class_name: str,
    *,
    annotator: str = "ana",
    holds: bool = True,
    at: dt.datetime = NOW,
) -> None:
    row = {
        "id": f"{frame_id}/{region}/{class_name}/{annotator}/{at}",
        "frame_id": frame_id,
        "region": region,
        "class_name": class_name,
        "holds": holds,
        "annotator": annotator,
        "source": "test",
        "labelled_at": at,
        "note": "",
        "added_at": NOW,
    }
    farm.add(tables.labels, row)


def add_issue(farm: Farm, frame_id: str, kind: str, detail: str = "", blocks: bool = False):
    row = {"frame_id": frame_id, "kind": kind, "stage": "clean", "blocks": blocks}
    farm.add(tables.issues, {**row, "detail": detail or None, "found_at": NOW})


def fill(farm: Farm, days: int, *, first_day: int = 0, camera: str = "north") -> list[str]:
    """Add a frame every 20 minutes of the morning, classes in turns of some hours."""
    ids = []
    for day in range(first_day, first_day + days):
        for step in range(24):
            at = START + dt.timedelta(days=day, hours=5, minutes=20 * step)
            frame_id = add_frame(farm, camera, at)
            for i, region in enumerate(REGIONS):
                name = ("lying", "standing", "empty")[(day + step // 5 + i) % 3]
                add_label(farm, frame_id, region, name)
            ids.append(frame_id)
    return ids


def run(farm: Farm, **settings: Any) -> tuple[Report, Dataset, list[dict[str, Any]]]:
    report = split.run(farm.flush(), split.Config(**settings))
    dataset = open_dataset(farm.workspace, settings.get("name", "default"))
    import pyarrow.parquet as pq

    path = farm.datasets.local_path(f"{dataset.place}/manifest.parquet")
    return report, dataset, pq.read_table(path).to_pylist()


def splits_of(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Frame -> the splits its samples are in."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["frame_id"], set()).add(row["split"])
    return found


def check(report: Report, rows: list[dict[str, Any]]) -> None:
    assert report.counts_in == report.counts_out + report.dropped.total()
    assert report.counts_out == len(rows)
    splits: dict[int, set[str]] = {}
    folds: dict[int, set[int]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
        folds.setdefault(row["group"], set()).add(row["fold"])
    assert all(len(found) == 1 for found in [*splits.values(), *folds.values()])


def test_split_keeps_groups_whole_and_classes_alike(farm: Farm) -> None:
    fill(farm, 12)
    report, dataset, rows = run(farm, method="fractions")

    check(report, rows)
    assert dataset.classes == ("empty", "lying", "standing")
    assert dataset.samples == 12 * 24 * 2
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    for name, share in shares.items():
        for class_name in dataset.classes:
            total = sum(counts[class_name] for counts in dataset.counts.values())
            assert dataset.counts[name][class_name] / total == pytest.approx(share, abs=0.04)
    # 3 frames of 2 regions an hour: nearly every test sample would have had a mate in train.
    assert dataset.leaked_by_random_split["leaked_share"] > 0.9
    blocks: dict[tuple[str, int], set[int]] = {}
    for row in rows:
        hour = int(row["captured_at"].timestamp()) // 3600
        blocks.setdefault((row["camera"], hour), set()).add(row["group"])
    assert all(len(groups) == 1 for groups in blocks.values())


def test_split_again_changes_nothing(farm: Farm) -> None:
    fill(farm, 4)
    first, dataset, rows = run(farm)
    again, same, rows_again = run(farm)

    assert first.facts["new_version"]
    assert not again.facts["new_version"]
    assert (same.version, same.hash) == (dataset.version, dataset.hash) == (1, dataset.hash)
    assert rows == rows_again
    assert farm.catalog.count(sa.select(tables.datasets)) == 1
    assert list(farm.workspace.temporary.iterdir()) == []


def test_split_after_a_new_label_makes_a_version_and_keeps_the_old_one(farm: Farm) -> None:
    ids = fill(farm, 4)
    _, first, rows = run(farm)
    add_label(farm, ids[0], "bed-1", "standing", at=NOW + dt.timedelta(hours=1))
    _, second, _ = run(farm)

    assert (first.version, second.version) == (1, 2)
    assert first.hash != second.hash
    assert len(open_dataset(farm.workspace, version=1).manifest()) == len(rows)
    with pytest.raises(NotReadyError, match="default/3"):
        open_dataset(farm.workspace, version=3)


def test_split_after_shards_moved_keeps_the_version(farm: Farm) -> None:
    fill(farm, 4)
    _, before, _ = run(farm)
    with farm.catalog.transaction() as connection:
        connection.execute(sa.update(tables.samples).values(shard="b.tfrecord"))
    report, after, rows = run(farm)

    assert after.version == 1
    assert after.hash == before.hash
    assert after.fingerprint != before.fingerprint
    assert not report.facts["new_version"]
    assert {row["shard"] for row in rows} == {"b.tfrecord"}
    assert after.manifest().shards == ("b.tfrecord",)


@pytest.mark.parametrize("settings", [{"method": "fractions"}, {"test_from": "2024-03-06"}])
def test_split_leaves_old_groups_where_they_were(farm: Farm, settings: Any) -> None:
    fill(farm, 7)
    _, _, before = run(farm, folds=3, **settings)
    fill(farm, 7, camera="south")
    fill(farm, 2, first_day=7)
    report, _, after = run(farm, folds=3, **settings)

    check(report, after)
    where = {(r["frame_id"], r["region"]): (r["split"], r["fold"]) for r in after}
    assert [where[r["frame_id"], r["region"]] for r in before] == [
        (r["split"], r["fold"]) for r in before
    ]


def test_split_by_the_last_days_of_the_cameras_clock(farm: Farm) -> None:
    fill(farm, 5)
    late = add_frame(farm, "north", START + dt.timedelta(days=3, hours=23, minutes=30))
    add_label(farm, late, "bed-1", "lying")
    report, dataset, rows = run(farm)

    check(report, rows)
    assert dataset.settings["method"] == "last_days"
    # 23:30 UTC is half past midnight of the next day in Madrid.
    assert splits_of(rows)[late] == {"test"}
    tested = {row["captured_at"].date().isoformat() for row in rows if row["split"] == "test"}
    assert tested == {"2024-03-04", "2024-03-05"}
    assert dataset.counts["validation"]["lying"] > 0
    assert report.dropped["unlabelled"] == 1


def test_split_knows_no_day_of_a_clock_that_was_not_set(farm: Farm) -> None:  # B32
    fill(farm, 5)
    for year in (1970, 2106):
        for minute in range(3):
            at = dt.datetime(year, 1, 1, 0, minute, tzinfo=dt.UTC)
            add_label(farm, add_frame(farm, "north", at), "bed-1", "lying")
    report, _, rows = run(farm, method="last_days")
    tested = {row["captured_at"].date().isoformat() for row in rows if row["split"] == "test"}
    assert tested == {"2024-03-05"}
    assert report.dropped == {"no_time": 6, "unlabelled": 6}

    report, _, rows = run(farm, name="all", method="fractions")
    check(report, rows)
    odd = [row for row in rows if row["captured_at"].year in (1970, 2106)]
    assert len(odd) == 6
    assert len({row["group"] for row in odd}) == 2


def test_split_from_a_day_on_as_toml_writes_it(farm: Farm) -> None:
    fill(farm, 5)
    config = parse(split.Config, {"test_from": dt.date(2024, 3, 3)}, where="[split]")
    split.run(farm.flush(), config)

    dataset = open_dataset(farm.workspace)
    assert sum(dataset.counts["test"].values()) == 3 * 24 * 2
    with pytest.raises(ConfigError, match="nothing to test on"):
        run(farm, test_from="2025-01-01")
    for no_day in ("tomorrow", dt.datetime(2024, 3, 8, tzinfo=dt.UTC)):
        with pytest.raises(ConfigError, match="test_from"):
            parse(split.Config, {"test_from": no_day}, where="[split]")


def test_split_keeps_duplicates_of_any_generation_together(farm: Farm) -> None:
    ids = fill(farm, 8)
    # A chain over four days, one link of it in quarantine and one never collected.
    chain = [ids[3], ids[30], ids[60], "north/gone-00000000", ids[90]]
    for older, newer in itertools.pairwise(chain):
        add_issue(farm, newer, "near_duplicate", older)
    add_issue(farm, ids[60], "dark", blocks=True)
    report, _, rows = run(farm, method="fractions")

    check(report, rows)
    groups = {row["group"] for row in rows if row["frame_id"] in chain}
    assert len(groups) == 1
    assert report.dropped == {"quarantined": 2}


def test_split_keeps_frames_with_the_same_bytes_together(farm: Farm) -> None:
    fill(farm, 3)
    twins = [add_frame(farm, "south", None, name=f"{n}.jpg", sha256="f" * 64) for n in "ab"]
    for twin in twins:
        add_label(farm, twin, "bed-1", "lying")
    _, _, rows = run(farm, method="fractions")

    assert len({row["group"] for row in rows if row["frame_id"] in twins}) == 1


def test_split_leaves_out_what_would_cross_into_the_last_days(farm: Farm) -> None:
    ids = fill(farm, 5)
    add_issue(farm, ids[-1], "near_duplicate", ids[0])
    report, _, rows = run(farm, test_days=1)

    check(report, rows)
    found = splits_of(rows)
    assert found[ids[-1]] == {"test"}
    # Its two regions go; 05:20 and 05:40 of the same block resemble nothing that is tested on.
    assert report.dropped == {"resembles_held_out": 2}
    assert ids[0] not in found
    assert set(ids[1:3]) <= set(found)


def test_split_drops_no_block_for_one_frame_that_chains_across_the_cut(farm: Farm) -> None:
    ids = fill(farm, 6)
    # Empty floor: one frame a day resembles that of the day before, up to the test day.
    for older, newer in itertools.pairwise(ids[7::24]):
        add_issue(farm, newer, "near_duplicate", older)
    report, _, rows = run(farm, test_days=1)

    check(report, rows)
    assert report.dropped == {"resembles_held_out": 5 * 2}
    assert report.counts_out == 6 * 24 * 2 - 10


def test_split_by_a_column_drops_what_shares_a_block_with_test(farm: Farm) -> None:
    for minute in range(0, 360, 20):
        part = "test" if minute == 60 else "train"
        at = START + dt.timedelta(hours=4, minutes=minute)
        frame_id = add_frame(farm, "north", at, metadata={"part": part})
        add_label(farm, frame_id, "bed-1", ("a", "b")[minute % 40 == 0])
    report, _, rows = run(farm, split_column="part", validation_share=0.0)

    check(report, rows)
    assert report.dropped == {"unlabelled": 18, "block_crosses": 2}


tie = st.tuples(st.integers(0, 23), st.integers(0, 23))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pairs=st.lists(tie, max_size=8),
    values=st.lists(st.sampled_from(["", "", "", "a", "b"]), min_size=24, max_size=24),
    method=st.sampled_from(["last_days", "camera", "fractions"]),
)
def test_split_never_lets_a_pair_a_value_or_a_block_cross(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[int, int]],
    values: list[str],
    method: str,
) -> None:
    farm = Farm(tmp_path_factory.mktemp("farm") / "farm")
    ids = []
    for number in range(24):
        at = START + dt.timedelta(days=number // 8, hours=4 + number // 3 % 3, minutes=number)
        value = {"lot": values[number]} if values[number] else {"other": "x"}
        ids.append(add_frame(farm, ("north", "south")[number % 2], at, metadata=value))
        add_label(farm, ids[-1], "bed-1", ("lying", "empty")[number % 2])
    newer_of = {max(pair): min(pair) for pair in pairs if pair[0] != pair[1]}
    for newer, older in newer_of.items():
        add_issue(farm, ids[newer], "near_duplicate", ids[older])
    options = {"test_camera": ["south"]} if method == "camera" else {}
    group_by = "lot" if any(values) else ""
    try:
        report, _, rows = run(farm, method=method, group_by=group_by, folds=2, **options)
    except ConfigError:
        reject()  # everything is one group, or nothing is left on one side

    check(report, rows)
    kept = {row["frame_id"]: row for row in rows}
    ties = [(ids[a], ids[b]) for a, b in newer_of.items()]
    for one, other in itertools.combinations(range(24), 2):
        same_value = values[one] and values[one] == values[other]
        same_hour = ids[one][:17] == ids[other][:17]
        if same_value or same_hour:
            ties.append((ids[one], ids[other]))
    for one, other in ties:
        if one in kept and other in kept:
            assert kept[one]["split"] == kept[other]["split"]
            assert kept[one]["group"] == kept[other]["group"]


def test_split_by_camera(farm: Farm) -> None:
    fill(farm, 2)
    fill(farm, 2, camera="south")
    report, dataset, rows = run(farm, test_camera=["south"])

    check(report, rows)
    assert dataset.settings["method"] == "camera"
    assert {row["camera"] for row in rows if row["split"] == "test"} == {"south"}
    with pytest.raises(ConfigError, match="camera 'west'"):
        run(farm, test_camera=["west"])


def test_split_by_a_column_and_by_the_file_name(farm: Farm) -> None:
    for part, count in (("train", 30), ("valid", 8), ("test", 10), ("odd", 2)):
        for number in range(count):
            name = f"{part}/{number}.jpg"
            frame_id = add_frame(farm, "cam", None, name=name, metadata={"part": part})
            add_label(farm, frame_id, "bed-1", ("a", "b")[number % 2])
    by_column, _, rows = run(farm, split_column="part")
    by_name, _, rows_by_name = run(farm, split_column="name", split_pattern="^([^/]+)/")

    check(by_column, rows)
    assert by_column.dropped == {"no_split_said": 2, "unlabelled": 50}
    sizes = [sum(row["split"] == name for row in rows) for name in ("train", "validation", "test")]
    assert sizes == [30, 8, 10]
    assert by_column.results == ["dataset default/1 by column: train 30, validation 8, test 10"]
    assert rows == rows_by_name
    assert not by_name.facts["new_version"]
    with pytest.raises(ConfigError, match="'origin'"):
        run(farm, split_column="origin")


def test_split_keeps_copies_together_by_a_pattern(farm: Farm) -> None:
    for number in range(40):
        for copy in ("", "_rot1", "_rot2"):
            frame_id = add_frame(farm, "cam", None, name=f"leaf{number}{copy}.jpg")
            add_label(farm, frame_id, "bed-1", ("blight", "rust")[number % 2])
    apart, _, rows = run(farm, name="apart")
    assert apart.facts["groups"] == 120
    assert apart.facts["leaked_by_random_split_share"] == 0

    together, _, rows = run(farm, group_by="name", group_pattern=r"^(.+?)(_rot\d)?\.jpg$")
    check(together, rows)
    assert together.facts["groups"] == 40
    assert together.facts["leaked_by_random_split_share"] > 0.5


def test_split_drops_what_people_do_not_agree_on(farm: Farm) -> None:
    ids = fill(farm, 4)
    add_label(farm, ids[0], "bed-1", "standing", annotator="luis")
    add_label(farm, ids[1], "bed-1", "lying", annotator="luis")
    twins = [
        add_frame(farm, "north", START + dt.timedelta(minutes=m), sha256="f" * 64) for m in (0, 5)
    ]
    for twin, name in zip(twins, ("lying", "empty"), strict=True):
        add_label(farm, twin, "bed-2", name)
    add_issue(farm, twins[1], "exact_duplicate", twins[0])
    report, _, rows = run(farm)

    check(report, rows)
    assert report.dropped == {"tied": 1, "conflicting": 2, "unlabelled": 2}
    assert (ids[0], "bed-1") not in {(row["frame_id"], row["region"]) for row in rows}
    table = next(s for s in report.sections if s.title.startswith("Identical"))
    assert table.rows == [[f"{twins[0]}/bed-2", f"{twins[1]}/bed-2", "lying", "empty"]]


def test_split_of_chosen_classes_in_their_order(farm: Farm) -> None:
    fill(farm, 4)
    report, dataset, rows = run(farm, classes=["standing", "lying"])

    check(report, rows)
    assert dataset.classes == ("standing", "lying")
    assert sum(sum(counts.values()) for counts in dataset.counts.values()) == len(rows)
    assert report.dropped == {"other_class": 4 * 24 * 2 - len(rows)}


def test_split_of_several_classes_a_sample(farm: Farm) -> None:
    rng = np.random.default_rng(0)
    truth = {}
    for number in range(300):
        frame_id = add_frame(farm, "field", None, name=f"{number}.tif")
        holds = rng.random(3) < (0.5, 0.2, 0.05)
        truth[frame_id] = dict(zip(("dry", "weed", "wet"), holds.tolist(), strict=True))
        for name, true in truth[frame_id].items():
            add_label(farm, frame_id, "bed-1", name, holds=true)
    report, dataset, rows = run(farm)

    check(report, rows)
    assert dataset.kind == "multi"
    assert dataset.classes == ("dry", "weed", "wet")
    assert {row["frame_id"]: row["labels"] for row in rows} == {
        frame_id: list(holds.values()) for frame_id, holds in truth.items()
    }
    for name in dataset.classes:
        total = sum(counts[name] for counts in dataset.counts.values())
        assert dataset.counts["test"][name] / total == pytest.approx(0.2, abs=0.1)


def test_split_into_folds(farm: Farm) -> None:
    fill(farm, 10)
    report, dataset, rows = run(farm, folds=4)

    check(report, rows)
    assert dataset.folds == 4
    assert {row["fold"] for row in rows if row["split"] == "test"} == {-1}
    sizes = np.bincount([row["fold"] for row in rows if row["split"] != "test"])
    assert sizes.max() - sizes.min() <= 12


def test_split_drops_pictures_with_other_channels(farm: Farm) -> None:
    ids = fill(farm, 4)
    farm.flush()
    with farm.catalog.transaction() as connection:
        one = tables.samples.c.frame_id == ids[5]
        connection.execute(sa.update(tables.samples).where(one).values(channels=1))
    report, dataset, rows = run(farm)

    check(report, rows)
    assert report.dropped == {"other_channels": 2}
    assert dataset.channels == 3


def test_split_says_what_comes_first(farm: Farm) -> None:
    with pytest.raises(NotReadyError, match="besana prepare"):
        split.run(farm.flush())
    add_frame(farm, "north", START)
    with pytest.raises(NotReadyError, match="besana label"):
        split.run(farm.flush())
    with pytest.raises(NotReadyError, match="besana split"):
        open_dataset(farm.workspace)


def test_split_cut_short_leaves_nothing_that_counts(farm: Farm) -> None:
    fill(farm, 4)
    # As after a kill between the files and the row: the files of version 1 are there.
    Folder(farm.workspace.path / "datasets").write("default/1/manifest.parquet", b"half")
    Folder(farm.workspace.path / "datasets").write("default/1/dataset.json", b"{")
    report, dataset, rows = run(farm)

    check(report, rows)
    assert dataset.version == 1
    assert len(dataset.manifest()) == len(rows)
    record = json.loads(farm.datasets.read("default/1/dataset.json"))
    assert record["hash"] == farm.catalog.scalar(sa.select(tables.datasets.c.hash))


def test_split_of_one_group_says_why_it_cannot(farm: Farm) -> None:
    for minute in range(3):
        frame_id = add_frame(farm, "north", START + dt.timedelta(minutes=minute))
        add_label(farm, frame_id, "bed-1", ("lying", "empty")[minute % 2])
    with pytest.raises(ConfigError, match="All 3 samples are one group"):
        run(farm)
    _, dataset, _ = run(farm, test_share=0.0, validation_share=0.0)
    assert sum(dataset.counts["train"].values()) == 3


def fill_lights(farm: Farm, lights: dict[str, list[str]]) -> None:
    """Add ten frames of each part and light; the metadata say the part."""
    for part, names in lights.items():
        for light in names:
            for number in range(10):
                name = f"{part}-{light}-{number}.jpg"
                frame_id = add_frame(farm, "cam", None, name=name, metadata={"part": part})
                add_label(farm, frame_id, "bed-1", ("a", "b")[number % 2])
                measures = ("dark_share", "bright_share", "contrast", "sharpness", "entropy_bits")
                size = {"width_px": 64, "height_px": 48, "channels": 3, "perceptual_hash": 0}
                looks = dict.fromkeys(("brightness", *measures), 0.5) | {"light": light}
                farm.add(tables.quality, {"frame_id": frame_id, **size, **looks})


@pytest.mark.parametrize(
    ("lights", "english", "spanish"),
    [
        (
            {"train": ["day"], "validation": ["day"], "test": ["day", "ir"]},
            "Nothing in train was taken in infrared, but 10 samples of test were",
            "no hay nada tomado con infrarrojo, pero sí 10 muestras de prueba",
        ),
        (
            {"train": ["ir"], "validation": ["day"], "test": ["day", "ir"]},
            "Nothing in train was taken in daylight, but 10 samples of validation and 10 of test",
            "no hay nada tomado con luz de día, pero sí 10 muestras de validación y 10 de prueba",
        ),
    ],
)
def test_split_warns_of_a_light_that_train_never_sees(
    farm: Farm, lights: dict[str, list[str]], english: str, spanish: str
) -> None:
    fill_lights(farm, lights)
    report, _, _ = run(farm, split_column="part")

    assert [warning.startswith(english) for warning in report.warnings] == [True]
    assert report.page
    page = report.page.read_text()
    assert report.warnings[0] in page
    assert spanish in page


def test_split_warns_of_a_class_that_train_never_sees(farm: Farm) -> None:
    for part, name, count in (
        ("train", "a", 6),
        ("val", "b", 2),
        ("test", "a", 3),
        ("test", "b", 3),
    ):
        for number in range(count):
            frame_id = add_frame(
                farm, "cam", None, name=f"{part}{name}{number}.jpg", metadata={"part": part}
            )
            add_label(farm, frame_id, "bed-1", name)
    report, _, _ = run(farm, split_column="part")
    assert report.warnings == [
        "Class 'b' has no sample in train, but 5 in validation and test: no model learns it."
    ]
    assert report.page
    assert "La clase «b» no tiene muestras en el entrenamiento" in report.page.read_text()


def test_split_of_classes_that_nobody_said_names_those_that_are_there(farm: Farm) -> None:
    fill(farm, 3)
    with pytest.raises(ConfigError, match=r"No label has one of .* Known: empty, lying, standing"):
        run(farm, classes=["flying"])


def test_split_counts_each_light_and_warns_of_none_that_train_sees(farm: Farm) -> None:
    fill_lights(farm, {"train": ["day", "ir"], "validation": ["day"], "test": ["ir"]})
    report, _, _ = run(farm, split_column="part")

    assert report.warnings == []
    each = [section for section in report.sections if section.title == "Each light"]
    assert [vars(table)["rows"] for table in each] == [[["day", 10, 10, 0], ["ir", 10, 0, 10]]]
