"""A client for `besana serve` that needs nothing but Python's own library.

>>> from besana.serving.client import Client
>>> client = Client("http://127.0.0.1:8400", "the token")  # doctest: +SKIP
>>> client.predict(["frame.jpg"], camera="pen-a")  # doctest: +SKIP
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from besana.errors import BesanaError, ConfigError, StorageError


class ServerRefusedError(BesanaError):
    """The server refused a request.

    Attributes:
        status: HTTP status.
        error: One word for programs.
        retry_s: When to come back; None when that would not help.
    """

    def __init__(self, status: int, error: str, problem: str, retry_s: float | None) -> None:
        super().__init__(f"The server refused ({status}, {error}): {problem}")
        self.args = (status, error, problem, retry_s)
        self.status, self.error, self.retry_s = status, error, retry_s


class Client:
    """Ask one server; the connection stays open between requests. Not for several threads.

    Args:
        url: As `http://127.0.0.1:8400`.
        token: The server's token; empty for a server without one.
        timeout_s: How long an answer may take.
        patience_s: How long to come back to a busy server, as it says.
    """

    def __init__(
        self, url: str, token: str = "", *, timeout_s: float = 30.0, patience_s: float = 30.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"'{url}' is not the address of a server.", "Write http://...")
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self._connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout_s)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience_s, self._url = patience_s, url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def predict(
        self, pictures: Sequence[str | Path | bytes], *, camera: str = ""
    ) -> dict[str, Any]:
        """Judge pictures.

        Args:
            pictures: Paths of files, or their bytes.
            camera: Whose frames they are; empty for pictures that are samples.

        Returns:
            What the server answers: one entry a picture under `predictions`.

        Raises:
            ServerRefusedError: If the server refused.
            StorageError: If it cannot be reached.
        """
        images = [
            {"name": "" if isinstance(one, bytes) else Path(one).name, "b64": _encoded(one)}
            for one in pictures
        ]
        return self.ask("POST", "/predict", {"images": images, "camera": camera})

    def predict_one(self, picture: str | Path | bytes, *, camera: str = "") -> dict[str, Any]:
        """Judge one picture, sent as it is."""
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        return self._patiently("POST", f"/predict?camera={quote(camera)}", data, _OCTETS)

    def model(self) -> dict[str, Any]:
        """Ask what is loaded."""
        return self.ask("GET", "/model")

    def ask(self, method: str, path: str, values: Any = None) -> dict[str, Any]:
        """Ask any route that speaks JSON."""
        body = None if values is None else json.dumps(values).encode()
        return self._patiently(method, path, body, "application/json")

    def _patiently(self, method: str, path: str, body: bytes | None, kind: str) -> dict[str, Any]:
        until = time.monotonic() + self._patience_s
        while True:
            status, headers, data = self._once(method, path, body, kind)
            if status < 400:
                found: dict[str, Any] = json.loads(data)
                return found
            refused = _refused(status, headers, data)
            if refused.retry_s is None or time.monotonic() + refused.retry_s > until:
                raise refused
            time.sleep(refused.retry_s)

    def _once(
        self, method: str, path: str, body: bytes | None, kind: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        headers = self._headers if body is None else {**self._headers, "Content-Type": kind}
        for fresh in (False, True):
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.HTTPException, OSError) as error:
                # A kept connection may have been closed meanwhile; judging twice does no harm.
                self._connection.close()
                if fresh:
                    raise StorageError(
                        f"The server {self._url} does not answer: {error}.", "Is it running?"
                    ) from None
        raise AssertionError("unreachable")


_OCTETS = "application/octet-stream"


def _encoded(picture: str | Path | bytes) -> str:
    data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    return base64.b64encode(data).decode()


def _refused(status: int, headers: http.client.HTTPMessage, data: bytes) -> ServerRefusedError:
    try:
        said = json.loads(data)
    except ValueError:
        said = {}
    retry = headers.get("retry-after", "")
    return ServerRefusedError(
        status,
        str(said.get("error", "error")),
        str(said.get("problem", "")),
        float(retry) if retry.isdecimal() else None,
    )
