"""Requests are counted exactly as the server sees them."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest
from server_log import server_log

from besana.engines import open_engine
from besana.errors import BesanaError, NotFoundError
from besana.storage import Storage, open_storage
from besana.traffic import METER, PART_BYTES, Traffic


@pytest.fixture
def bucket(s3_bucket):
    return open_storage(f"{s3_bucket}/{uuid.uuid4().hex}")


def requests_only(traffic: Traffic) -> Traffic:
    return replace(traffic, read_bytes=0, written_bytes=0)


def everything(bucket: Storage) -> None:
    bucket.write("a", b"0123456789")
    bucket.write("a", b"other", replace=False)
    assert bucket.read("a") == b"0123456789"
    assert bucket.read_range("a", 2, 3) == b"234"
    assert bucket.read_range("a", 99, 3) == b""
    assert bucket.size("a") == 10
    assert bucket.size("nothing") is None
    with pytest.raises(NotFoundError):
        bucket.read("nothing")
    assert list(bucket.list()) == ["a"]
    assert list(bucket.list("none/")) == []
    bucket.delete("a")


def test_each_request_is_counted_as_the_server_logs_it(bucket):
    before = METER.total
    with server_log() as log:
        everything(bucket)
    counted = METER.total - before
    assert requests_only(counted) == log.traffic
    assert log.traffic.requests == 12
    assert (counted.read_bytes, counted.written_bytes) == (13, 15)


@pytest.mark.parametrize("size", [0, 1000, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 5])
def test_the_parts_of_a_large_object_are_counted(bucket, size):
    before = METER.total
    with server_log() as log, bucket.open_writer("shard") as file:
        file.write(bytes(size))
    assert bucket.size("shard") == size
    counted = METER.total - before - Traffic(gets=1)
    assert requests_only(counted) == log.traffic
    assert counted.written_bytes == size


@pytest.mark.parametrize(
    "keys",
    [0, 1, *(pytest.param(keys, marks=pytest.mark.slow) for keys in (1000, 1001))],
)
def test_the_pages_of_a_listing_are_counted(s3_bucket, keys):
    import boto3

    prefix, client = uuid.uuid4().hex, boto3.client("s3")
    for number in range(keys):
        client.put_object(Bucket="farms", Key=f"{prefix}/{number:05d}", Body=b"")
    bucket = open_storage(f"{s3_bucket}/{prefix}")
    before = METER.total
    with server_log() as log:
        assert sum(1 for _ in bucket.list()) == keys
    assert METER.total - before == log.traffic
    assert log.traffic.lists == max(1, -(-keys // 1000))


def write_all(keys: Sequence[str], bucket: Storage) -> int:
    return sum(bucket.write(key, b"12345") for key in keys)


def test_workers_hand_over_what_they_counted(bucket):
    partitions = [[f"{part}/{number}" for number in range(7)] for part in range(5)]
    before = METER.total
    with server_log() as log:
        job = functools.partial(write_all, bucket=bucket)
        assert sum(open_engine("local", 2).map(job, partitions)) == 35
    counted = METER.total - before
    assert requests_only(counted) == log.traffic == Traffic(puts=35)
    assert counted.written_bytes == 175


def test_the_one_who_watches_can_stop_the_spending(bucket):
    limit = METER.total.puts + 3

    def watch(total: Traffic) -> None:
        if total.puts > limit:
            raise BesanaError("Enough.")

    METER.watch = watch
    try:
        with server_log() as log, pytest.raises(BesanaError, match="Enough"):
            write_all("0123456789", bucket)
    finally:
        METER.watch = None
    assert log.traffic == Traffic(puts=3)
