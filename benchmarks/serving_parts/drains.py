"""Stop a server under load, again and again: no request may fail.

Four callers ask one request after another over kept connections, as behind a load balancer: each
stops when an answer says that the connection closes. SIGTERM comes at another moment each time.
A request fails when its connection breaks, or when it is answered with anything but 200 or 429.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving_parts.load import TOKEN, addressed, read_answer

_CALLERS = 4
_STARTED_S = 120.0
_BROKEN = 0


def start_server(
    export: Path, *options: str, cores: tuple[int, ...] = ()
) -> tuple[subprocess.Popen[str], int]:
    """Start `besana serve` on some cores and wait until it listens.

    Args:
        export: The exported folder.
        options: Of `besana serve`.
        cores: Where it runs; none: anywhere.
    """
    command = [sys.executable, "-m", "besana", "serve", "nowhere", "--folder", str(export)]
    command += ["--port", "0", "--refresh-s", "0", *options]
    allowed = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "BESANA_SERVE_TOKEN": TOKEN},
        )
    finally:
        os.sched_setaffinity(0, allowed)
    assert process.stdout is not None
    page = json.loads(process.stdout.readline())["page"]
    return process, int(page.rsplit(":", 1)[1].strip("/"))


async def _ask(port: int, request: bytes, found: Counter[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    keep = True
    try:
        while keep:
            writer.write(request)
            status, keep = await read_answer(reader)
            found[status] += 1
    except (asyncio.IncompleteReadError, ConnectionError):
        found[_BROKEN] += 1
    writer.close()


async def _load(
    process: subprocess.Popen[str], port: int, request: bytes, after_s: float
) -> Counter[int]:
    found: Counter[int] = Counter()
    callers = [asyncio.create_task(_ask(port, request, found)) for _ in range(_CALLERS)]
    until = time.monotonic() + _STARTED_S
    while not found[200] and time.monotonic() < until:
        await asyncio.sleep(0.01)
    await asyncio.sleep(after_s)
    process.send_signal(signal.SIGTERM)
    await asyncio.gather(*callers)
    return found


def drain(export: Path, request: bytes, number: int) -> Counter[int]:
    """Start a server, stop it under load; count the answers by status, 0 for broken ones."""
    process, port = start_server(export, "--drain-s", "0.3", "--threads", "1", "--decoders", "1")
    after_s = 0.05 + 0.013 * (number % 20)
    found = asyncio.run(_load(process, port, addressed(request, port), after_s))
    if process.wait(60) != 0:
        found[_BROKEN] += 1
    return found


def drains(export: Path, request: bytes, count: int, at_once: int = 1) -> tuple[int, int]:
    """Drain some servers; count good answers and failed requests."""
    with ThreadPoolExecutor(at_once) as pool:
        found = sum(pool.map(lambda n: drain(export, request, n), range(count)), Counter())
    return found[200], sum(n for status, n in found.items() if status not in (200, 429))
