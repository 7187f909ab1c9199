"""The gate: whatever is not allowed is refused before anything else runs."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from running import Client, routes_running

from besana.web.gate import HEADERS, ROLES, Access, Caller, GateLimits, RefusedError
from besana.web.server import Route

pytest.importorskip("fastapi", reason="fastapi is not installed")

SEEN: list[str] = []


async def look() -> dict[str, str]:
    return {"seen": "yes"}


async def change(body: dict[str, str]) -> dict[str, str]:
    SEEN.append(body.get("said", ""))
    return body


async def fail() -> None:
    raise ZeroDivisionError


async def refuse() -> None:
    raise RefusedError(409, "stale", "Somebody was faster.", more={"current": "cow"})


ROUTES = [
    *(Route(Access("GET", f"/{role}", role), look) for role in (*ROLES, "monitor")),
    Route(Access("POST", "/change", "labeller", body_bytes=1000), change),
    Route(Access("POST", "/open", "public", body_bytes=1000), change),
    Route(Access("GET", "/fail", "public"), fail),
    Route(Access("GET", "/refuse", "public"), refuse),
]


def identify(headers: dict[str, str], _scope: object) -> Caller | None:
    """Believe the cookie `role`; what a bearer says comes from a program."""
    kind, _, role = headers.get("cookie", "").partition("=")
    return Caller("ana", role, "secret" if kind == "role" else "") if role else None


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with routes_running(ROUTES, identify, GateLimits(body_s=1)) as found:
        found.token = "secret"
        yield found


def as_role(client: Client, role: str) -> Client:
    return Client(client.port, f"role={role}" if role else "", "secret")


@pytest.mark.parametrize("role", ["", *ROLES[1:], "monitor", "nonsense"])
@pytest.mark.parametrize("needed", [*ROLES, "monitor"])
def test_route_answers_the_roles_that_reach(client: Client, role: str, needed: str) -> None:
    reply = as_role(client, role).get(f"/{needed}")
    reaches = (
        needed == "public"
        or role == needed
        or (role in ROLES and needed in ROLES and ROLES.index(role) >= ROLES.index(needed))
    )
    assert reply.status == (200 if reaches else 403 if role else 401)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/viewer/", "/viewer/x", "//public"]
)
def test_what_is_no_route_is_not_there(client: Client, path: str) -> None:
    assert as_role(client, "admin").get(path).status == 404


def test_every_answer_has_the_headers(client: Client) -> None:
    for reply in (client.get("/public"), client.get("/nothing"), client.get("/fail")):
        for name, value in HEADERS.items():
            assert reply.headers[name] == value
        assert "server" not in reply.headers


@pytest.mark.parametrize("host", ["evil.example", "", "127.0.0.1", "localhost:1", "127.0.0.1:80@x"])
def test_wrong_host_is_refused(client: Client, host: str) -> None:
    assert client.get("/public", Host=host).status == 421


def test_other_names_of_this_machine_are_taken(client: Client) -> None:
    assert client.get("/public", Host=f"LOCALHOST:{client.port}").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": None},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"X-Besana-Token": None},
        {"X-Besana-Token": "wrong"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": None},
    ],
)
def test_foreign_change_is_refused(client: Client, headers: dict[str, str | None]) -> None:
    SEEN.clear()
    reply = as_role(client, "labeller").send("POST", "/change", {"said": "x"}, headers)
    assert reply.status == 403
    assert SEEN == []


def test_own_change_is_done(client: Client) -> None:
    SEEN.clear()
    assert as_role(client, "labeller").post("/change", {"said": "cow"}).json == {"said": "cow"}
    assert SEEN == ["cow"]


def test_change_by_a_program_needs_no_origin(client: Client) -> None:
    program = Client(client.port, "program=labeller")
    reply = program.post("/change", {"said": "x"}, Origin=None, X_Besana_Token=None)
    assert reply.status == 200


def test_link_from_elsewhere_may_be_followed_but_not_read(client: Client) -> None:
    followed = client.get("/public", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert followed.status == 200
    read = client.get("/public", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")
    assert read.status == 403


def test_large_body_is_refused_before_it_is_read(client: Client) -> None:
    head = f"POST /open HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nOrigin: {client.origin}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n"
    assert client.raw(head.encode()).startswith(b"HTTP/1.1 413")


def test_endless_body_is_refused_and_memory_stays(client: Client) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    head = f"POST /open HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nOrigin: {client.origin}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"800\r\n" + b"x" * 2048 + b"\r\n"
    assert client.raw(head.encode() + chunk * 20).startswith(b"HTTP/1.1 413")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_body_that_does_not_come_is_not_waited_for(client: Client) -> None:
    head = f"POST /open HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nOrigin: {client.origin}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    assert client.raw(head.encode()).startswith(b"HTTP/1.1 408")


@pytest.mark.slow
def test_headers_that_do_not_come_are_not_waited_for(client: Client) -> None:
    assert client.raw(b"GET /public HTTP/1.1\r\nHo").startswith(b"HTTP/1.1 408")


def test_headers_have_a_bound(client: Client) -> None:
    data = b"GET /public HTTP/1.1\r\n" + b"X: " + b"y" * (1 << 17) + b"\r\n\r\n"
    assert client.raw(data).startswith(b"HTTP/1.1 400")


def test_many_ranges_are_refused(client: Client) -> None:
    assert client.get("/public", Range="bytes=" + "0-," * 5000 + "0-").status == 416


def test_what_is_not_json_is_said(client: Client) -> None:
    reply = client.post("/open", b"{")
    assert reply.status == 422
    assert reply.json["error"] == "wrong_input"


def test_error_of_ours_tells_nothing_of_the_code(client: Client) -> None:
    reply = client.get("/fail")
    assert reply.status == 500
    assert "Zero" not in reply.body.decode()


def test_refusal_by_a_route_carries_what_it_says(client: Client) -> None:
    reply = client.get("/refuse")
    assert reply.status == 409
    assert reply.json == {"error": "stale", "problem": "Somebody was faster.", "current": "cow"}


def test_head_is_answered_without_a_body(client: Client) -> None:
    assert client.send("HEAD", "/nothing").body == b""
    assert client.send("DELETE", "/public").status == 405
