"""Scripted people in front of a labelling page, as sparing as a client can be."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from labelling_farm import CLASSES

AHEAD, LOW = 20, 12
CUT_SHARE, SKIP_SHARE, UNDO_SHARE = 0.02, 0.02, 0.01


@dataclass
class Connection:
    """One kept connection; as little work as a client can do, for it shares the cores."""

    port: int
    streams: Any = None

    async def request(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b"", cut: bool = False
    ) -> tuple[int, bytes]:
        """Send a request; with `cut`, hang up before the answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
            lines += [f"Origin: http://127.0.0.1:{self.port}"]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            if cut:
                await asyncio.sleep(random.random() * 0.01)
                raise ConnectionResetError("hung up")
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = head.partition("content-length:")[2].partition("\r")[0]
            answer = await reader.readexactly(int(length or 0))
        except (OSError, asyncio.IncompleteReadError) as error:
            writer.close()
            self.streams = None
            raise ConnectionError(str(error)) from None
        if "connection: close" in head:
            writer.close()
            self.streams = None
        return int(head.split()[1]), answer


@dataclass
class Annotator:
    """One scripted person in front of one tab.

    Attributes:
        said: What was said under each key: frame, region, class.
        undone: Keys that were taken back.
        acts: What waits to be sent, in its order; sent again until it is answered.
        times: Seconds until the answer, as the client saw it, by what was asked.
    """

    name: str
    cookie: str
    token: str
    port: int
    asked: argparse.Namespace
    said: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    acts: list[dict[str, Any]] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    times: dict[str, list[float]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.asked.seed} {self.name}")
        self.run_id = f"{time.time_ns():x}"
        self.headers = {"Cookie": self.cookie, "X-Besana-Token": self.token}
        self.saving, self.loading = Connection(self.port), Connection(self.port)
        self.filling: asyncio.Task[None] | None = None

    async def label(self, until: float) -> None:
        """Label until the time is over, then send what waits."""
        await asyncio.sleep(self.rng.random() * self.asked.look_s)
        while time.monotonic() < until:
            if len(self.queue) < LOW and (self.filling is None or self.filling.done()):
                self.filling = asyncio.create_task(self.fill())
            if not self.queue:
                await asyncio.sleep(0.05)
                continue
            await asyncio.sleep(self.rng.expovariate(1 / self.asked.look_s))
            self.act(self.queue.pop(0))
            await self.send()
        while self.acts:
            await self.send()
        if self.filling is not None:
            await self.filling

    async def fill(self) -> None:
        """Ask what comes next, and load its pictures."""
        known = [[item["frame"], item["region"]] for item in self.queue]
        known += [list(word[:2]) for word in list(self.said.values())[-60:]]
        asked = {"count": AHEAD, "tab": f"tab-{self.run_id}", "known": known}
        answer = await self.timed("next", self.loading, "POST", "/api/next", asked)
        for item in (answer or {}).get("items", []):
            where = f"frame={quote(item['frame'])}&region={quote(item['region'])}"
            path = f"/picture/sample?{where}&side=1024&mark={item['mark']}"
            await self.timed("picture", self.loading, "GET", path)
            self.queue.append(item)

    def act(self, item: dict[str, Any]) -> None:
        """Decide what to do about a picture."""
        key = f"{self.run_id}-{len(self.said) + len(self.skipped):06d}"
        where = {"frame": item["frame"], "region": item["region"]}
        if self.rng.random() < SKIP_SHARE:
            reason = self.rng.choice(["unsure", "unusable"])
            self.skipped.add(key)
            self.acts.append({"act": "skip", "key": key, **where, "reason": reason})
            return
        word = self.rng.choice(CLASSES)
        self.said[key] = (item["frame"], item["region"], word)
        self.acts.append({"act": "label", "key": key, **where, "words": {word: True}})
        if self.rng.random() < UNDO_SHARE:
            self.undone.add(key)
            self.acts.append({"act": "undo", "key": key})

    async def send(self) -> None:
        """Send what waits; without an answer it waits on, under the same keys."""
        sent = list(self.acts)
        cut = self.rng.random() < CUT_SHARE
        answer = await self.timed("save", self.saving, "POST", "/api/acts", {"acts": sent}, cut)
        if answer is None:
            await asyncio.sleep(0.2)
            return
        for act, result in zip(sent, answer["results"], strict=True):
            if not result.keys() & {"saved", "undone"}:
                self.failed[f"save: {next(iter(result))}"] += 1
                self.said.pop(act["key"], None)
        self.acts = self.acts[len(sent) :]

    async def timed(
        self,
        what: str,
        connection: Connection,
        method: str,
        path: str,
        body: Any = None,
        cut: bool = False,
    ) -> Any:
        """Ask and note how long it took; None when there was no answer."""
        data = json.dumps(body).encode() if body is not None else b""
        began = time.perf_counter()
        try:
            status, answer = await connection.request(method, path, self.headers, data, cut)
        except ConnectionError:
            self.failed[f"{what}: {'hung up' if cut else 'no connection'}"] += 1
            return None
        self.times.setdefault(what, []).append(time.perf_counter() - began)
        if status != 200:
            self.failed[f"{what}: {status}"] += 1
            return None
        return json.loads(answer) if path.startswith("/api") else answer
