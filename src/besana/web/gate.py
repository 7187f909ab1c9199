"""The one gate of every server: what is not allowed here never reaches a route.

In this order: too much at once, host, ranges, route, where the request comes from, who sends it,
whether that role may, size and time of the body. Only then the application runs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import Any
from urllib.parse import urlsplit

from besana.web.lines import Lines
from besana.web.paths import Paths

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ROLES = ("public", "viewer", "labeller", "reviewer", "admin")
"""Each role may what those before it may; other roles may only what names them."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
CSRF_HEADER = "x-besana-token"

_ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

_SIGN_IN, _SEND_TOKEN = "Sign in first.", "Send a token: 'Authorization: Bearer TOKEN'."
_SAFE = ("GET", "HEAD")
_LOG = logging.getLogger("besana.web")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use one route, and what it takes.

    Attributes:
        method: `GET`, `POST`, ...
        path: As in FastAPI, `/api/people/{name}`.
        role: The least role that may use it.
        body_bytes: What a body may have at most.
        media: Content types of a body that it takes.
    """

    method: str
    path: str
    role: str
    body_bytes: int = 1 << 16
    media: tuple[str, ...] = ("application/json",)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        name: Name of the person or program.
        role: What it may.
        csrf: What a request that changes something must repeat in `CSRF_HEADER`; empty for
            callers known by a header that no foreign page can send, as a bearer token.
    """

    name: str
    role: str
    csrf: str = ""


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Bounds of one server.

    Attributes:
        running: Requests at the same time.
        waiting: Requests that may wait for their turn.
        wait_s: How long they wait before they are told to come back.
        body_s: How long a body may take to arrive.
    """

    running: int = 64
    waiting: int = 256
    wait_s: float = 5.0
    body_s: float = 60.0


class RefusedError(Exception):
    """End a request with a status; raised by the gate and by routes.

    Args:
        status: HTTP status.
        error: One word for programs and for the page's own texts.
        problem: One sentence for people.
        more: Further fields of the answer.
        retry_s: When to come back.
    """

    def __init__(
        self,
        status: int,
        error: str,
        problem: str,
        *,
        more: dict[str, Any] | None = None,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(status, error, problem)
        self.status, self.error, self.problem = status, error, problem
        self.more, self.retry_s = more or {}, retry_s


Identify = Callable[[dict[str, str], Scope], Caller | None]
ErrorPage = Callable[[Scope, RefusedError], str]


@dataclass
class Gate:
    """Let through what is allowed, refuse everything else, and add the headers of every answer.

    Args:
        app: The application behind it, with `caller` and the headers, `named`, in its scope.
        accesses: Every route there is; a path that is not here is a 404 for everybody.
        hosts: Allowed values of `Host`, with the port where it is not the scheme's own.
        identify: Tells from headers who calls; None for nobody.
        limits: Bounds.
        sign_in: Page where somebody unknown is sent who asked for a page; empty: nowhere.
        error_page: Makes the HTML of an answer to a refused request.
    """

    app: App
    accesses: Sequence[Access]
    hosts: Iterable[str]
    identify: Identify
    limits: GateLimits = field(default_factory=GateLimits)
    sign_in: str = ""
    error_page: ErrorPage | None = None

    def __post_init__(self) -> None:
        self.hosts = frozenset(host.lower() for host in self.hosts)
        self._paths = Paths([(access.path, access) for access in self.accesses])
        self._lines = Lines(_LOG)
        self._slots = asyncio.Semaphore(self.limits.running)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSockets: the protocol closes the connection
        answer = _Answer(scope, send, self._lines)
        try:
            await self._serve(scope, receive, answer)
        except RefusedError as refused:
            await self._refuse(scope, answer, refused)
        except Exception as error:  # the web error page
            if answer.started and not answer.whole:
                raise  # the connection breaks, so that nobody takes half an answer for whole
            if not answer.started:
                await self._refuse(scope, answer, unexpected(error))
        finally:
            answer.log()

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = _headers(scope)
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            raise RefusedError(421, "wrong_host", "This server does not answer to that name.")
        if "," in headers.get("range", ""):
            raise RefusedError(416, "ranges", "Only one range at a time.")
        await self._take_slot()
        try:
            access = self._access(scope)
            check_origin(scope, headers, host)
            caller = self.identify(headers, scope)
            answer.caller = caller
            check_role(access, caller, _SIGN_IN if self.sign_in else _SEND_TOKEN)
            if scope["method"] not in _SAFE:
                _check_change(access, caller, headers)
            body = await self._body(scope, headers, receive)
            scope["caller"], scope["named"] = caller, headers
            await self.app(scope, _replayed(body, receive), answer)
        finally:
            self._slots.release()

    async def _take_slot(self) -> None:
        """Wait for one of the slots, not for long."""
        if not self._slots.locked():
            await self._slots.acquire()  # at once, so without a clock
            return
        if self._waiting >= self.limits.waiting:
            raise RefusedError(503, "busy", "Too many requests at once.", retry_s=1)
        self._waiting += 1
        try:
            async with asyncio.timeout(self.limits.wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise RefusedError(503, "busy", "Too many requests at once.", retry_s=1) from None
        finally:
            self._waiting -= 1

    def _access(self, scope: Scope) -> Access:
        """Find the route, for the application too: nobody looks a second time."""
        found = self._paths.at(scope["path"])
        if not found:
            raise RefusedError(404, "not_found", "There is nothing here.")
        for access, parts in found:
            if access.method == scope["method"]:
                scope["access"], scope["path_params"] = access, parts
                return access
        raise RefusedError(405, "method", "That cannot be done here.")

    async def _body(self, scope: Scope, headers: dict[str, str], receive: Receive) -> bytes:
        """Receive the whole body within its bounds, so that no route meets an endless one."""
        most: int = scope["access"].body_bytes
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > most:
            raise RefusedError(413, "too_large", f"At most {most} bytes.")
        if scope.get("state", {}).get("whole", False):
            return await _received(receive, most)
        try:
            async with asyncio.timeout(self.limits.body_s):
                return await _received(receive, most)
        except TimeoutError:
            raise RefusedError(408, "too_slow", "The request took too long.") from None

    async def _refuse(self, scope: Scope, answer: _Answer, refused: RefusedError) -> None:
        if answer.started:
            raise ConnectionError("the answer had begun")
        kind, body, headers = self.refusal(scope, refused)
        status = 303 if "location" in headers else refused.status
        await answer.send_whole(status, kind, body, headers)

    def refusal(self, scope: Scope, refused: RefusedError) -> tuple[str, bytes, dict[str, str]]:
        """Make the answer to a refused request: a page for people, JSON for programs.

        Returns:
            Content type, body and further headers; with a `location` the status is 303.
        """
        wants_page = "text/html" in _headers(scope).get("accept", "")
        if refused.status == 401 and wants_page and self.sign_in and scope["method"] in _SAFE:
            return "text/plain", b"", {"location": self.sign_in}
        # What is left of a body that nobody read must not be taken for the next request.
        more = {"connection": "close"} if refused.status in (400, 408, 413, 503) else {}
        if refused.retry_s is not None:
            more["retry-after"] = str(refused.retry_s)
        if wants_page and self.error_page is not None:
            page = self.error_page(scope, refused)
            return "text/html; charset=utf-8", page.encode(), more
        said = {"error": refused.error, "problem": refused.problem, **refused.more}
        return "application/json", json.dumps(said).encode(), more


def unexpected(error: Exception) -> RefusedError:
    """Log an error that nobody expected, and make what the caller hears of it."""
    number = secrets.token_hex(4)
    _LOG.error("error %s", number, exc_info=error)
    problem = f"Something went wrong here; the log says what, under {number}."
    return RefusedError(500, "error", problem)


def check_origin(scope: Scope, headers: dict[str, str], host: str) -> None:
    """Refuse what another site's page asks for, unless it is a link that somebody followed."""
    safe = scope["method"] in _SAFE
    site = headers.get("sec-fetch-site", "")
    followed = safe and headers.get("sec-fetch-mode") == "navigate"
    if site not in ("", "same-origin", "none") and not followed:
        raise RefusedError(403, "foreign", "The request comes from another site.")
    origin = headers.get("origin")
    if origin is None or (safe and followed):
        return
    parts = urlsplit(origin)
    if (parts.scheme, parts.netloc.lower()) != (scope.get("scheme", "http"), host):
        raise RefusedError(403, "foreign", "The request comes from another site.")


