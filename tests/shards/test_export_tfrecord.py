"""The export: self-contained, shuffled, labelled, the same each time; TensorFlow reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import Farm

from besana.errors import CorruptDataError
from besana.shards import Loader, Manifest, open_manifest
from besana.shards.example import parse_example
from besana.shards.export import export_tfrecord
from besana.shards.indexing import records
from besana.storage import open_storage


def export(manifest: Manifest, folder: Path, **options: Any) -> Manifest:
    out = open_storage(folder)
    export_tfrecord(manifest, manifest.storage, out, **options)
    return open_manifest(out)


def test_the_copy_holds_every_sample_with_its_class(hundred: Manifest, tmp_path: Path) -> None:
    done: list[int] = []
    copy = export(hundred, tmp_path, shard_bytes=20_000, advance=done.append)
    count = len(copy.shards)

    assert sum(done) == len(copy) == 100
    assert count > 3
    assert copy.shards == tuple(f"train-{n:05d}-of-{count:05d}.tfrecord" for n in range(count))
    assert sorted(copy.sample_ids(range(100))) == hundred.sample_ids(range(100))
    assert copy.sample_ids(range(100)) != hundred.sample_ids(range(100))
    (_, data), *_ = records(copy.storage, copy.shards[0])
    example = parse_example(data)
    assert example["image/class/label"] == [int(copy.label[0])]
    assert example["image/class/text"] == [copy.classes[copy.label[0]].encode()]
    assert f"{example['image/filename'][0].decode()}" == copy.sample_ids([0])[0]  # type: ignore[union-attr]


def test_the_copy_loads_to_the_same_pictures(hundred: Manifest, tmp_path: Path) -> None:
    def pictures(manifest: Manifest) -> Mapping[str, bytes]:
        with Loader(manifest, batch_size=100, size=16, shuffle="none") as loader:
            (batch,) = loader
        names = manifest.sample_ids(batch.index)
        return {name: image.tobytes() for name, image in zip(names, batch.images, strict=True)}

    assert pictures(export(hundred, tmp_path)) == pictures(hundred)


def test_a_killed_copy_goes_on_and_gives_the_same_bytes(hundred: Manifest, tmp_path: Path) -> None:
    whole = export(hundred, tmp_path / "a", shard_bytes=20_000)
    export(hundred, tmp_path / "b", shard_bytes=20_000)
    (tmp_path / "b" / whole.shards[1]).unlink()
    torn = tmp_path / "b" / whole.shards[2]
    torn.write_bytes(torn.read_bytes()[:-7])
    kept = (tmp_path / "b" / whole.shards[0]).stat().st_mtime_ns
    export(hundred, tmp_path / "b", shard_bytes=20_000)

    assert (tmp_path / "b" / whole.shards[0]).stat().st_mtime_ns == kept
    for name in [*whole.shards, "manifest.parquet"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_one_split_and_several_labels(tmp_path: Path) -> None:
    farm = Farm(tmp_path / "in", count=6, shards=1, more={"labels": [True, False, True]})
    copy = export(farm.write(), tmp_path / "out", split="train")

    assert copy.labels is not None
    assert copy.labels.tolist() == [[True, False, True]] * 6
    (_, data), *_ = records(copy.storage, copy.shards[0])
    assert parse_example(data)["image/class/label"] == [0, 2]


def test_a_corrupt_record_stops_the_copy(tmp_path: Path) -> None:
    manifest = Farm(tmp_path / "in", count=6, shards=1).write()
    path = tmp_path / "in" / "shard-0.tfrecord"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)

    with pytest.raises(CorruptDataError, match=r"shard-0\.tfrecord' at byte"):
        export(manifest, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.parquet").exists()


@pytest.mark.slow
def test_tensorflow_reads_the_copy_with_labels(hundred: Manifest, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    copy = export(hundred, tmp_path, shard_bytes=20_000)
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
    }
    paths = sorted(str(path) for path in tmp_path.glob("*.tfrecord"))
    read = [
        tf.io.parse_single_example(record, features) for record in tf.data.TFRecordDataset(paths)
    ]
    pictures = [tf.io.decode_jpeg(row["image/encoded"]).numpy() for row in read]

    assert [int(row["image/class/label"]) for row in read] == copy.label.tolist()
    assert pictures[0].shape == (40, 48, 3)
    numbers = [round(float(np.mean(picture[..., 0]))) for picture in pictures]
    assert sorted(numbers) == pytest.approx(list(range(100)), abs=1)
