"""Records and Examples: what is written is read back, by us and by TensorFlow; damage is seen."""

import io
import struct

import pytest

from besana.errors import ConfigError, CorruptDataError
from besana.shards.example import encode_example, locate_features, parse_example
from besana.shards.tfrecord import RecordWriter, mask, open_record, read_records


def shard(*records: bytes) -> bytes:
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for record in records:
        writer.write(record)
    assert writer.size_bytes == len(stream.getvalue())
    return stream.getvalue()


def test_records_read_back_with_their_offsets() -> None:
    data = shard(b"one", b"", b"three" * 1000)

    assert list(read_records(io.BytesIO(data))) == [
        (0, b"one"),
        (19, b""),
        (35, b"three" * 1000),
    ]


def test_a_record_is_what_tensorflow_writes() -> None:
    # tf.io.TFRecordWriter wrote this for b"abc".
    assert shard(b"abc").hex() == "0300000000000000b099490e6162636e57f121"
    assert mask(0) == 0xA282EAD8


@pytest.mark.parametrize("cut", [1, 11, 12, 15, 18])
def test_a_shard_cut_inside_a_record_is_truncated(cut: int) -> None:
    with pytest.raises(CorruptDataError, match="ends inside") as caught:
        list(read_records(io.BytesIO(shard(b"abc")[:cut])))

    assert caught.value.reason == "truncated"


def test_every_flipped_bit_is_found() -> None:
    data = shard(bytes(range(40)))
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptDataError):
            list(read_records(io.BytesIO(flipped)))
        with pytest.raises(CorruptDataError):
            open_record(memoryview(flipped))


def test_a_record_that_claims_3_gb_is_refused_without_allocating() -> None:
    import crc32c

    length = struct.pack("<Q", 3 << 30)
    header = length + struct.pack("<I", mask(crc32c.crc32c(length)))

    with pytest.raises(CorruptDataError, match="claims 3221225472 bytes") as caught:
        list(read_records(io.BytesIO(header + b"abc")))

    assert caught.value.reason == "too_large"


def test_extra_bytes_after_the_last_record_are_found() -> None:
    with pytest.raises(CorruptDataError):
        list(read_records(io.BytesIO(shard(b"abc") + b"\0" * 20)))


def test_another_record_in_place_is_found_by_the_manifest_crc() -> None:
    here, there = shard(b"here!"), shard(b"there")
    crc = RecordWriter(io.BytesIO()).write(b"here!")

    assert bytes(open_record(memoryview(here), crc=crc)) == b"here!"
    with pytest.raises(CorruptDataError, match="manifest") as caught:
        open_record(memoryview(there), crc=crc)
    assert caught.value.reason == "replaced"


FEATURES = {
    "text": "día",
    "payload": b"\x00\xff" * 200,
    "whole": -5,
    "many": [1, 2**40, -(2**63)],
    "real": 0.5,
    "reals": [1.5, -2.25],
    "names": ["a", "bb"],
    "nothing": [],
}


def test_example_parses_back() -> None:
    data, places = encode_example(FEATURES)

    assert parse_example(data) == {
        "text": ["día".encode()],
        "payload": [b"\x00\xff" * 200],
        "whole": [-5],
        "many": [1, 2**40, -(2**63)],
        "real": [0.5],
        "reals": [1.5, -2.25],
        "names": [b"a", b"bb"],
        "nothing": [],
    }
    offset, length = places["payload"]
    assert data[offset : offset + length] == b"\x00\xff" * 200
    assert locate_features(data) == places


def test_a_feature_of_mixed_kinds_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixes kinds"):
        encode_example({"a": [1, b"b"]})


@pytest.mark.slow
def test_tensorflow_reads_the_same_example() -> None:
    tf = pytest.importorskip("tensorflow")

    data, _ = encode_example(FEATURES)
    theirs = tf.train.Example.FromString(data).features.feature

    assert theirs["payload"].bytes_list.value[:] == [b"\x00\xff" * 200]
    assert theirs["many"].int64_list.value[:] == [1, 2**40, -(2**63)]
    assert theirs["reals"].float_list.value[:] == [1.5, -2.25]
    assert parse_example(tf.train.Example.FromString(data).SerializeToString()) == parse_example(
        data
    )
