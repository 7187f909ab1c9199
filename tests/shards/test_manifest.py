"""The manifest: what is written is known by position; its hash does not depend on batching."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.shards.manifest import Coded, Manifest, ManifestWriter, open_manifest
from besana.shards.manifest_writer import MANIFEST_SCHEMA
from besana.storage import open_storage

START = datetime(2026, 3, 1, tzinfo=UTC)


def rows(count: int, **more: object) -> list[dict[str, object]]:
    return [
        {
            "frame_id": f"cam-{n % 3}/{n:06d}",
            "region": f"bed-{n % 2}",
            "shard": f"shard-{n // 100}.tfrecord",
            "offset_bytes": (n % 100) * 1000 + (1 << 33),
            "length_bytes": 1000,
            "payload_offset_bytes": (n % 100) * 1000 + 70 + (1 << 33),
            "payload_length_bytes": 900,
            "crc32c": (n * 2654435761) % 2**32,
            "height_px": 256,
            "width_px": 300,
            "channels": 3,
            "label": n % 4 - 1,
            "split": "test" if n % 5 == 0 else "train",
            "fold": -1 if n % 5 == 0 else n % 3,
            "group": n // 10,
            "camera": f"cam-{n % 3}",
            "captured_at": None if n == 1 else START + timedelta(minutes=n),
            "light": "day" if n % 2 else "ir",
        }
        | more
        for n in range(count)
    ]


def write(path: Path, data: list[dict[str, object]], batch: int = 10**9) -> Manifest:
    with ManifestWriter(path, classes=("cow", "empty", "part")) as writer:
        for start in range(0, len(data), batch):
            writer.write(data[start : start + batch])
    manifest = open_manifest(path)
    assert manifest.fingerprint == writer.fingerprint
    assert len(manifest) == writer.count == len(data)
    return manifest


def test_columns_come_back(tmp_path: Path) -> None:
    data = rows(1000)
    manifest = write(tmp_path / "manifest.parquet", data)

    place = manifest.location(777)
    assert place.shard == "shard-7.tfrecord"
    assert place.offset_bytes == 77_000 + (1 << 33)
    assert place.payload_offset_bytes == 77_070 + (1 << 33)
    assert place.crc32c == data[777]["crc32c"]
    assert manifest.label.tolist() == [row["label"] for row in data]
    assert manifest.classes == ("cow", "empty", "part")
    assert manifest.labels is None
    assert manifest.sample_ids([999, 3]) == ["cam-0/000999/bed-1", "cam-0/000003/bed-1"]
    identity = manifest.identities([2])[0]
    assert identity["captured_at"] == START + timedelta(minutes=2)
    assert manifest.column("group").tolist() == [row["group"] for row in data]
    times = manifest.column("captured_at")
    assert np.isnat(times[1])
    assert times[2] == np.datetime64("2026-03-01T00:02")
    camera = manifest.column("camera")
    assert isinstance(camera, Coded)
    assert [camera.names[code] for code in camera.codes] == [row["camera"] for row in data]


def test_schema_in_the_file_is_the_published_one(tmp_path: Path) -> None:
    write(tmp_path / "manifest.parquet", rows(10))

    assert pq.read_schema(tmp_path / "manifest.parquet").equals(MANIFEST_SCHEMA)


def test_a_sample_takes_about_32_bytes(tmp_path: Path) -> None:
    manifest = write(tmp_path / "manifest.parquet", rows(20_000))

    assert manifest.held_bytes / len(manifest) < 40


def test_fingerprint_does_not_depend_on_batches(tmp_path: Path) -> None:
    data = rows(20_000)
    whole = write(tmp_path / "a.parquet", data)
    pieces = write(tmp_path / "b.parquet", data, batch=777)
    other = write(tmp_path / "c.parquet", [*data[:-1], data[-1] | {"label": 0}])

    assert whole.fingerprint == pieces.fingerprint
    assert whole.fingerprint != other.fingerprint
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_rows_over_several_groups_keep_their_place(tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.parquet", rows(40_000), batch=9_999)

    wanted = [39_999, 0, 16_384, 16_383]
    assert manifest.sample_ids(wanted) == [f"cam-{n % 3}/{n:06d}/bed-{n % 2}" for n in wanted]
    assert manifest.shards[manifest.shard[39_999]] == "shard-399.tfrecord"


def test_select_splits_and_folds(tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.parquet", rows(90))

    test = manifest.select("test")
    assert (test % 5 == 0).all()
    train = manifest.select("train", (1, "train"))
    validation = manifest.select("train", (1, "validation"))
    assert (validation % 3 == 1).all()
    assert sorted([*test, *train, *validation]) == list(range(90))
    with pytest.raises(NotFoundError, match=r"No split 'tarin'.*train"):
        manifest.select("tarin")
    with pytest.raises(NotFoundError, match="No fold 7"):
        manifest.select("train", (7, "train"))


def test_multi_labels_come_as_a_matrix(tmp_path: Path) -> None:
    data = rows(3, labels=[True, False, True])
    data[1]["labels"] = None
    manifest = write(tmp_path / "m.parquet", data)

    assert manifest.labels is not None
    assert manifest.labels.tolist() == [[True, False, True], [False] * 3, [True, False, True]]


def test_missing_columns_get_defaults(tmp_path: Path) -> None:
    few = [
        {name: row[name] for name in MANIFEST_SCHEMA.names[:11] if name != "region"}
        for row in rows(3)
    ]
    manifest = write(tmp_path / "m.parquet", few)

    assert manifest.label.tolist() == [-1, -1, -1]
    assert manifest.fold.tolist() == [-1, -1, -1]
    assert manifest.splits == ("",)
    assert manifest.sample_ids([2]) == ["cam-2/000002/all"]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"colour": 1}, "colour"), ({"label": "cow"}, "label"), ({"shard": None}, "shard")],
)
def test_wrong_rows_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with (
        pytest.raises(ConfigError, match=message),
        ManifestWriter(open_storage(tmp_path)) as writer,
    ):
        writer.write(rows(2, **change))

    assert list(tmp_path.iterdir()) == []


def test_an_empty_manifest_opens(tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.parquet", [])

    assert len(manifest) == 0
    assert manifest.select().tolist() == []


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"manifest\.parquet"):
        open_manifest(open_storage(tmp_path))


def test_a_changed_byte_never_changes_a_column(tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.parquet", rows(300))
    good = (tmp_path / "m.parquet").read_bytes()
    held = {k: v.tolist() for k, v in vars(manifest).items() if isinstance(v, np.ndarray)}
    ids = manifest.sample_ids(range(300))
    generator = np.random.default_rng(4)
    found = 0
    for place in generator.integers(0, len(good), 200):
        bad = bytearray(good)
        bad[place] ^= 1 << generator.integers(8)
        (tmp_path / "bad.parquet").write_bytes(bad)
        try:
            other = open_manifest(tmp_path / "bad.parquet")
            assert other.sample_ids(range(300)) == ids
        except (CorruptDataError, NotFoundError):
            found += 1
            continue
        assert {k: v.tolist() for k, v in vars(other).items() if isinstance(v, np.ndarray)} == held
    assert found > 100
