"""Beside the test server: a production S3 server is set up, filled and collected from."""

from __future__ import annotations

import os

import boto3
import numpy as np
import pytest
import simplejpeg

import besana
from besana import catalog as tables
from besana.buckets.probes import probe_storage
from besana.buckets.upload import CheckedBucket, upload, verify
from besana.commands import bucket
from besana.errors import BesanaError
from besana.storage import Folder, open_storage, read_original
from besana.traffic import METER, PART_BYTES
from besana.workspace import Workspace

pytestmark = pytest.mark.slow


def test_it_keeps_what_besana_asks_of_a_bucket(production_bucket):
    findings = list(probe_storage(open_storage(production_bucket)))
    assert [finding.title for finding in findings if not finding.holds] == []


def test_it_refuses_a_condition_and_a_checksum_that_do_not_hold(production_bucket):
    client, name = boto3.client("s3"), production_bucket.removeprefix("s3://")
    client.put_object(Bucket=name, Key="k", Body=b"first", IfNoneMatch="*")
    with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=name, Key="k", Body=b"second", IfNoneMatch="*")
    wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    with pytest.raises(client.exceptions.ClientError):
        client.put_object(Bucket=name, Key="other", Body=b"x", ChecksumSHA256=wrong)


def test_large_objects_arrive_in_parts_and_are_counted(production_bucket):
    storage, before = open_storage(production_bucket), METER.total
    data = os.urandom(2 * PART_BYTES + 1000)
    with storage.open_writer("shard") as file:
        file.write(data)
    assert (METER.total - before).puts == 5  # begin, three parts, end
    assert storage.read_range("shard", PART_BYTES - 5, 10) == data[PART_BYTES - 5 : PART_BYTES + 5]


def test_an_upload_of_more_than_a_page_goes_on_and_is_read_back(production_bucket, tmp_path):
    folder = Folder(tmp_path / "frames")
    for number in range(1100):
        folder.write(f"{number % 7:02d}/ä {number:05d}.bin", b"%d" % number)
    there = CheckedBucket(f"{production_bucket}/frames")
    for key in list(folder.list())[:300]:
        there.write(key, folder.read(key))
    before = METER.total
    done = upload(tmp_path / "frames", there.url)
    assert dict(done.files) == {"there_already": 300, "uploaded": 800}
    traffic = METER.total - before
    assert (traffic.puts, traffic.lists) == (800, 1)
    assert sorted(there.list()) == sorted(folder.list())
    assert verify(tmp_path / "frames", there.url, 20) == 20


def test_pictures_are_collected_in_place_and_once(production_bucket, tmp_path):
    there = open_storage(f"{production_bucket}/card")
    pictures = {}
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
        pictures[f"pen-a/2026-03-01T10-0{number}-00.jpg"] = simplejpeg.encode_jpeg(pixels)
    for key, data in pictures.items():
        there.write(key, data)
    farm = besana.Workspace.create(tmp_path / "farm", "[engine]\nworkers = 1\n")
    settings = {"source": [there.url], "in_place": True}
    assert besana.run_stage(farm, "collect", settings).counts_out == 3
    rows = farm.catalog.rows(tables.frames.select())
    assert {row.name: read_original(farm.frames, row.bands[0]["key"]) for row in rows} == pictures
    assert besana.run_stage(farm, "collect", settings).counts_in == 0


def test_rules_that_it_does_not_offer_are_named_and_the_others_set(
    production_bucket, tmp_path, capsys
):
    farm = Workspace.create(tmp_path / "farm", f'store = "{production_bucket}/barn"\n')
    with pytest.raises(BesanaError, match="5 of 14 checks failed"):
        bucket.run(farm, bucket.Config(action="check"))
    shown = capsys.readouterr().out
    assert "NO   objects are encrypted: This server has no such rule" in shown
    assert "NO   old versions are kept: Run: besana bucket init FARM --apply" in shown
    assert "yes  a second writer of the same object is refused" in shown
    with pytest.raises(BesanaError, match="3 of 6 checks failed"):
        bucket.run(farm, bucket.Config(action="init", apply=True))
    assert "yes  old versions are kept" in capsys.readouterr().out
