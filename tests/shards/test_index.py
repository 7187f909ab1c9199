"""An index of foreign TFRecords: everything the loader needs, from the records alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_farm import jpeg, png, smooth_picture

from besana.errors import CorruptDataError, NotFoundError
from besana.shards import Loader, ShardWriter, open_manifest
from besana.shards.indexing import index, split_of
from besana.storage import open_storage


def foreign(folder: Path, key: str, numbers: range, **more: Any) -> None:
    with ShardWriter(open_storage(folder), key) as writer:
        for number in numbers:
            encode = jpeg if number % 2 else png
            picture = encode(smooth_picture(number, 30 + number, 40))
            writer.add({"image/encoded": picture, **{k: v(number) for k, v in more.items()}})


def test_foreign_records_load(tmp_path: Path) -> None:
    labels: Any = {
        "image/class/label": lambda n: n % 3 + 1,
        "image/class/text": lambda n: ["cow", "empty", "part"][n % 3],
        "image/filename": lambda n: f"{n}.jpg",
    }
    foreign(tmp_path, "train-0-of-2.tfrecord", range(10), **labels)
    foreign(tmp_path, "data/validation-0.tfrecord", range(10, 15), **labels)
    indexed = index(tmp_path)
    manifest = open_manifest(tmp_path / "manifest.parquet")

    assert (indexed.samples, indexed.skipped) == (15, 0)
    assert manifest.classes == ("0", "cow", "empty", "part")
    assert len(manifest.select("train")) == 10
    assert len(manifest.select("validation")) == 5
    with Loader(manifest, None, 15, 16, shuffle="none", threads=1) as loader:
        (batch,) = loader
    expected = [*range(10, 15), *range(10)]
    assert np.rint(batch.images[..., 0].mean(axis=(1, 2))).tolist() == pytest.approx(
        expected, abs=1
    )
    assert batch.labels.tolist() == [n % 3 + 1 for n in expected]
    assert manifest.sample_ids([0]) == ["10.jpg/all"]


def test_names_without_numbers_become_classes(tmp_path: Path) -> None:
    names: Any = {"image/class/text": lambda n: "cow" if n % 2 else "empty"}
    foreign(tmp_path, "a.tfrecord", range(4), **names)
    index(tmp_path)
    manifest = open_manifest(tmp_path / "manifest.parquet")

    assert [manifest.classes[label] for label in manifest.label] == ["empty", "cow"] * 2


def test_records_without_a_picture_are_named(tmp_path: Path) -> None:
    with ShardWriter(open_storage(tmp_path), "a.tfrecord") as writer:
        writer.add({"image/encoded": b"this is text"})
        writer.add({"image/encoded": png(smooth_picture(1))})
    indexed = index(tmp_path)

    assert indexed.samples == 1
    assert indexed.skipped == 1
    assert "'a.tfrecord' at byte 0" in indexed.problems[0]


def test_a_cut_shard_is_named_and_no_manifest_appears(tmp_path: Path) -> None:
    foreign(tmp_path, "a.tfrecord", range(3))
    data = (tmp_path / "a.tfrecord").read_bytes()
    (tmp_path / "a.tfrecord").write_bytes(data[:-5])

    with pytest.raises(CorruptDataError, match=r"a\.tfrecord at byte \d+"):
        index(tmp_path)
    assert not (tmp_path / "manifest.parquet").exists()


def test_a_folder_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="No TFRecord files"):
        index(tmp_path)


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("train-00000-of-01024", "train"),
        ("x/VALIDATION_3.tfrecord", "validation"),
        ("test.tfrec", "test"),
        ("training.tfrecord", ""),
    ],
)
def test_split_comes_from_the_name(key: str, split: str) -> None:
    assert split_of(key) == split


@pytest.mark.slow
def test_what_tensorflow_wrote_loads(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    def feature(value: Any) -> Any:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        for number in range(8):
            features = {
                "image/encoded": feature(jpeg(smooth_picture(number))),
                "image/class/label": feature(number % 2),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    index(tmp_path, classes=("cow", "empty"))

    with Loader(tmp_path / "manifest.parquet", batch_size=8, size=16) as loader:
        (batch,) = loader
    assert sorted(batch.index.tolist()) == list(range(8))
    assert batch.labels.tolist() == (batch.index % 2).tolist()
