"""Start a server: routes with their roles become one application behind the gate.

`besana web` and `besana serve` are built from the same pieces: a list of `Route`, `build_app`
and `serve`. A route without a role cannot be written down, and no other one exists.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from besana.errors import (
    BesanaError,
    ConfigError,
    CorruptDataError,
    MissingExtraError,
    NotFoundError,
    NotReadyError,
)
from besana.web.gate import (
    Access,
    App,
    ErrorPage,
    Gate,
    GateLimits,
    Identify,
    RefusedError,
    unexpected,
)
from besana.web.lines import JsonLines
from besana.web.plain import Plain

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from uvicorn import Server

_DRAIN_S = 20
_STATUS: dict[type[BesanaError], int] = {
    NotFoundError: 404,
    NotReadyError: 409,
    ConfigError: 422,
    CorruptDataError: 422,
}
_LOG = logging.getLogger("besana.web")


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that a server does.

    Attributes:
        access: Method, path and role.
        endpoint: A FastAPI function; `async` unless it may block.
        is_plain: Whether it takes the request alone and gives a response, so that no framework
            has to stand in between.
    """

    access: Access
    endpoint: Callable[..., Any]
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        host: Name or number to bind.
        port: Port; 0: any that is free.
        names: Further names by which browsers may call it.
        certificate: Certificate and key files; None: plain HTTP.
    """

    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()
    certificate: tuple[Path, Path] | None = None

    @property
    def scheme(self) -> str:
        """`https` or `http`."""
        return "https" if self.certificate else "http"

    def hosts(self, port: int) -> set[str]:
        """List what may stand in `Host`."""
        names = {"localhost", "127.0.0.1", "[::1]", *self.names}
        if self.host not in ("0.0.0.0", "::"):
            names.add(f"[{self.host}]" if ":" in self.host else self.host)
        plain = {80: "http", 443: "https"}.get(port) == self.scheme
        return {f"{name}:{port}" for name in names} | (names if plain else set())


def check_libraries(extra: str, *more: str) -> None:
    """Say what to install before anything starts.

    Args:
        extra: What brings all of them.
        more: Modules that are needed beside those of every server.

    Raises:
        MissingExtraError: If one is not installed.
    """
    names = ("fastapi", "httptools", "python_multipart", "uvicorn", *more)
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"The server needs {', '.join(missing)}.", f'Run: pip install "besana[{extra}]"'
        )


def build_app(
    routes: Sequence[Route],
    *,
    hosts: set[str],
    identify: Identify,
    limits: GateLimits | None = None,
    sign_in: str = "",
    error_page: ErrorPage | None = None,
) -> Gate:
    """Make one application of routes, behind the gate.

    Args:
        routes: Everything the server does.
        hosts: From `Address.hosts`.
        identify: Tells who calls.
        limits: Bounds of the gate.
        sign_in: Page for people who are not signed in.
        error_page: Makes the HTML of an error.

    Raises:
        MissingExtraError: If a library is not installed.
    """
    check_libraries("web")
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    for route in routes:
        if not route.is_plain:
            path, methods = route.access.path, [route.access.method]
            app.add_api_route(path, route.endpoint, methods=methods, response_model=None)
    plain = {route.access: route.endpoint for route in reversed(routes) if route.is_plain}
    gate = Gate(
        Plain(plain, app, _refused) if plain else app,
        [route.access for route in routes],
        hosts,
        identify,
        limits or GateLimits(),
        sign_in,
        error_page,
    )
    _answer_errors(app, gate)
    return gate


def _answer_errors(app: FastAPI, gate: Gate) -> None:
    """Let what routes raise be answered as the gate answers."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    async def answer(request: Request, error: Exception) -> Response:
        refused = _refused(error)
        kind, body, headers = gate.refusal(request.scope, refused)
        return Response(body, refused.status, {**headers, "content-type": kind})

    for kind in (RequestValidationError, HTTPException, RefusedError, BesanaError, Exception):
        app.add_exception_handler(kind, answer)


def _refused(error: Exception) -> RefusedError:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    if isinstance(error, RefusedError):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return RefusedError(422, "wrong_input", f"{place}: {first['msg']}"[:300])
    if isinstance(error, HTTPException):
        return RefusedError(error.status_code, "refused", str(error.detail))
    if isinstance(error, BesanaError):
        status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 503)
        return RefusedError(status, "refused", str(error)[:300])
    return unexpected(error)


def bind(address: Address) -> socket.socket:
    """Take the port, so that it is known before the application is made.

    Raises:
        ConfigError: If it cannot be had.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Named as TCP, or asyncio leaves its connections with Nagle's delay of 40 ms.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((address.host, address.port))
        taken.listen(512)
    except OSError as error:
        taken.close()
        raise ConfigError(
            f"Cannot listen on {address.host}:{address.port}: {error.strerror}.",
            "Choose another port, as --port 8301.",
        ) from None
    return taken


def serve(
    app: App,
    taken: socket.socket,
    address: Address,
    *,
    until: Callable[[], bool],
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve until a signal or `until` says stop; requests that run are finished first.

    Args:
        app: From `build_app`.
        taken: From `bind`.
        address: Where that is.
        until: Asked a few times a second.
        beside: What runs in the same loop as long as the server does.
    """
    server = make_server(app, address)
    with taken:
        asyncio.run(_run(server, taken, until, beside))


def make_server(app: App, address: Address) -> Server:
    """Make uvicorn's server with bounds on headers, connections and the time to stop."""
    from uvicorn import Config, Server

    from besana.web.patient import Patient

    files = address.certificate or (None, None)
    config = Config(
        app,
        http=Patient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_DRAIN_S,
        backlog=512,
        ssl_certfile=None if files[0] is None else os.fspath(files[0]),
        ssl_keyfile=None if files[1] is None else os.fspath(files[1]),
    )
    return Server(config)


async def _run(
    server: Server,
    taken: socket.socket,
    until: Callable[[], bool],
    beside: Callable[[], Coroutine[Any, Any, None]] | None,
) -> None:
    async def watch() -> None:
        while not until():
            await asyncio.sleep(0.2)
        server.should_exit = True

    tasks = [asyncio.create_task(watch())]
    if beside is not None:
        tasks.append(asyncio.create_task(beside()))
    try:
        await server.serve(sockets=[taken])
    finally:
        for task in tasks:
            task.cancel()


def log_to(path: Path) -> None:
    """Write the log of this process's server into a file, 10 MB at most, and three older ones."""
    from logging.handlers import RotatingFileHandler

    to_file = RotatingFileHandler(path, maxBytes=10_000_000, backupCount=3, encoding="utf-8")
    to_file.setFormatter(JsonLines())
    for name in ("besana.web", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [to_file]
        logger.setLevel(logging.INFO)
        logger.propagate = False
