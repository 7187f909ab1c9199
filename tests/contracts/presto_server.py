"""A Presto server on this machine: one node that reads Delta tables by their path."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Presto 0.287 was made for Java 11; what later ones close is opened again.
_OPENED = (
    *("java.io", "java.lang", "java.lang.invoke", "java.lang.ref", "java.lang.reflect", "java.net"),
    *("java.nio", "java.security", "java.text", "java.util", "java.util.concurrent"),
    *("java.util.concurrent.atomic", "java.util.regex", "java.util.zip", "javax.security.auth"),
    *("javax.security.auth.login", "sun.net.util", "sun.nio.ch", "sun.security.action"),
)
_START_S = 180
# What it says until its own node has told it which tables it reads, some seconds after the start.
_NOBODY = "sortedCandidates is null or empty"


class Presto:
    """A server that answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str) -> list[list[Any]]:
        """Give the rows of a query's answer, once there is a node for it.

        Raises:
            RuntimeError: With what the server says against it.
        """
        deadline = time.monotonic() + _START_S
        while True:
            try:
                return self._asked(query)
            except RuntimeError as error:
                if _NOBODY not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def _asked(self, query: str) -> list[list[Any]]:
        header = {"X-Presto-User": "besana"}
        request = urllib.request.Request(f"{self.url}/v1/statement", query.encode(), header)
        answer, rows = _read(request), []
        while True:
            if "error" in answer:
                raise RuntimeError(answer["error"]["message"])
            rows += answer.get("data", [])
            if "nextUri" not in answer:
                return rows
            answer = _read(answer["nextUri"])


@contextlib.contextmanager
def serve(program: Path, folder: Path) -> Iterator[Presto]:
    """Serve as long as the block lasts; `folder` takes settings and logs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    (folder / "catalog").mkdir(parents=True)
    _write(
        folder / "config.properties",
        {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": url.rpartition(":")[2],
            "discovery-server.enabled": "true",
            "discovery.uri": url,
            "query.max-memory-per-node": "100MB",
            "query.max-total-memory-per-node": "200MB",
            "plugin.dir": str(program / "plugin"),
            "catalog.config-dir": str(folder / "catalog"),
        },
    )
    _write(
        folder / "catalog/delta.properties",
        {
            "connector.name": "delta",
            "hive.metastore": "file",
            "hive.metastore.catalog.dir": f"file://{folder}/metastore",
        },
    )
    words = ["java", "-Xmx700m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    words += ["-Djdk.attach.allowAttachSelf=true", "-Dnode.environment=test", "-Dnode.id=one"]
    words += [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED]
    words += [f"-Dconfig={folder}/config.properties", f"-Dnode.data-dir={folder}/data"]
    words += ["-cp", f"{program}/*", "com.facebook.presto.server.PrestoServer"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
    try:
        _wait(url, server, folder / "log")
        yield Presto(url)
    finally:
        server.kill()
        server.wait()


def _read(request: urllib.request.Request | str) -> Any:
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _write(path: Path, settings: dict[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if not _read(f"{url}/v1/info")["starting"]:
                return
        if server.poll() is not None:
            raise RuntimeError(log.read_text()[-3000:])
        time.sleep(0.2)
    raise TimeoutError(f"Presto did not start within {_START_S} s")
