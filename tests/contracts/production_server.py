"""A production S3 server on this machine: VersityGW, which `go install` builds in a cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# .ci/run builds the same version.
PROGRAM = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
KEYS = {"AWS_ACCESS_KEY_ID": "besana", "AWS_SECRET_ACCESS_KEY": "besana-tests"}


def find_program() -> str | None:
    """Find the server: named by BESANA_VERSITYGW, on the path, or where .ci/run builds it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "besana" / "bin" / "versitygw"
    named = os.environ.get("BESANA_VERSITYGW") or shutil.which("versitygw")
    return named or (str(built) if built.exists() else None)


@contextlib.contextmanager
def serve(program: str, folder: Path) -> Iterator[dict[str, str]]:
    """Serve a folder, with versions, as long as the block lasts; gives the client's settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for name in ("data", "versions", "iam"):
        (folder / name).mkdir(parents=True)
    words = [program, "--port", address, "--region", "us-east-1", "--quiet"]
    words += ["--access", KEYS["AWS_ACCESS_KEY_ID"], "--secret", KEYS["AWS_SECRET_ACCESS_KEY"]]
    words += ["posix", "--versioning-dir", str(folder / "versions"), str(folder / "data")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        _wait(address, server, folder / "log")
        settings = {"AWS_ENDPOINT_URL": f"http://{address}", **KEYS}
        yield {**settings, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    finally:
        server.terminate()
        server.wait()


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    host, port = address.split(":")
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
            return
        if server.poll() is not None:
            raise RuntimeError(log.read_text())
        time.sleep(0.1)
    raise TimeoutError("VersityGW did not start within 30 s")