def check_role(access: Access, caller: Caller | None, stranger: str = _SIGN_IN) -> None:
    """Refuse a caller whose role does not reach.

    Args:
        access: What is asked for.
        caller: Who asks; None for nobody known.
        stranger: What somebody unknown hears.
    """
    if access.role == "public":
        return
    if caller is None:
        raise RefusedError(401, "signed_out", stranger)
    if caller.role == access.role or (
        access.role in ROLES
        and caller.role in ROLES
        and ROLES.index(caller.role) >= ROLES.index(access.role)
    ):
        return
    raise RefusedError(403, "not_allowed", "Your role may not do this.")


def _check_change(access: Access, caller: Caller | None, headers: dict[str, str]) -> None:
    """Refuse a change that a foreign page could have sent, or of a kind that is not taken."""
    browser = caller is None or bool(caller.csrf)
    if browser and "origin" not in headers:
        raise RefusedError(403, "foreign", "The request does not say where it comes from.")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in access.media:
        raise RefusedError(403, "media", f"Send {' or '.join(access.media)}.")
    if caller is not None and caller.csrf and access.role != "public":
        given = headers.get(CSRF_HEADER, "").encode()
        if not secrets.compare_digest(given, caller.csrf.encode()):
            raise RefusedError(403, "csrf", "The page is out of date; load it again.")


class _Answer:
    """Sends an answer with the headers that every answer has, and notes it in the log."""

    def __init__(self, scope: Scope, send: Send, lines: Lines) -> None:
        self._scope, self._send, self._lines = scope, send, lines
        self.started, self.whole, self.status = False, False, 0
        self._since = time.perf_counter()
        self.caller: Caller | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            given = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(pair for pair in _ENCODED if pair[0] not in given),
            ]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.whole = True

    async def send_whole(self, status: int, kind: str, body: bytes, more: dict[str, str]) -> None:
        """Send a small answer."""
        headers = {"content-type": kind, "content-length": str(len(body)), **more}
        coded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": status, "headers": coded})
        shown = b"" if self._scope["method"] == "HEAD" else body
        await self({"type": "http.response.body", "body": shown})

    def log(self) -> None:
        """Write one line: who, what, how it ended; never a query, header or body."""
        scope, ms = self._scope, 1000 * (time.perf_counter() - self._since)
        who = quoted(self.caller.name) if self.caller else "null"
        asked = f'"method": {quoted(scope["method"])}, "path": {quoted(scope["path"][:300])}'
        self._lines.add(f'"who": {who}, {asked}, "status": {self.status}, "ms": {ms:.1f}')


def _headers(scope: Scope) -> dict[str, str]:
    """Read headers; of one that is sent twice nothing is believed that the other denies."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


async def _received(receive: Receive, most: int) -> bytes:
    parts, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "gone", "The connection was closed.")
        parts.append(message.get("body", b""))
        if (size := size + len(parts[-1])) > most:
            raise RefusedError(413, "too_large", f"At most {most} bytes.")
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the application the body that has already come, then what the connection says."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
