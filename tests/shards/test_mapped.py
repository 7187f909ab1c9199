"""Columns in a mapped file: opened in place of the manifest, and never believed when damaged."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from besana.errors import CorruptDataError, StorageError
from besana.shards import ManifestWriter, open_manifest
from besana.shards.mapped import (
    MAPPED_ROWS,
    disk_columns,
    map_columns,
    mapped_path,
    write_columns,
)

COLUMNS = {
    "offset": np.arange(3_000_000, dtype=np.uint64) * 7,
    "label": np.arange(3_000_000, dtype=np.int32) % 300 - 1,
    "labels": np.arange(6_000_000).reshape(-1, 2) % 3 == 0,
    "none": np.zeros(0, np.uint8),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("columns") / "a.columns"
    write_columns(path, "f" * 64, COLUMNS, {"shards": ["x", "ñ"]})
    return path


def test_columns_come_back_in_the_smallest_type(written: Path) -> None:
    found, more = map_columns(written, "f" * 64)

    assert {name: column.dtype for name, column in found.items()} == {
        "offset": np.uint32,
        "label": np.int16,
        "labels": np.bool_,
        "none": np.uint8,
    }
    assert all((found[name] == COLUMNS[name]).all() for name in COLUMNS)
    assert more == {"shards": ["x", "ñ"]}
    assert not found["offset"].flags.writeable
    assert os.listdir(written.parent) == [written.name]


def test_columns_of_another_manifest_are_refused(written: Path) -> None:
    with pytest.raises(CorruptDataError, match="another manifest"):
        map_columns(written, "e" * 64)


def test_every_damage_is_found(written: Path, tmp_path: Path) -> None:
    good = written.read_bytes()
    generator = np.random.default_rng(0)
    changed = tmp_path / "changed"
    for place in [0, 9, 17, 40, *generator.integers(1 << 13, len(good), 20)]:
        bad = bytearray(good)
        bad[place] ^= 1 << generator.integers(8)
        changed.write_bytes(bad)
        try:
            found, _ = map_columns(changed, "f" * 64)
        except CorruptDataError:
            continue
        assert all((found[name] == COLUMNS[name]).all() for name in COLUMNS)  # it hit padding
    for length in (0, 10, 5000, len(good) - 1):
        changed.write_bytes(good[:length])
        with pytest.raises(CorruptDataError):
            map_columns(changed, "f" * 64)


def test_columns_on_a_disk_take_their_room_or_say_so(tmp_path: Path) -> None:
    column = disk_columns(tmp_path)(1000, np.uint32)
    column[:] = 7

    assert column.sum() == 7000
    assert list(tmp_path.iterdir()) == []
    for folder, rows in [(tmp_path, 1 << 50), (tmp_path / "none", 10), (Path("/proc"), 10)]:
        with pytest.raises(StorageError, match="No room"):
            disk_columns(folder)(rows, np.uint64)


@pytest.mark.slow
def test_a_large_manifest_is_mapped_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    rows = MAPPED_ROWS
    at = np.arange(rows)
    with ManifestWriter(path, classes=("a", "b")) as writer:
        writer.write(
            pa.table(
                {
                    "frame_id": pa.array(np.char.mod("cam/%07d", at)),
                    "shard": pa.array(np.char.mod("%03d.tfrecord", at // 4000)),
                    "offset_bytes": (at % 4000).astype(np.uint64) * 1000,
                    "length_bytes": np.full(rows, 1000, np.uint32),
                    "payload_offset_bytes": (at % 4000).astype(np.uint64) * 1000 + np.uint64(70),
                    "payload_length_bytes": np.full(rows, 900, np.uint32),
                    "crc32c": (at * 2654435761 % 2**32).astype(np.uint32),
                    "height_px": np.full(rows, 256, np.uint32),
                    "width_px": np.full(rows, 300, np.uint32),
                    "channels": np.full(rows, 3, np.uint8),
                    "label": (at % 2).astype(np.int32),
                    "split": pa.array(["train"] * rows),
                }
            )
        )
    first = open_manifest(path)
    beside = mapped_path(path)
    assert beside.exists()
    assert isinstance(first.crc32c.base, object)
    assert not first.crc32c.flags.writeable
    second = open_manifest(path)
    assert second.held_bytes / rows < 36
    names = [name for name, value in vars(first).items() if isinstance(value, np.ndarray)]
    assert len(names) > 8
    assert all((getattr(first, name) == getattr(second, name)).all() for name in names)
    assert second.location(12_345).payload_offset_bytes == 345 * 1000 + 70
    assert second.shards[second.shard[rows - 1]] == "249.tfrecord"
    assert second.sample_ids([777_777]) == ["cam/0777777/all"]
    beside.unlink()  # whoever has it mapped keeps it
    beside.write_bytes(b"damaged")
    third = open_manifest(path)
    assert (third.crc32c == first.crc32c).all()
    assert beside.stat().st_size > 10_000
    beside.unlink()
    beside.mkdir()  # nothing can be written there
    assert (open_manifest(path).crc32c == first.crc32c).all()
