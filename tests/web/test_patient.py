"""The protocol under the gate: bounds on headers, and what follows one request."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator

import pytest
from running import Client, routes_running

from besana.web.gate import Access, Caller
from besana.web.server import Route

pytest.importorskip("fastapi", reason="fastapi is not installed")


async def look() -> dict[str, str]:
    return {"seen": "yes"}


async def change(body: dict[str, str]) -> dict[str, str]:
    return body


def identify(headers: dict[str, str], _scope: object) -> Caller | None:
    return Caller("ana", headers["x-role"]) if "x-role" in headers else None


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    routes = [
        Route(Access("GET", "/public", "public"), look),
        Route(Access("POST", "/open", "public", body_bytes=100_000), change),
        Route(Access("GET", "/admin", "admin"), look),
    ]
    with routes_running(routes, identify) as found:
        yield found


def statuses(client: Client, *pieces: bytes, wanted: int) -> list[int]:
    """Send pieces over one connection and read as many answers."""
    with socket.create_connection(("127.0.0.1", client.port), 30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        data = b""
        while data.count(b"HTTP/1.1 ") < wanted and (part := connection.recv(1 << 16)):
            data += part
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


def get(client: Client, path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n{more}\r\n".encode()


@pytest.mark.parametrize("whole", [True, False])
def test_headers_have_a_bound_however_they_come(client: Client, whole: bool) -> None:
    many = "".join(f"X-{number}: {'y' * 90}\r\n" for number in range(400))
    request = get(client, "/public", many)
    assert statuses(client, request if whole else request[:-2], wanted=1) == [400]


def test_two_requests_in_one_piece_get_two_answers(client: Client) -> None:
    assert statuses(client, get(client, "/public") * 2, wanted=2) == [200, 200]


def test_large_body_does_not_count_as_headers(client: Client) -> None:
    body = b'{"a": "' + b"x" * 60_000 + b'"}'
    head = f"POST /open HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nOrigin: {client.origin}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    pieces = (head.encode(), body[:100], body[100:] + get(client, "/public"))
    assert statuses(client, *pieces, wanted=2) == [200, 200]


@pytest.mark.parametrize("cuts", [(), (1,), (10, 20, 30), (40_000, 70_000)])
def test_body_comes_whole_in_however_many_pieces(client: Client, cuts: tuple[int, ...]) -> None:
    body = b'{"a": "' + b"x" * 90_000 + b'"}'
    head = (
        f"POST /open HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
        f"Origin: {client.origin}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    places = [0, *cuts, len(body)]
    pieces = [head, *(body[first:last] for first, last in itertools.pairwise(places))]
    with socket.create_connection(("127.0.0.1", client.port), 30) as connection:
        for piece in pieces if cuts else [head + body]:
            connection.sendall(piece)
            time.sleep(0.02)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == json.loads(body)


def test_what_follows_a_body_in_chunks_is_no_header(client: Client) -> None:
    head = f"GET /admin HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n0\r\nX-Role: admin\r\n\r\n"
    assert statuses(client, head.encode(), wanted=1) == [401]
    assert statuses(client, get(client, "/admin", "X-Role: admin\r\n"), wanted=1) == [200]


@pytest.mark.parametrize(
    "lengths",
    ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5, 6\r\n"],
)
def test_body_of_two_lengths_is_refused(client: Client, lengths: str) -> None:
    head = f"POST /open HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nOrigin: {client.origin}\r\n"
    head += f"Content-Type: application/json\r\n{lengths}\r\nhello"
    assert statuses(client, head.encode(), wanted=1) == [400]
