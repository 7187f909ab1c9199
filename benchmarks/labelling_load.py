"""Twenty people label at once, over a catalog of a million samples: how long the server takes.

Run: python benchmarks/labelling_load.py [FARM --samples 1000000 --people 20 --seconds 120]
FARM is made when it is not there. The server is `besana web` with everything as users have it, plus
a task that notes how late the event loop is. Annotators are scripted: each loads pictures ahead as
the page does, looks at one for a while, labels, now and then skips or takes back, and now and then
loses the connection and sends again. Then every event in the catalog is compared with what they
said. With --kills the server is killed (-9) again and again meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog.web import create_tables, skips, undone_labels
from besana.web.people import FILE, People
from besana.web.saving import act_id
from besana.workspace import Workspace
from labelling_farm import make_farm
from labelling_people import Annotator, Connection

LAG_FILE, LOG_FILE = "lag.txt", "web.log"
LAG_S = 0.01
PARTS = 10
PROFILE = "BESANA_BENCH_PROFILE"


def main() -> None:
    """Start the server, let everybody label, print the figures, compare the events."""
    asked = arguments()
    if asked.serve:
        with suppress(KeyboardInterrupt):
            serve_and_watch(asked.farm, asked.port)
        return
    if not asked.farm.exists():
        make_farm(asked.farm, asked.samples)
    workspace = Workspace(asked.farm)
    create_tables(workspace.catalog)
    before = {table.name: ids(workspace, table) for table in (tables.labels, undone_labels)}
    for name in (LAG_FILE, LOG_FILE):
        (asked.farm / name).unlink(missing_ok=True)
    bare = commit_alone(asked.farm / "bare.sqlite")
    print(f"a bare transaction of SQLite on this disk: {bare[0]:.1f} ms (p50), {bare[1]:.1f} (p95)")
    people = sign_in(asked.farm, asked.people)
    server = Server(asked.farm, free_port(), profile=asked.profile)
    try:
        took_s = server.start()
        print(f"started in {took_s:.1f} s, {server.memory_mb():.0f} MB")
        crew = [Annotator(name, *seat, server.port, asked) for name, *seat in people]
        memory = asyncio.run(label_together(crew, server, asked))
    finally:
        server.stop()
    describe(asked, crew, memory, server)
    compare(workspace, crew, before)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    farm = Path(tempfile.gettempdir()) / "besana-labelling-load"
    parser.add_argument("farm", type=Path, nargs="?", default=farm)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--look-s", type=float, default=1.0, help="mean time at one picture")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", action="store_true", help="cProfile of the event loop")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def sign_in(farm: Path, count: int) -> list[tuple[str, str, str]]:
    """Let people join; name, cookie and token of each."""
    people = People(farm / FILE)
    with closing(people):
        found = []
        for number in range(count):
            name = f"Ana {number}"
            known = name if name in people.names() else ""
            invitation = people.invite("bench", "labeller", known)
            session = people.join(invitation, name, "una vaca tumbada")
            caller = people.caller(session)
            found.append((name, f"besana={session}", caller.csrf if caller else ""))
    return found


def commit_alone(file: Path) -> tuple[float, float]:
    """Make rows durable one by one as the catalog does, and nothing else; milliseconds."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE rows (id TEXT PRIMARY KEY)")
        times = []
        for number in range(200):
            began = time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO rows VALUES (?)", (f"{number:032d}",))
            database.execute("COMMIT")
            times.append(1e3 * (time.perf_counter() - began))
    file.unlink()
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))


# The server


def serve_and_watch(farm: Path, port: int) -> None:
    """Be the server: as `besana web`, and note how late the event loop is."""
    from besana.commands import web
    from besana.web.desk import Desk

    watch = Desk.watch

    async def both(desk: Desk) -> None:
        await asyncio.gather(watch(desk), note_lag(farm / LAG_FILE))

    Desk.watch = both  # type: ignore[method-assign]
    if os.environ.get(PROFILE):
        import cProfile

        profile = cProfile.Profile()
        try:
            profile.runcall(web.run, Workspace(farm), web.Config(port=port))
        finally:
            profile.dump_stats(farm / "web.profile")
        return
    web.run(Workspace(farm), web.Config(port=port))


async def note_lag(file: Path) -> None:
    """Sleep and wake, and note by how much too late that was; what waits in the loop waits so."""
    late: list[float] = []
    written = time.monotonic()
    while True:
        due = time.perf_counter() + LAG_S
        await asyncio.sleep(LAG_S)
        late.append(1e3 * (time.perf_counter() - due))
        if time.monotonic() - written > 5:
            with file.open("a") as lines:
                lines.writelines(f"{each:.2f}\n" for each in late)
            late.clear()
            written = time.monotonic()


