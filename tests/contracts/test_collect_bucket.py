"""Pictures that lie in a bucket are collected from a listing, an inventory or a table."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import uuid
from urllib.parse import quote_plus

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
from server_log import server_log

import besana
from besana import catalog as tables
from besana.buckets.listing import list_bucket
from besana.errors import BesanaError, ConfigError, NotFoundError
from besana.storage import read_original

KEYS = ["pen-a/2026-03-01T10-00-00.jpg", "pen-a/2026-03-01T10-05-00.jpg", "pen b/ä+1 ?#.JPG"]


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    return simplejpeg.encode_jpeg(pixels)


@pytest.fixture
def pictures(s3_bucket):
    """A prefix with three pictures, a text and a broken picture."""
    prefix, client = uuid.uuid4().hex, boto3.client("s3")
    contents = {key: jpeg(n) for n, key in enumerate(KEYS)}
    contents |= {"notes.txt": b"no picture", "pen-a/broken.jpg": b"<html>gone</html>"}
    for key, data in contents.items():
        client.put_object(Bucket="farms", Key=f"{prefix}/{key}", Body=data)
    return f"{s3_bucket}/{prefix}"


@pytest.fixture
def farm(tmp_path):
    return besana.Workspace.create(tmp_path / "farm", "[engine]\nworkers = 1\n")


def run(farm, *sources, **settings):
    return besana.run_stage(farm, "collect", {"source": list(sources), **settings})


def frames(farm):
    return {row.name: row for row in farm.catalog.rows(tables.frames.select())}


@pytest.mark.parametrize("in_place", [True, False])
def test_a_prefix_is_collected_with_its_bytes(farm, pictures, in_place):
    report = run(farm, pictures, in_place=in_place)
    assert (report.counts_in, report.counts_out) == (4, 3)
    assert report.dropped == {"not_an_image": 1}
    assert report.facts["ignored"] == 1
    found = frames(farm)
    assert set(found) == {*KEYS, "pen-a/broken.jpg"}
    assert found[KEYS[0]].camera == "pen-a"
    assert found[KEYS[2]].camera == "pen_b"
    for number, key in enumerate(KEYS):
        (band,) = found[key].bands
        assert read_original(farm.frames, band["key"]) == jpeg(number)
        assert band["key"].startswith("s3://") == in_place
        assert found[key].source_modified_ns > 1_500_000_000 * 10**9
    assert (farm.path / "frames").exists() != in_place


@pytest.mark.slow
def test_frames_left_in_a_bucket_walk_on(farm, pictures):
    run(farm, pictures, in_place=True)
    besana.run_stage(farm, "clean")
    report = besana.run_stage(farm, "prepare")
    assert report.counts_out == 3


def test_a_second_run_reads_nothing_and_lists_once(farm, pictures):
    run(farm, pictures)
    with server_log() as log:
        report = run(farm, pictures)
    assert (report.counts_in, report.facts["already_collected"]) == (0, 4)
    assert (log.traffic.lists, log.traffic.gets) == (1, 0)
    boto3.client("s3").put_object(
        Bucket="farms", Key=f"{pictures.removeprefix('s3://farms/')}/pen-a/new.jpg", Body=jpeg(9)
    )
    assert run(farm, pictures).counts_out == 1


def test_an_interrupted_listing_goes_on_behind_its_last_key(s3_bucket, tmp_path):
    prefix, client = uuid.uuid4().hex, boto3.client("s3")
    keys = [f"{number:03d}.jpg" for number in range(30)]
    for key in keys:
        client.put_object(Bucket="farms", Key=f"{prefix}/{key}", Body=b"")
    root = f"{s3_bucket}/{prefix}"
    listing = list_bucket(root, tmp_path)
    assert [next(listing).key for _ in range(5)] == keys[:5]
    listing.close()
    (kept,) = tmp_path.iterdir()
    lines = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b"".join(lines[:10]) + lines[10][:7])  # as a kill leaves it
    client.delete_object(Bucket="farms", Key=f"{prefix}/002.jpg")
    with server_log() as log:
        assert [entry.key for entry in list_bucket(root, tmp_path)] == keys
    assert log.traffic.lists == 1
    assert list(tmp_path.iterdir()) == []
    assert len(list(list_bucket(root, tmp_path))) == 29


@pytest.mark.slow
def test_class_folders_of_a_bucket_give_labels(farm, s3_bucket):
    prefix, client = uuid.uuid4().hex, boto3.client("s3")
    for number, name in enumerate(("maize", "maize", "fat hen")):
        key = f"{prefix}/train/{name}/{number}.jpg"
        client.put_object(Bucket="farms", Key=key, Body=jpeg(number))
    run(farm, f"{s3_bucket}/{prefix}", layout="classes")
    assert farm.catalog.counted(tables.labels) == {"maize": 2, "fat hen": 1}


def inventory(form: str, prefix: str) -> str:
    """Write an S3 inventory of the prefix's objects; return its manifest's address."""
    client, place = boto3.client("s3"), f"inventory/{uuid.uuid4().hex}"
    listed = client.list_objects_v2(Bucket="farms", Prefix=prefix)["Contents"]
    rows = [(o["Key"], o["Size"], o["LastModified"]) for o in listed]
    buffer = io.BytesIO()
    if form == "CSV":
        text = io.StringIO(newline="")
        for key, size, at in rows:
            stamp = f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
            csv.writer(text, quoting=csv.QUOTE_ALL).writerow(
                ("farms", quote_plus(key, "/"), size, stamp)
            )
        buffer.write(gzip.compress(text.getvalue().encode()))
    else:
        names = ("key", "size", "last_modified_date")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), buffer)
    data = buffer.getvalue()
    client.put_object(Bucket="farms", Key=f"{place}/data", Body=data)
    manifest = {
        "sourceBucket": "farms",
        "destinationBucket": "arn:aws:s3:::farms",
        "fileFormat": form,
        "fileSchema": "Bucket, Key, Size, LastModifiedDate",
        "files": [{"key": f"{place}/data", "MD5checksum": hashlib.md5(data).hexdigest()}],
    }
    body = json.dumps(manifest).encode()
    client.put_object(Bucket="farms", Key=f"{place}/manifest.json", Body=body)
    return f"s3://farms/{place}/manifest.json"


@pytest.mark.parametrize("form", ["CSV", pytest.param("Parquet", marks=pytest.mark.slow)])
def test_an_inventory_replaces_the_listing(farm, pictures, form):
    address = inventory(form, pictures.removeprefix("s3://farms/"))
    with server_log() as log:
        report = run(farm, pictures, listing=address)
    assert report.counts_out == 3
    assert set(frames(farm)) == {*KEYS, "pen-a/broken.jpg"}
    assert log.traffic.lists == 0
    assert run(farm, pictures, listing=address).counts_in == 0


@pytest.mark.slow
def test_a_table_of_keys_is_enough(farm, pictures, tmp_path):
    prefix = pictures.removeprefix("s3://farms/")
    table = tmp_path / "keys.csv"
    table.write_text(f"key\n{prefix}/{KEYS[0]}\n{prefix}/{KEYS[2]}\nelsewhere/x.jpg\n")
    with server_log() as log:
        assert run(farm, pictures, listing=str(table)).counts_out == 2
    assert log.traffic.gets == 4  # size and bytes of two
    assert log.traffic.lists == 0


def test_wrong_listings_are_errors(farm, pictures, tmp_path):
    (tmp_path / "a.csv").write_text("name\nx\n")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ConfigError, match="no column 'key'"):
        run(farm, pictures, listing=str(tmp_path / "a.csv"))
    with pytest.raises(ConfigError, match="no S3 inventory"):
        run(farm, pictures, listing=str(tmp_path / "a.json"))
    with pytest.raises(NotFoundError, match="No listing"):
        run(farm, pictures, listing=str(tmp_path / "none.csv"))


@pytest.mark.slow
def test_an_object_that_changed_since_it_was_listed_is_left_for_the_next_run(
    farm, pictures, tmp_path
):
    prefix = pictures.removeprefix("s3://farms/")
    table = tmp_path / "keys.csv"
    stamp = "2026-03-01T10:00:00Z"
    table.write_text(
        f"key,size,last_modified\n{prefix}/{KEYS[0]},7,{stamp}\n{prefix}/gone.jpg,9,{stamp}\n"
    )
    report = run(farm, pictures, listing=str(table), max_dropped_share=1)
    assert report.dropped == {"still_changing": 1, "vanished": 1}
    assert frames(farm) == {}


def test_a_bucket_that_is_not_there_or_is_our_own_is_an_error(farm, s3_bucket):
    with pytest.raises(BesanaError, match="no-such-bucket"):
        run(farm, "s3://no-such-bucket/x")
    farm.tables["store"] = f"{s3_bucket}/mine"
    with pytest.raises(ConfigError, match="besana's own place"):
        run(farm, f"{s3_bucket}/mine/frames")
    farm = besana.Workspace(farm.path)
    farm.tables["bands"] = {"rgb": "rgb/*", "nir": "nir/*"}
    with pytest.raises(ConfigError, match="from folders only"):
        run(farm, f"{s3_bucket}/other")
