"""Threats and defaults of a farm network that no other test of the pages stands for.

Numbers are those of the list of defaults and of bad inputs that besana keeps: cookies under TLS,
sessions that end, secrets at rest, the log, overload, broken lengths, addresses as pictures.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from running import Client, routes_running, running
from served_farm import PASSWORD, Site, frame_id, make_farm, served

from besana import catalog as tables
from besana.commands import web as command
from besana.web.gate import Access, Caller, GateLimits
from besana.web.people import FILE, IDLE_S, SESSION_S, People
from besana.web.server import JsonLines, Route, log_to
from besana.web.site import build_site
from besana.workspace import Workspace


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(make_farm(tmp_path_factory.mktemp("threats") / "farm", frames=6)) as found:
        yield found


# 1 and 2: where it listens, and who comes in


def test_without_being_asked_it_listens_to_this_machine_only(tmp_path: Path) -> None:
    assert command.Config().host == "127.0.0.1"
    assert not command.Config().lan
    workspace = make_farm(tmp_path / "farm", frames=1)
    plain = command._address(workspace, command.Config(lan=True, plain_http=True))
    assert (plain.host, plain.scheme) == ("0.0.0.0", "http")
    assert not (workspace.path / "web.key").exists()


def test_under_tls_the_cookie_stays_on_tls_and_on_this_host(site: Site) -> None:
    with running(lambda hosts: build_site(site.desk, hosts, secure=True)) as port:
        token = site.desk.people.one_time_token()
        entry = {"token": token, "name": "Tesla", "password": PASSWORD}
        cookie = Client(port).post("/api/start", entry).headers["set-cookie"]
    name, _, rest = cookie.partition("=")
    assert name == "__Host-besana"
    parts = {part.strip().lower() for part in rest.split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= parts
    assert not any(part.startswith("domain") for part in parts)


def test_the_link_of_an_earlier_start_opens_nothing(site: Site) -> None:
    earlier = site.desk.people.one_time_token()
    site.desk.people.one_time_token()
    entry = {"token": earlier, "name": "Late", "password": PASSWORD}
    assert site.client().post("/api/start", entry).status == 403


@pytest.mark.parametrize(("column", "ago_s"), [("begun_at", SESSION_S), ("seen_at", IDLE_S)])
def test_a_session_ends_by_itself(tmp_path: Path, column: str, ago_s: float) -> None:
    people = People(tmp_path / FILE)
    session = people.join(people.invite("test", "viewer"), "Ana", PASSWORD)
    people.close()
    for seconds, stays in ((ago_s - 60, True), (ago_s + 60, False)):
        with sqlite3.connect(tmp_path / FILE) as database:
            database.execute(f"UPDATE sessions SET {column} = ?", (time.time() - seconds,))
        database.close()
        people = People(tmp_path / FILE)
        assert (people.caller(session) is not None) == stays
        people.close()


def test_nothing_on_the_disk_opens_the_pages(tmp_path: Path) -> None:
    people = People(tmp_path / FILE)
    invitation = people.invite("test", "viewer")
    session = people.join(invitation, "Ana", PASSWORD)
    begin = people.one_time_token()
    people.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Ana" in kept
    for secret in (PASSWORD, invitation, session, begin):
        assert secret.encode() not in kept


# 5: nothing from outside


def test_no_page_names_anything_outside() -> None:
    shown = 0
    for folder in ("static", "templates"):
        for file in (files("besana.web") / folder).iterdir():
            text = file.read_text("utf-8")
            found = set(re.findall(r"""(?:https?:|["'(])//[a-z][^\s"'`<)]*""", text))
            assert found <= {"http://www.w3.org/2000/svg"}, file.name
            shown += 1
    assert shown > 30


# 7: pictures from outside


def test_a_bomb_is_refused_by_its_header_and_the_next_picture_is_made(site: Site) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 65500, 65500, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    admin = site.client("admin", "Bombed")
    kind = {"Content-Type": "application/octet-stream"}
    path = "/api/lens/board?columns=7&rows=5"
    assert admin.send("POST", path, bomb, headers=dict(kind)).status == 422
    assert admin.get(f"/picture/sample?frame={frame_id(0)}&region=bed-1").status == 200


# 8 and B38: an address is no picture, and no sample


@pytest.mark.parametrize("address", ["http://169.254.169.254/latest", "file:///etc/passwd"])
def test_an_address_is_not_followed_and_not_labelled(site: Site, address: str) -> None:
    admin = site.client("admin", f"Fetched {len(address)}")
    lens = {"name": address, "content": address}
    assert admin.post("/api/lens/file", lens).status == 422
    for act in ({"act": "label", "words": {"lying": True}}, {"act": "skip", "reason": "unsure"}):
        where = {"key": "key-of-none", "frame": address, "region": "all"}
        results = admin.post("/api/acts", {"acts": [{**act, **where}]}).json["results"]
        assert [result["error"] for result in results] == ["unknown_sample"]
    assert site.desk.workspace.catalog.counted(tables.labels) == {}


def test_a_region_that_was_cut_away_meanwhile_keeps_its_label(tmp_path: Path) -> None:
    with served(make_farm(tmp_path / "farm", frames=2)) as site:
        act = {"act": "label", "key": "key00001", "frame": frame_id(1), "region": "bed-9"}
        acts = {"acts": [{**act, "words": {"lying": True}}]}
        assert "saved" in site.client("labeller").post("/api/acts", acts).json["results"][0]


# 11 and B33 to B35: lengths that lie, parts without end, too much at once


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: -1"],
        ["Content-Length: ten"],
        ["Content-Length: 1_0"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip"],
    ],
)
def test_lengths_that_lie_are_refused(site: Site, lines: list[str]) -> None:
    client = site.client("labeller", "Liar " + "-".join(lines).replace(":", ""))
    head = ["POST /api/next HTTP/1.1", f"Host: 127.0.0.1:{client.port}", f"Origin: {client.origin}"]
    head += [f"Cookie: {client.cookie}", f"X-Besana-Token: {client.token}"]
    head += ["Content-Type: application/json", *lines]
    status = client.raw(("\r\n".join(head) + "\r\n\r\n{}\r\n\r\n").encode(), 10)[9:12]
    assert status in (b"400", b"413", b"501"), status


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_parts_are_not_even_read(site: Site, kind: str) -> None:
    body = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 10_000
    client = site.client("labeller", f"Parted {len(kind)}")
    reply = client.send("POST", "/api/acts", body[: 1 << 18], headers={"Content-Type": kind})
    assert (reply.status, reply.json["error"]) == (403, "media")


def test_too_much_at_once_is_told_to_come_back() -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow() -> dict[str, str]:
        inside.set()
        leave.wait(20)
        return {}

    def nobody(_headers: object, _scope: object) -> Caller | None:
        return None

    routes = [Route(Access("GET", "/slow", "public"), slow)]
    limits = GateLimits(running=1, waiting=1, wait_s=0.2)
    with routes_running(routes, nobody, limits) as client:
        first = threading.Thread(target=client.get, args=("/slow",))
        first.start()
        assert inside.wait(10)
        reply = client.get("/slow")
        assert (reply.status, reply.json["error"]) == (503, "busy")
        assert int(reply.headers["retry-after"]) >= 1
        leave.set()
        first.join()
        assert client.get("/slow").status == 200


# 12: the log


def test_the_log_is_json_and_holds_no_secret_and_no_query(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", frames=2)
    loggers = [logging.getLogger(name) for name in ("besana.web", "uvicorn.error")]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    log_to(workspace.path / "web.log")
    try:
        with served(workspace) as site:
            client = site.client("labeller", "Ána")
            client.get("/picture/sample?frame=secret-of-the-query&region=x")
            client.get('/%0a{"level":"forged"}%1b[31m')
            client.post("/api/sign-in", {"name": "Ana", "password": "a wrong password"})
    finally:
        for logger, handlers, level, propagate in before:
            for handler in logger.handlers:
                handler.close()
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
    text = (workspace.path / "web.log").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    paths = {line["path"] for line in lines if "path" in line}
    assert {"/picture/sample", '/\n{"level":"forged"}\x1b[31m', "/api/sign-in"} <= paths
    assert {line["level"] for line in lines} == {"info"}
    assert text.isascii()
    for secret in ("secret-of-the-query", "a wrong password", client.cookie.partition("=")[2]):
        assert secret not in text
    assert client.token not in text


def test_a_line_of_the_log_is_one_line_whatever_it_holds() -> None:
    record = logging.LogRecord("besana.web", 20, "", 0, "two\nlines %s", ("\u2028",), None)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "two\nlines \u2028"


# B25: names


def test_names_that_turn_writing_round_are_shown_with_escapes(tmp_path: Path) -> None:
    import sqlalchemy as sa

    workspace: Workspace = make_farm(tmp_path / "farm", frames=2)
    name = '"><img src=x onerror=alert(1)>\\u202e\\n.jpg'
    change = sa.update(tables.frames).where(tables.frames.c.id == frame_id(0)).values(name=name)
    with workspace.catalog.transaction() as connection:
        connection.execute(change)
    with served(workspace) as site:
        told = site.client("viewer").get(f"/api/picture?frame={frame_id(0)}&region=bed-1")
        assert told.headers["content-type"].startswith("application/json")
        assert told.json["origin"]["name"] == name
