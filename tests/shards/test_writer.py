"""The shard writer: places are right, nothing appears before it reads back."""

from pathlib import Path

import pytest

from besana.errors import ConfigError, CorruptDataError
from besana.shards.writer import ShardWriter, sample_example
from besana.storage import open_storage


def example(name: str, payload: bytes, **bands: bytes) -> dict[str, object]:
    return sample_example(
        name, payload, image_format="png", height_px=2, width_px=3, channels=3, bands=bands
    )


def test_locations_find_record_and_payload(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with ShardWriter(storage, "part/a.tfrecord") as writer:
        first = writer.add(example("f1/all", b"first payload"))
        second = writer.add(example("f2/all", b"second", nir=b"more"))
        assert writer.count == 2
    data = (tmp_path / "part/a.tfrecord").read_bytes()

    assert first.shard == "part/a.tfrecord"
    assert first.offset_bytes == 0
    assert second.offset_bytes == first.length_bytes
    assert second.offset_bytes + second.length_bytes == len(data) == writer.size_bytes
    at = second.payload_offset_bytes
    assert data[at : at + second.payload_length_bytes] == b"second"


def write_and_fail(folder: Path) -> None:
    with ShardWriter(open_storage(folder), "a.tfrecord") as writer:
        writer.add(example("f1/all", b"payload"))
        raise RuntimeError("killed")


def test_nothing_appears_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        write_and_fail(tmp_path)

    assert list(tmp_path.iterdir()) == []


def write_on_a_bad_disk(folder: Path) -> None:
    with ShardWriter(open_storage(folder), "a.tfrecord") as writer:
        writer.add(example("f1/all", b"payload"))
        writer._stream.flush()
        part = next(folder.iterdir())
        data = bytearray(part.read_bytes())
        data[40] ^= 1
        with part.open("r+b") as file:
            file.write(data)


def test_a_shard_that_does_not_read_back_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(CorruptDataError):
        write_on_a_bad_disk(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_sample_without_an_image_is_refused(tmp_path: Path) -> None:
    with ShardWriter(open_storage(tmp_path), "a.tfrecord") as writer:
        with pytest.raises(ConfigError, match="image/encoded"):
            writer.add({"image/format": "png"})
        writer.add(example("f1/all", b"payload"))


@pytest.mark.slow
def test_tensorflow_reads_the_shard(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    with ShardWriter(open_storage(tmp_path), "a.tfrecord") as writer:
        for number in range(5):
            writer.add(example(f"f{number}/all", bytes([number]) * 50, nir=b"more"))
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/encoded/nir": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
    }
    read = [
        tf.io.parse_single_example(record, features)
        for record in tf.data.TFRecordDataset(str(tmp_path / "a.tfrecord"))
    ]

    assert [row["image/encoded"].numpy() for row in read] == [bytes([n]) * 50 for n in range(5)]
    assert [row["image/filename"].numpy().decode() for row in read] == [
        f"f{n}/all" for n in range(5)
    ]
    assert int(read[0]["image/height"]) == 2
