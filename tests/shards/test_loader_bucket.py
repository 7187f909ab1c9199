"""A real S3 protocol behind a link: versions, refusals, requests, the cache."""

import multiprocessing
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket_link import Link
from shard_farm import Farm

from besana.errors import StorageError
from besana.shards import Loader, Manifest, open_manifest
from besana.storage import Storage, open_storage

pytestmark = pytest.mark.slow

BLOCKS: dict[str, Any] = {"shuffle": "block", "block_bytes": 6000, "window_blocks": 3}
OPTIONS: dict[str, Any] = {"batch_size": 20, "size": 8, "threads": 2}


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with Link(server.get_host_and_port()[1]) as link, pytest.MonkeyPatch.context() as patch:
        settings = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{link.port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        import boto3

        boto3.client("s3").create_bucket(Bucket="farms")
        yield link
    server.stop()


@pytest.fixture
def bucket(link: Link, hundred: Manifest) -> Storage:
    remote = open_storage(f"s3://farms/{uuid.uuid4().hex}")
    for key in [*hundred.shards, hundred.key]:
        remote.write(key, hundred.storage.read(key))
    link.refusals = link.refused = 0
    return remote


def taken(loader: Loader) -> list[tuple[list[int], bytes]]:
    return [(b.index.tolist(), b.images.tobytes()) for b in loader]


def test_versions_tell_and_guard_what_is_read(bucket: Storage) -> None:
    data, tag = bucket.read_version("shard-0.tfrecord", 10, 90, "")
    assert data == bucket.read_range("shard-0.tfrecord", 10, 90)
    assert tag
    assert bucket.read_version("shard-0.tfrecord", 0, 0, "") == (b"", tag)
    assert bucket.read_version("shard-0.tfrecord", 10, 90, tag) == (data, tag)
    bucket.write("shard-0.tfrecord", b"something else" * 50)

    with pytest.raises(StorageError, match=r"'shard-0\.tfrecord' in s3://.* was replaced"):
        bucket.read_version("shard-0.tfrecord", 10, 90, tag)


def say_in_child(loader: Loader, said: Any) -> None:
    try:
        said.put(taken(loader))
    except StorageError as error:
        said.put(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_is_told_to_make_its_own_loader(bucket: Storage) -> None:
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    with Loader(open_manifest(f"{bucket.url}/manifest.parquet"), **OPTIONS, **BLOCKS) as loader:
        next(iter(loader))
        child = context.Process(target=say_in_child, args=(loader, said))
        child.start()
        assert "start that with 'spawn'" in said.get(timeout=20)
        child.join(timeout=10)
    assert child.exitcode == 0


@pytest.mark.parametrize("shuffle", ["block", "global"])
def test_a_shard_replaced_in_the_bucket_is_found(
    bucket: Storage, tmp_path: Path, shuffle: Any
) -> None:
    manifest = Farm(tmp_path, count=300, shards=1).write()
    remote = bucket.below("one")
    for key in [*manifest.shards, manifest.key]:
        remote.write(key, manifest.storage.read(key))
    options = {"shuffle": shuffle, "block_bytes": 6000, "window_blocks": 2, "threads": 1}
    with Loader(open_manifest(remote), batch_size=4, size=8, **options) as loader:
        iterator = iter(loader)
        next(iterator)
        remote.write("shard-0.tfrecord", remote.read("shard-0.tfrecord") + b"more")
        with pytest.raises(StorageError, match=r"'shard-0\.tfrecord'.* was replaced"):
            list(iterator)


def test_a_storm_of_refusals_is_waited_out_with_one_repetition_each(
    bucket: Storage, hundred: Manifest, link: Link
) -> None:
    with Loader(hundred, **OPTIONS, **BLOCKS) as loader:
        expected = taken(loader)
    with Loader(hundred, shards=bucket, **OPTIONS, **BLOCKS) as loader:
        before = len(link.requests)
        link.refusals = 25
        found = taken(loader)
        requests = loader.stats()["requests"]

    assert found == expected
    assert link.refused == 25
    assert len(link.requests) - before == requests + 25


def test_answers_that_break_off_are_asked_for_again(
    bucket: Storage, hundred: Manifest, link: Link
) -> None:
    with Loader(hundred, **OPTIONS, **BLOCKS) as loader:
        expected = taken(loader)
    with Loader(hundred, shards=bucket, **OPTIONS, **BLOCKS) as loader:
        link.cuts = 6
        assert taken(loader) == expected
    assert link.cuts == 0


def test_a_storm_without_end_is_reported_in_time(
    bucket: Storage, hundred: Manifest, link: Link
) -> None:
    started = time.monotonic()
    with Loader(hundred, shards=bucket, watchdog_s=2.0, **OPTIONS, **BLOCKS) as loader:
        link.refusals = 10**9
        with pytest.raises(StorageError, match=r"ready for 2 s.*waiting for 'shard-"):
            next(iter(loader))
        link.refusals = 0
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("process", [True, False])
def test_a_cache_takes_the_second_epoch_off_the_link(
    bucket: Storage, hundred: Manifest, link: Link, tmp_path: Path, *, process: bool
) -> None:
    with Loader(hundred, **OPTIONS, **BLOCKS) as loader:
        expected = [taken(loader), taken(loader)]
    given: dict[str, Any] = {"shards": bucket, "cache": tmp_path, "process": process}
    with Loader(hundred, **given, **OPTIONS, **BLOCKS) as loader:
        first, before = taken(loader), len(link.requests)
        second = taken(loader)
        stats = loader.stats()

    assert [first, second] == expected
    assert len(link.requests) == before
    assert stats["fetched_bytes"] == stats["cached_bytes"] == int(hundred.length_bytes.sum())
    shutil.rmtree(tmp_path)


def test_the_order_of_the_shards_takes_a_request_a_block(
    bucket: Storage, hundred: Manifest, link: Link
) -> None:
    options: dict[str, Any] = {**OPTIONS, "shuffle": "none", "block_bytes": 6000, "tail": "pad"}
    with Loader(hundred, **options) as loader:
        expected = taken(loader)
    with Loader(hundred, shards=bucket, **options) as loader:
        found, stats = taken(loader), loader.stats()

    assert found == expected
    blocks = {(s, o // 6000) for s, o in zip(hundred.shard, hundred.offset_bytes, strict=True)}
    assert stats["requests"] == len(blocks) < len(hundred) / 2
    assert stats["fetched_bytes"] == int(hundred.length_bytes.sum())


def test_another_order_is_read_record_by_record(
    bucket: Storage, hundred: Manifest, link: Link
) -> None:
    options: dict[str, Any] = {**OPTIONS, "shuffle": "none", "positions": [70, 3, 4, 5, 40]}
    with Loader(hundred, **{**options, "batch_size": 5}) as loader:
        expected = taken(loader)
    with Loader(hundred, shards=bucket, **{**options, "batch_size": 5}) as loader:
        assert taken(loader) == expected
        assert loader.stats()["requests"] == 5
