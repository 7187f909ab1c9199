"""Acts are saved once, in their order, whatever is sent again, and never overwrite each other."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

import sqlalchemy as sa
from running import Client
from served_farm import CLASSES, PASSWORD, Site, frame_id, make_farm, served

from besana import catalog as tables
from besana.catalog.web import skips, undone_labels
from besana.web.people import FILE, People
from besana.workspace import Workspace


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(make_farm(tmp_path / "farm")) as found:
        yield found


def label(key: str, name: str, base: str = "", number: int = 0) -> dict[str, Any]:
    where = {"frame": frame_id(number), "region": "bed-1"}
    return {"act": "label", "key": key, **where, "words": {name: True}, "base": base}


def acted(client: Client, *acts: dict[str, Any]) -> list[dict[str, Any]]:
    reply = client.post("/api/acts", {"acts": list(acts)})
    assert reply.status == 200, reply.body
    results: list[dict[str, Any]] = reply.json["results"]
    return results


def said(site: Site, table: Any = tables.labels) -> list[str]:
    rows = site.desk.workspace.catalog.rows(sa.select(table).order_by(table.c.labelled_at))
    return [row.class_name for row in rows]


def test_what_is_sent_again_is_saved_once(site: Site) -> None:
    client = site.client("labeller")
    first = acted(client, label("key00001", "lying"))
    assert acted(client, label("key00001", "lying")) == first
    assert acted(client, label("key00001", "lying"), label("key00001", "lying")) == first * 2
    assert said(site) == ["lying"]


def test_stale_word_is_refused_with_the_one_that_stands(site: Site) -> None:
    client = site.client("labeller")
    acted(client, label("key00001", "lying"))
    stale = acted(client, label("key00002", "empty"))[0]
    assert stale["current"]["class"] == "lying"
    assert said(site) == ["lying"]
    acted(client, label("key00003", "empty", base=stale["current"]["id"]))
    acted(client, label("key00004", "standing", base="key00003"))
    assert said(site) == ["lying", "empty", "standing"]


def test_people_do_not_make_each_other_stale(site: Site) -> None:
    for name in ("Ana", "Eva"):
        assert "saved" in acted(site.client("labeller", name), label("key00001", "lying"))[0]
    assert said(site) == ["lying", "lying"]


def test_undoing_twice_or_before_sending_again_keeps_it_undone(site: Site) -> None:
    client = site.client("labeller")
    acted(client, label("key00001", "lying"))
    undo = {"act": "undo", "key": "key00001"}
    assert acted(client, undo, undo) == [{"undone": "key00001", "base": ""}] * 2
    assert acted(client, label("key00001", "lying"))[0].keys() == {"saved"}
    assert said(site) == []
    assert said(site, undone_labels) == ["lying"]
    assert site.desk.deck.progress("")["labelled"] == 0


def test_undoing_brings_the_word_before_back(site: Site) -> None:
    client = site.client("labeller")
    first = acted(client, label("key00001", "lying"))[0]["saved"]
    acted(client, label("key00002", "empty", base="key00001"))
    undone = acted(client, {"act": "undo", "key": "key00002"})[0]
    assert undone["base"] == first
    assert said(site) == ["lying"]


def test_nobody_takes_back_what_somebody_else_said(site: Site) -> None:
    acted(site.client("labeller", "Ana"), label("key00001", "lying"))
    other = acted(site.client("labeller", "Eva"), {"act": "undo", "key": "key00001"})
    assert other == [{"error": "not_found"}]
    assert said(site) == ["lying"]


def test_one_wrong_act_does_not_hold_up_the_others(site: Site) -> None:
    results = acted(
        site.client("labeller"),
        label("key00001", "lying"),
        label("key00002", "a cow", number=1),
        label("key00003", "empty", number=2),
    )
    assert [next(iter(result)) for result in results] == ["saved", "error", "saved"]
    assert sorted(said(site)) == ["empty", "lying"]


def test_several_classes_may_hold(tmp_path: Path) -> None:
    settings = '[label]\nkind = "multi"\nclasses = ["cow", "calf"]\n'
    with served(make_farm(tmp_path / "farm", frames=4, settings=settings)) as site:
        client = site.client("labeller")
        act = {**label("key00001", "cow"), "words": {"cow": True, "calf": False}}
        acted(client, act, act)
        rows = site.desk.workspace.catalog.rows(sa.select(tables.labels))
        assert {row.class_name: row.holds for row in rows} == {"cow": True, "calf": False}
        acted(client, {"act": "undo", "key": "key00001"})
        assert said(site) == []


def test_skips_can_be_taken_back_and_an_unsure_one_goes_to_somebody_else(site: Site) -> None:
    ana, eva = site.client("labeller", "Ana"), site.client("labeller", "Eva")
    item = ana.post("/api/next", {"tab": "tab00001", "count": 1}).json["items"][0]
    where = {"frame": item["frame"], "region": item["region"]}
    acted(ana, {"act": "skip", "key": "key00001", **where, "reason": "unsure"})

    def has(client: Client) -> bool:
        items = client.post("/api/next", {"tab": "tab00001", "count": 60}).json["items"]
        return any({"frame": i["frame"], "region": i["region"]} == where for i in items)

    assert has(eva)
    assert not has(ana)
    acted(ana, {"act": "undo", "key": "key00001"})
    assert has(ana)
    row = site.desk.workspace.catalog.rows(sa.select(skips))[0]
    assert row.undone_at is not None


# Killed while people label


def _started(workspace: Workspace, port: int, **popen: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "besana", "web", str(workspace.path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **popen)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return process
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def _labeller(workspace: Workspace, port: int) -> Client:
    with contextlib.closing(People(workspace.path / FILE)) as people:
        session = people.join(people.invite("test", "labeller"), "Ana", PASSWORD)
        csrf = people.caller(session).csrf  # type: ignore[union-attr]
    return Client(port, f"besana={session}", csrf)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_again_and_again_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", frames=300)
    rng = random.Random(7)
    port = _free_port()
    client = _labeller(workspace, port)
    expected: dict[str, str] = {}
    waiting = [label(f"key{n:05d}", rng.choice(CLASSES), number=n) for n in range(300)]
    # By what was done, not by the clock: a fast machine is through with all of it in half a second.
    kills_at = [250, 190, 130, 80, 40, 10]
    process = _started(workspace, port)
    try:
        while waiting:
            batch = waiting[: rng.randint(1, 4)]
            dying = bool(kills_at) and len(waiting) <= kills_at[0]
            killer = threading.Timer(rng.uniform(0, 0.008), process.kill)
            if dying:
                killer.start()
            # Half an answer is none; what was sent is sent again, under the same keys.
            with contextlib.suppress(OSError, HTTPException):
                results = acted(client, *batch)
                assert all("saved" in result for result in results)
                expected.update({act["frame"]: next(iter(act["words"])) for act in batch})
                waiting = waiting[len(batch) :]
            if dying:
                kills_at.pop(0)
                killer.join()
                process.wait(30)
                process = _started(workspace, port)
    finally:
        process.kill()
        process.wait()
    assert not kills_at
    rows = workspace.catalog.rows(sa.select(tables.labels))
    assert {row.frame_id: row.class_name for row in rows} == expected
    assert len(rows) == len(expected) == 300
    with workspace.catalog.ask("PRAGMA integrity_check") as (_, answers):
        assert next(answers)[0] == "ok"


def test_ctrl_c_ends_the_server_whole(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", frames=2)
    client = _labeller(workspace, _free_port())
    process = _started(workspace, client.port, start_new_session=True, stderr=subprocess.PIPE)
    acted(client, label("key00001", "lying"))
    # A child makes the pictures.
    assert client.get(f"/picture/frame?frame={frame_id(0)}&side=320").status == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    [row] = workspace.catalog.rows(sa.select(tables.labels))
    assert row.class_name == "lying"
