"""A server in a thread, and a client that sends exactly the bytes it is told to."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from besana.web.gate import App, GateLimits, Identify
from besana.web.server import Address, Route, bind, build_app, serve


@dataclass
class Reply:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Speaks to one server; like a browser on its pages unless told otherwise."""

    port: int
    cookie: str = ""
    token: str = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str | None] | None = None
    ) -> Reply:
        """Send one request; a header that is None is left out."""
        given: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}"}
        if self.cookie:
            given["Cookie"] = self.cookie
        data = b""
        if method not in ("GET", "HEAD"):
            given |= {"Origin": self.origin, "Content-Type": "application/json"}
            given["X-Besana-Token"] = self.token
            data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        given |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            if value is not None:
                connection.putheader(name, value)
        if data or method not in ("GET", "HEAD"):
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return reply

    def get(self, path: str, **headers: str | None) -> Reply:
        return self.send("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: Any = None, **headers: str | None) -> Reply:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.send("POST", path, body, headers=named)

    def raw(self, data: bytes, timeout_s: float = 30) -> bytes:
        """Send bytes and read until the server closes, or answers and waits."""
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as connection:
            connection.sendall(data)
            received = b""
            while b"\r\n\r\n" not in received:
                part = connection.recv(1 << 16)
                if not part:
                    break
                received += part
            return received


@contextmanager
def running(app_of: Any) -> Iterator[int]:
    """Serve an application in a thread; yields its port."""
    address = Address()
    taken = bind(address)
    port = taken.getsockname()[1]
    app: App = app_of(address.hosts(port))
    stop = threading.Event()
    thread = threading.Thread(
        target=serve, args=(app, taken, address), kwargs={"until": stop.is_set}
    )
    thread.start()
    try:
        yield port
    finally:
        stop.set()
        thread.join()


@contextmanager
def routes_running(
    routes: Sequence[Route], identify: Identify, limits: GateLimits | None = None
) -> Iterator[Client]:
    """Serve routes in a thread."""
    with running(
        lambda hosts: build_app(routes, hosts=hosts, identify=identify, limits=limits)
    ) as port:
        yield Client(port)
