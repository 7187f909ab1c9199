"""Routes without a framework: the gate finds them, and their errors are answered as others' are."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from besana.errors import CorruptDataError, NotFoundError, StorageError
from besana.web.gate import Access, Caller, RefusedError
from besana.web.server import Route, build_app

RAISED = {
    "refused": (RefusedError(429, "overloaded", "Later."), 429),
    "missing": (NotFoundError("No such thing."), 404),
    "damaged": (CorruptDataError("Not a picture."), 422),
    "disk": (StorageError("Full."), 503),
    "surprise": (ValueError("nobody expected it"), 500),
}


async def name(request):
    """Answer with the part of the path that has a name."""
    from starlette.responses import Response

    return Response(json.dumps(request.path_params), media_type="application/json")


async def fixed(_request):
    """Answer at a path that a name would also stand for."""
    from starlette.responses import Response

    return Response("fixed")


async def fail(request):
    """Raise what the path names."""
    raise RAISED[request.path_params["what"]][0]


async def framework(number: int) -> dict[str, int]:
    """Answer through FastAPI, which reads the number."""
    return {"number": number}


def asked(path, role="viewer", method="GET"):
    """Ask an application; give status and body."""
    routes = [
        Route(Access("GET", "/things/{what}/fail", "viewer"), fail, is_plain=True),
        Route(Access("GET", "/things/fixed", "admin"), fixed, is_plain=True),
        Route(Access("GET", "/things/{name}", "viewer"), name, is_plain=True),
        Route(Access("GET", "/numbers/{number}", "viewer"), framework),
    ]
    app = build_app(routes, hosts={"farm"}, identify=lambda _h, _s: Caller("ana", role))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": [(b"host", b"farm")],
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    messages = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        messages.append(message)

    # A browser of another test may have left its own loop running in this thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, app(scope, receive, send)).result()
    body = b"".join(one.get("body", b"") for one in messages[1:])
    return messages[0]["status"], body


@pytest.mark.parametrize("what", RAISED)
def test_what_a_plain_route_raises_is_answered(what):
    status, body = asked(f"/things/{what}/fail")
    assert status == RAISED[what][1]
    assert json.loads(body)["problem"]
    assert b"nobody expected" not in body


def test_parts_of_a_path_have_their_names():
    assert asked("/things/cows") == (200, b'{"name": "cows"}')


def test_a_path_of_its_own_is_the_route_and_the_role_that_stand_first():
    assert asked("/things/fixed", role="admin") == (200, b"fixed")
    assert asked("/things/fixed", role="viewer")[0] == 403


def test_other_routes_are_the_frameworks():
    assert asked("/numbers/7") == (200, b'{"number":7}')
    assert asked("/numbers/seven")[0] == 422


def test_a_path_or_method_that_nobody_has_is_refused():
    assert asked("/things/a/b")[0] == 404
    assert asked("/things/cows", method="DELETE")[0] == 405