def free_port() -> int:
    """Find a port."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """The server in a process of its own."""

    def __init__(self, farm: Path, port: int, *, profile: bool = False) -> None:
        self.farm, self.port, self.profile = farm, port, profile
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it and wait until it answers; seconds."""
        began = time.monotonic()
        command = [sys.executable, __file__, str(self.farm), "--serve", "--port", str(self.port)]
        more = {PROFILE: "yes"} if self.profile else {}
        environment = {**os.environ, **more}
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        while time.monotonic() - began < 120:
            if self.process.poll() is not None:
                raise RuntimeError("the server ended")
            try:
                asyncio.run(Connection(self.port).request("GET", "/sign-in", {}))
            except OSError:
                time.sleep(0.05)
            else:
                return time.monotonic() - began
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def memory_mb(self) -> float:
        """Resident memory of the server without its picture children."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def processor_s(self) -> float:
        """Processor time that it has had."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def label_together(
    crew: list[Annotator], server: Server, asked: argparse.Namespace
) -> list[float]:
    """Let everybody label; kill the server meanwhile if that is wanted. Memory, once a second."""
    await until_ready(crew[0])
    memory = [server.memory_mb()]
    until = time.monotonic() + asked.seconds
    began_s = server.processor_s()
    tasks = [asyncio.create_task(annotator.label(until)) for annotator in crew]
    kills, rng = 0, random.Random(asked.seed)
    next_kill = time.monotonic() + (asked.seconds / (asked.kills + 1) if asked.kills else 1e9)
    while not all(task.done() for task in tasks):
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        memory.append(server.memory_mb())
        if time.monotonic() > next_kill and kills < asked.kills:
            kills += 1
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            next_kill = time.monotonic() + asked.seconds / (asked.kills + 1)
    await asyncio.gather(*tasks)
    if not asked.kills:
        used = (server.processor_s() - began_s) / asked.seconds
        print(f"the server used {used:.0%} of a core (pictures are made in its children)")
    else:
        print(f"killed {kills} times")
    return memory


async def until_ready(annotator: Annotator) -> None:
    """Wait until the deck is read."""
    began = time.monotonic()
    while not annotator.queue:
        await annotator.fill()
        await asyncio.sleep(0.2)
    annotator.times, annotator.failed = {}, Counter()
    print(f"the first picture came after {time.monotonic() - began:.1f} s")


# The figures


def describe(
    asked: argparse.Namespace, crew: list[Annotator], memory: list[float], server: Server
) -> None:
    """Print times at the server beside those of the clients, and the memory."""
    names = {"/api/next": "next", "/api/acts": "save", "/picture/sample": "picture"}
    at_server: dict[str, list[float]] = {what: [] for what in names.values()}
    for line in logged(asked.farm):
        what = names.get(line.get("path", ""))
        if what and line["status"] == 200:
            at_server[what].append(line["ms"])
    said = sum(len(annotator.said) for annotator in crew)
    print(f"{len(crew)} people said {said} in {asked.seconds:.0f} s, load {os.getloadavg()[0]:.1f}")
    print("ms            at the server: p50    p95    p99    max   at the client: p50    p95")
    for what, times in at_server.items():
        client = np.array([t for annotator in crew for t in annotator.times.get(what, [0])]) * 1e3
        s = np.percentile(times or [0], [50, 95, 99, 100])
        c = np.percentile(client, [50, 95])
        print(
            f"{what:8} {len(times):6} {' ':12} {s[0]:6.1f} {s[1]:6.1f} {s[2]:6.1f} {s[3]:6.0f}"
            f" {' ':15} {c[0]:6.1f} {c[1]:6.1f}"
        )
    lag_file = asked.farm / LAG_FILE
    if lag_file.exists():
        late = np.loadtxt(lag_file)
        p = np.percentile(late, [50, 95, 99, 100])
        print(f"the event loop is late by {p[0]:.1f} / {p[1]:.1f} / {p[2]:.1f} / {p[3]:.0f} ms")
    parts = [memory[round(part * (len(memory) - 1) / PARTS)] for part in range(PARTS + 1)]
    shown = ", ".join(f"{each:.0f}" for each in parts)
    print(f"memory in MB, at first and after each tenth: {shown}; {max(memory):.0f} at most")
    failed = sum((annotator.failed for annotator in crew), Counter[str]())
    print("not answered:", dict(failed))


def logged(farm: Path) -> Iterator[dict[str, Any]]:
    """Read the log, the older files of it first."""
    for path in sorted(farm.glob(f"{LOG_FILE}*"), reverse=True):
        with path.open() as file:
            yield from map(json.loads, file)


def ids(workspace: Workspace, table: sa.Table) -> set[str]:
    """Read which events are there already."""
    return {row.id for row in workspace.catalog.rows(sa.select(table.c.id))}


def compare(workspace: Workspace, crew: list[Annotator], before: dict[str, set[str]]) -> None:
    """Compare event by event what is in the catalog with what people said."""
    expected: dict[str, dict[str, tuple[str, ...]]] = {"labels": {}, "undone_labels": {}}
    for annotator in crew:
        for key, word in annotator.said.items():
            where = "undone_labels" if key in annotator.undone else "labels"
            event = act_id(annotator.name, key, word[2])
            expected[where][event] = (*word, annotator.name)
    for table in (tables.labels, undone_labels):
        rows = workspace.catalog.rows(sa.select(table))
        new = [row for row in rows if row.id not in before[table.name]]
        found = {r.id: (r.frame_id, r.region, r.class_name, r.annotator) for r in new}
        wanted = expected[table.name]
        lost, strange = wanted.keys() - found.keys(), found.keys() - wanted.keys()
        other = sum(found[event] != wanted[event] for event in found.keys() & wanted.keys())
        twice = Counter((event[0], event[1], event[3]) for event in found.values())
        doubled = sum(count - 1 for count in twice.values()) if table is tables.labels else 0
        print(
            f"{table.name}: {len(wanted)} expected, {len(found)} found, {len(lost)} lost,"
            f" {len(strange)} nobody said, {other} otherwise, {doubled} doubled"
        )
    wanted_skips = {act_id(a.name, key) for a in crew for key in a.skipped}
    found_skips = {row.id for row in workspace.catalog.rows(sa.select(skips.c.id))}
    print(f"skips: {len(wanted_skips)} expected, {len(wanted_skips - found_skips)} lost")
    with workspace.catalog.ask("PRAGMA integrity_check") as (_, answers):
        print("integrity check:", next(answers)[0])


if __name__ == "__main__":
    main()
