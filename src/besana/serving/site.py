"""All routes of the service behind the one gate, and the loop that runs and drains it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from besana.serving.calm import calm_loop
from besana.serving.clouds import CloudRoutes, Surroundings
from besana.serving.kserve import KserveRoutes
from besana.serving.page import PageRoutes
from besana.serving.routes import ADMIN, BODY_BYTES, PREDICT, PredictRoutes
from besana.serving.service import Service
from besana.web.gate import App, Caller, Gate, GateLimits, Identify, Receive, Scope, Send
from besana.web.lines import JsonLines
from besana.web.server import Address, Route, build_app, make_server

if TYPE_CHECKING:
    import socket

LOG = logging.getLogger("besana.serving")

# More than may ever be under way: `Door` refuses earlier, at less cost.
_RUNNING, _WAITING, _WAIT_S = 1024, 256, 1.0
_BUSY = b'{"error": "overloaded", "problem": "Too many requests are under way."}'
_BUSY_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_BUSY)),
    (b"retry-after", b"1"),
    (b"cache-control", b"no-store"),
]
# Refused bodies up to this size may come and are forgotten, so that the connection can stay.
_SMALL_BYTES = 1 << 22


@dataclass(frozen=True)
class Site:
    """How the service is reached.

    Attributes:
        token: What callers send as `Authorization: Bearer`; empty lets everybody in.
        any_host: Whether requests may name any host, as inside a cloud's container.
        body_bytes: What a body may have at most.
        around: What the cloud says.
        more: Further routes.
    """

    token: str
    any_host: bool = False
    body_bytes: int = BODY_BYTES
    around: Surroundings = field(default_factory=Surroundings)
    more: tuple[Route, ...] = ()


def service_routes(service: Service, site: Site) -> list[Route]:
    """List every route."""
    return [
        *PredictRoutes(service, site.body_bytes).routes(),
        *KserveRoutes(service, site.body_bytes).routes(),
        *CloudRoutes(service, site.body_bytes, site.around).routes(),
        *PageRoutes(service, site.body_bytes).routes(),
        *site.more,
    ]


def build_service(service: Service, site: Site, hosts: Iterable[str]) -> App:
    """Make the application.

    Args:
        service: What judges.
        site: How it is reached.
        hosts: From `Address.hosts`.
    """
    hosts = set(hosts)
    gate: Gate = build_app(
        service_routes(service, site),
        hosts=hosts,
        identify=identify_by(site.token),
        limits=GateLimits(_RUNNING, _WAITING, _WAIT_S),
    )
    app: App = Door(gate, service)
    return AnyHost(app, min(hosts)) if site.any_host else app


def identify_by(token: str) -> Identify:
    """Tell callers by their token; without one everybody may ask, and nothing more."""

    def identify(headers: dict[str, str], _scope: Scope) -> Caller | None:
        if not token:
            return Caller("anybody", PREDICT)
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        good = secrets.compare_digest(given.strip().encode(), token.encode())
        return Caller("token", ADMIN) if good else None

    return identify


@dataclass
class Door:
    """Refuse requests beyond what may be under way before anything of them is read.

    Under overload refusing has to cost next to nothing, or it is what the machine does.

    Args:
        app: The gate.
        service: Knows how much is under way.
    """

    app: App
    service: Service
    inside: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self.service.admission.refuses(self.inside):
            self.service.figures.turned_away.inc()
            await _refuse(scope, send)
            return
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1


async def _refuse(scope: Scope, send: Send) -> None:
    """Answer at once; what is still coming of the body is thrown away as it comes."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    small = length.isdigit() and int(length) <= _SMALL_BYTES
    headers = _BUSY_HEADERS if small else [*_BUSY_HEADERS, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": _BUSY})


@dataclass
class AnyHost:
    """Let requests in whatever host they name; only for networks that nobody browses.

    Args:
        app: The gate.
        host: The name that it knows.
    """

    app: App
    host: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under the known name."""
        if scope["type"] == "http":
            others = [pair for pair in scope["headers"] if pair[0].lower() != b"host"]
            scope = {**scope, "headers": [*others, (b"host", self.host.encode())]}
        await self.app(scope, receive, send)


@contextlib.contextmanager
def log_lines() -> Iterator[None]:
    """Write one line of JSON an event and a request to standard error, inside the block.

    Nothing says where in the code a line comes from, so nobody looks for it.
    """
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    loggers = [logging.getLogger(name) for name in ("besana.serving", "besana.web")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    names = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing")
    looked_for = {name: getattr(logging, name) for name in names}
    vars(logging).update(dict.fromkeys(names))
    for logger in loggers:
        logger.handlers, logger.propagate = [lines], False
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        vars(logging).update(looked_for)
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def run_service(
    service: Service,
    app: App,
    taken: socket.socket,
    address: Address,
    *,
    refresh_s: float,
    drain_s: float,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until a signal; then refuse to be ready, finish what runs, and stop.

    Args:
        service: What judges.
        app: From `build_service`.
        taken: The socket.
        address: Where it listens.
        refresh_s: Seconds from one look into the registry to the next; 0 never looks.
        drain_s: Seconds of unreadiness before the socket closes, so that others stop sending.
        until: Asked a few times a second whether to stop.
    """
    with taken, asyncio.Runner(loop_factory=lambda: calm_loop(service.fleet.turns)) as runner:
        runner.run(_run(service, app, taken, address, refresh_s, drain_s, until))
    service.close()


async def _run(
    service: Service,
    app: App,
    taken: socket.socket,
    address: Address,
    refresh_s: float,
    drain_s: float,
    until: Callable[[], bool],
) -> None:
    server = make_server(app, address)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def drain(number: int, _frame: Any) -> None:
        loop.call_soon_threadsafe(stop.set)
        if service.draining:  # asked twice: at once
            server.force_exit = number == signal.SIGINT

    server.handle_exit = drain  # type: ignore[assignment,method-assign]  # uvicorn would stop at once
    tasks = [asyncio.create_task(_drained(service, server, stop, drain_s, until))]
    if refresh_s:
        tasks.append(asyncio.create_task(_refreshed(service, refresh_s)))
    try:
        await server.serve(sockets=[taken])
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _drained(
    service: Service, server: Any, stop: asyncio.Event, drain_s: float, until: Callable[[], bool]
) -> None:
    while not stop.is_set() and not until():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.2)
    service.draining = True
    LOG.info(json.dumps({"event": "draining"}))
    await asyncio.sleep(drain_s)
    server.should_exit = True


async def _refreshed(service: Service, refresh_s: float) -> None:
    while True:
        await asyncio.sleep(refresh_s)
        await asyncio.to_thread(service.refresh)
