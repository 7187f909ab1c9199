"""Setting a bucket up, checking it, and filling it from this disk."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import uuid

import boto3
import pytest
from server_log import server_log

from besana.buckets.probes import clock_finding, probe_service, probe_storage
from besana.buckets.rules import documents, place_of, roles, rules
from besana.buckets.upload import CheckedBucket, upload, walk_in_order
from besana.cli import main
from besana.commands import bucket
from besana.errors import BesanaError, ConfigError
from besana.storage import Folder, open_storage
from besana.workspace import Workspace

OTHERS = {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObjectAcl"}


@pytest.fixture
def own_bucket(s3_bucket):
    """The name of a fresh bucket that nobody set up."""
    name = f"farm-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def farm(tmp_path, own_bucket):
    return Workspace.create(tmp_path / "farm", f'store = "s3://{own_bucket}/barn"\n')


def test_init_writes_the_rules_and_sets_nothing(farm, own_bucket, capsys):
    with server_log() as log:
        assert bucket.run(farm, bucket.Config(action="init")) == []
    assert log.requests == []
    names = {path.name for path in (farm.path / "bucket").iterdir()}
    assert names == set(documents(place_of(f"s3://{own_bucket}/barn")))
    for path in (farm.path / "bucket").iterdir():
        assert json.loads(path.read_text())
    assert "--apply" in capsys.readouterr().out


def test_init_applies_and_check_finds_nothing_missing(farm, own_bucket, capsys):
    with pytest.raises(BesanaError, match="6 of 14 checks failed"):
        bucket.run(farm, bucket.Config(action="check"))
    shown = capsys.readouterr().out
    assert "NO   public access is blocked: Run: besana bucket init FARM --apply" in shown
    applied = bucket.run(farm, bucket.Config(action="init", apply=True))
    assert len(applied) == 6
    assert all(finding.holds for finding in applied)
    client, name = boto3.client("s3"), {"Bucket": own_bucket}
    blocked = client.get_public_access_block(**name)["PublicAccessBlockConfiguration"]
    assert all(blocked.values())
    assert client.get_bucket_versioning(**name)["Status"] == "Enabled"
    policy = json.loads(client.get_bucket_policy(**name)["Policy"])
    (statement,) = policy["Statement"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    (rule,) = client.get_bucket_lifecycle_configuration(**name)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_a_bucket_that_wants_tls_refuses_what_comes_without(farm, own_bucket, capsys):
    """The server of the tests speaks plain HTTP, so that the rule itself is seen at work."""
    bucket.run(farm, bucket.Config(action="init", apply=True))
    capsys.readouterr()
    with pytest.raises(BesanaError, match="6 of 14"):
        bucket.run(farm, bucket.Config(action="check"))
    refused = [line for line in capsys.readouterr().out.splitlines() if line.startswith("NO")]
    assert "an object can be written" in refused[0]
    assert "It needs s3:PutObject." in refused[0]
    boto3.client("s3").delete_bucket_policy(Bucket=own_bucket)
    with pytest.raises(BesanaError, match="1 of 14"):
        bucket.run(farm, bucket.Config(action="check"))
    assert "NO   requests without TLS are refused" in capsys.readouterr().out
    assert list(open_storage(f"s3://{own_bucket}").list()) == []


def test_rules_of_others_stay_and_are_not_set_twice(own_bucket):
    client, name = boto3.client("s3"), {"Bucket": own_bucket}
    theirs = {**OTHERS, "Resource": f"arn:aws:s3:::{own_bucket}/*"}
    client.put_bucket_policy(
        **name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]})
    )
    rule = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "x/"},
        "Expiration": {"Days": 9},
    }
    client.put_bucket_lifecycle_configuration(**name, LifecycleConfiguration={"Rules": [rule]})
    for _ in range(2):
        for each in rules(place_of(f"s3://{own_bucket}")):
            each.apply()
            assert each.holds()
    statements = json.loads(client.get_bucket_policy(**name)["Policy"])["Statement"]
    assert [s["Sid"] for s in statements] == ["Theirs", "BesanaTlsOnly"]
    lifecycle = client.get_bucket_lifecycle_configuration(**name)["Rules"]
    assert [r["ID"] for r in lifecycle] == ["theirs", "besana-old-versions"]


def actions(policy) -> set[str]:
    allowed = [s["Action"] for s in policy["Statement"] if s["Effect"] == "Allow"]
    return {a for item in allowed for a in ([item] if isinstance(item, str) else item)}


def test_each_part_has_no_more_rights_than_it_needs():
    policies = roles(place_of("s3://farms/barn"))
    (capture,) = policies["capture"]["Statement"]
    assert actions(policies["capture"]) == {"s3:PutObject"}
    assert capture["Resource"] == "arn:aws:s3:::farms/barn/spool/${aws:username}/*"
    assert capture["Condition"] == {"Null": {"s3:if-none-match": "false"}}
    assert "s3:DeleteObject" not in actions(policies["committer"])
    denied = [s for s in policies["committer"]["Statement"] if s["Effect"] == "Deny"]
    assert denied[0]["Action"] == ["s3:DeleteObject*"]
    assert actions(policies["trainer"]) == {"s3:GetObject"}
    assert actions(policies["vacuum"]) == {"s3:DeleteObject", "s3:ListBucket"}


def test_policies_are_taken_by_the_service(s3_bucket):
    client = boto3.client("iam")
    for name, policy in roles(place_of("s3://farms/barn")).items():
        created = client.create_policy(
            PolicyName=f"{name}-{uuid.uuid4().hex[:6]}", PolicyDocument=json.dumps(policy)
        )
        assert created["Policy"]["AttachmentCount"] == 0


def test_a_server_that_ignores_conditions_is_found_out(tmp_path):
    class Careless(Folder):
        """A real folder that replaces whatever it is asked not to, as some servers do."""

        def write(self, key, data, *, replace=True):
            return super().write(key, data, replace=True)

    findings = {finding.title: finding for finding in probe_storage(Careless(tmp_path))}
    refused = findings.pop("a second writer of the same object is refused")
    assert not refused.holds
    assert "only one machine" in refused.advice
    assert all(finding.holds for finding in findings.values())
    assert all(finding.holds for finding in probe_storage(Folder(tmp_path)))


def test_a_clock_that_is_wrong_is_found_out():
    assert clock_finding(2.0).holds
    assert "120 s behind" in clock_finding(-120).advice


def test_a_region_that_is_wrong_is_found_out(own_bucket, monkeypatch):
    place = place_of(f"s3://{own_bucket}")
    assert [finding.holds for finding in probe_service(place)] == [True, True]
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    region, _ = probe_service(place)
    assert region.advice == "The bucket is in us-east-1, AWS_REGION says eu-west-1."


def test_without_a_bucket_it_says_so(tmp_path, capsys):
    Workspace.create(tmp_path / "farm")
    with pytest.raises(SystemExit):
        main(["bucket", "check", str(tmp_path / "farm")])
    assert "There is no bucket." in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no S3 bucket"):
        place_of("gs://farms")


# Upload


def fill(folder, count=40, size=1000):
    store = Folder(folder)
    for number in range(count):
        store.write(f"{number % 7:02d}/{number:05d}.bin", os.urandom(size))
    return {key: store.read(key) for key in store.list()}


def test_an_upload_brings_every_file_once(farm, own_bucket, capsys):
    files = fill(farm.path / "frames")
    with server_log() as log:
        bucket.run(farm, bucket.Config(action="upload"))
    there = open_storage(f"s3://{own_bucket}/barn/frames")
    assert {key: there.read(key) for key in there.list()} == files
    assert (log.traffic.puts, log.traffic.lists) == (40, 1)
    assert "frames: 40 uploaded; 0.0 MB" in capsys.readouterr().out
    with server_log() as log:
        bucket.run(farm, bucket.Config(action="upload"))
    assert (log.traffic.puts, log.traffic.lists) == (0, 1)
    assert "40 there already" in capsys.readouterr().out


def test_the_server_gets_a_checksum_with_each_object(monkeypatch):
    seen = {}

    class Recorder(http.server.BaseHTTPRequestHandler):
        """Takes a PUT and keeps its headers."""

        def do_PUT(self):
            seen.update({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(seen["content-length"]))
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.end_headers()

        def log_message(self, *_words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        assert CheckedBucket("s3://farms/x").write("key", b"besana", replace=False)
    digest = base64.b64encode(hashlib.sha256(b"besana").digest()).decode()
    assert seen["x-amz-checksum-sha256"] == digest
    assert seen["if-none-match"] == "*"


def test_what_lies_there_is_never_replaced(farm, own_bucket):
    fill(farm.path / "shards", count=3)
    there = open_storage(f"s3://{own_bucket}/barn/shards")
    there.write("01/00001.bin", b"something else")
    with pytest.raises(BesanaError, match=r"Something else lies under shards/01/00001\.bin"):
        bucket.run(farm, bucket.Config(action="upload"))
    assert there.read("01/00001.bin") == b"something else"
    assert there.size("02/00002.bin") == 1000


@pytest.mark.slow
def test_an_upload_that_was_killed_goes_on(tmp_path, own_bucket):
    files = fill(tmp_path / "frames", count=300, size=20_000)
    url = f"s3://{own_bucket}/killed"
    program = (
        "import sys; from pathlib import Path; from besana.buckets.upload import upload\n"
        "upload(Path(sys.argv[1]), sys.argv[2], threads=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "frames"), url])
    there, deadline = open_storage(url), time.monotonic() + 60
    while sum(1 for _ in there.list()) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = sum(1 for _ in there.list())
    assert before < 300
    done = upload(tmp_path / "frames", url)
    assert done.files["uploaded"] + done.files["there_already"] == 300
    assert done.files["there_already"] >= before
    assert {key: there.read(key) for key in there.list()} == files


def test_files_are_walked_in_the_order_of_a_bucket(tmp_path, own_bucket):
    names = ["a/z", "a.txt", "a-b/c", "a", "b/a/c", "b/a.d", "é", "Z", "a b"]
    names.remove("a")
    for name in names:
        Folder(tmp_path / "f").write(name, b"x")
    upload(tmp_path / "f", f"s3://{own_bucket}/order")
    listed = list(open_storage(f"s3://{own_bucket}/order").list())
    assert [key for key, _ in walk_in_order(tmp_path / "f")] == listed
