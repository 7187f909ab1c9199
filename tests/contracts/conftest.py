"""Real services of this machine for the contract tests: an S3 server and a PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from production_server import PROGRAM, find_program, serve

from besana.catalog import Catalog
from besana.storage import Storage, open_storage


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """The URL of an empty bucket on a local S3 server that speaks the real protocol."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        for name in ("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        boto3.client("s3").create_bucket(Bucket="farms")
        yield "s3://farms"
    server.stop()


@pytest.fixture(scope="session")
def production_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a client has to know of a production S3 server that lives as long as the tests."""
    program = find_program()
    if program is None:
        pytest.skip(f"needs a Go compiler: go install {PROGRAM}")
    with serve(program, tmp_path_factory.mktemp("versity")) as settings:
        yield settings


@pytest.fixture
def production_bucket(production_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket on a production S3 server, which the environment then names."""
    import boto3

    for name, value in production_settings.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    # boto3's own session keeps the keys that it found when it was first used.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    name = f"farm-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["folder", "bucket", pytest.param("production", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind."""
    if request.param == "folder":
        return open_storage(tmp_path / "store")
    kind = "s3_bucket" if request.param == "bucket" else "production_bucket"
    return open_storage(f"{request.getfixturevalue(kind)}/{uuid.uuid4().hex}")


def _postgresql_programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def _unprivileged() -> dict[str, object]:
    """Arguments for subprocess that leave root's rights, which PostgreSQL refuses to have."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server that lives as long as the tests."""
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed")
    rights = _unprivileged()
    home = tempfile.mkdtemp(prefix="besana-pg-")  # pytest's own folders are for this user only
    if rights:
        os.chown(home, int(str(rights["user"])), int(str(rights["group"])))
    data = f"{home}/data"
    # The caller's locale may not be installed.
    options = ["-U", "besana", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
    initdb = [programs / "initdb", "-D", data, *options]
    subprocess.run(initdb, check=True, capture_output=True, cwd=home, **rights)  # type: ignore[call-overload]
    serve = [programs / "postgres", "-D", data, "-k", home, "-h", "", "-F"]
    with open(f"{home}/log", "wb") as log:
        server = subprocess.Popen(serve, cwd=home, stdout=log, stderr=log, **rights)  # type: ignore[call-overload]
    try:
        _wait_until_ready(home, server)
        yield home
    finally:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for clients to leave
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_ready(home: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            psycopg.connect(f"host={home} user=besana dbname=postgres").close()
        except psycopg.OperationalError:
            assert server.poll() is None, Path(home, "log").read_text()
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("PostgreSQL did not start within 30 s")


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.db'}"
    home = request.getfixturevalue("postgresql_server")
    name = f"farm_{uuid.uuid4().hex}"
    server = psycopg.connect(f"host={home} user=besana dbname=postgres", autocommit=True)
    with server:
        server.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://besana@/{name}?host={home}"


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """An empty catalog in each kind of database."""
    opened = Catalog(catalog_url)
    yield opened
    opened.close()
