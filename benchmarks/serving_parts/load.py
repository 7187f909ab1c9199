"""A load generator in a process of its own: open-loop and closed-loop, over kept connections.

    python benchmarks/serving_parts/load.py open PORT REQUEST-FILE --rate 100 --seconds 8 --cores 1

A request's time starts when it was due, so a server that stalls cannot hide it. One line of JSON
comes out: status and seconds of each request.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TOKEN = "a-token-for-benchmarks-only"


@dataclass
class Load:
    """What became of the requests of one run: status and seconds of each."""

    answers: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0

    def of(self, *statuses: int) -> list[float]:
        """Give the seconds of requests that ended with one of these, in order."""
        return sorted(s for status, s in self.answers if status in statuses)

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return len(self.of(200)) / self.seconds

    def line(self) -> str:
        """Say it in one line."""
        good, refused = self.of(200), self.of(429, 503)
        counts = dict(Counter(status for status, _ in self.answers))
        parts = [f"{self.per_s:7.1f} answers/s"]
        if good:
            parts.append(f"p50 {1e3 * at(good, 0.5):6.1f} ms  p99 {1e3 * at(good, 0.99):6.1f} ms")
        if refused:
            parts.append(f"refused p99 {1e3 * at(refused, 0.99):5.1f} ms")
        return "  ".join([*parts, str(counts)])


def at(times: list[float], share: float) -> float:
    """Give a quantile of ordered times."""
    return times[min(len(times) - 1, int(share * len(times)))]


class Connections:
    """Kept connections to one server; each carries one request at a time."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, addressed(request, port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self, count: int) -> None:
        """Open some connections beforehand, as clients have that stay connected."""
        pairs = (asyncio.open_connection("127.0.0.1", self._port) for _ in range(count))
        self._idle += await asyncio.gather(*pairs)

    async def ask(self) -> int:
        """Send the request once; give its status, 0 when the connection failed."""
        for _ in range(2):
            fresh = not self._idle
            pair = (
                await asyncio.open_connection("127.0.0.1", self._port)
                if fresh
                else self._idle.pop()
            )
            reader, writer = pair
            try:
                writer.write(self._request)
                status, keep = await read_answer(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                if fresh:
                    return 0
                continue
            if keep:
                self._idle.append(pair)
            else:
                writer.close()
            return status
        return 0

    def close(self) -> None:
        """Close what is kept."""
        for _, writer in self._idle:
            writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one answer; give its status, and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next((x for x in head.split("\r\n") if x.startswith("content-length:")), ":0")
    await reader.readexactly(int(length.partition(":")[2]))
    return int(head.split()[1]), "connection: close" not in head


def addressed(request: bytes, port: int) -> bytes:
    """Write the port into a request."""
    return request.replace(b"localhost:PORT", b"localhost:%d" % port, 1)


async def open_loop(port: int, request: bytes, rate: float, seconds: float) -> Load:
    """Send at a constant rate; the clock of a request starts when it was due."""
    load, connections = Load(), Connections(port, request)
    await connections.open(64)

    async def one(due: float) -> None:
        status = await connections.ask()
        load.answers.append((status, time.perf_counter() - due))

    started = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - started
    connections.close()
    return load


async def closed_loop(port: int, request: bytes, callers: int, seconds: float) -> Load:
    """Let some callers ask one after another: the most that the server gives.

    Who is refused comes back after a second, as `Retry-After` says.
    """
    load, connections = Load(), Connections(port, request)
    started = time.perf_counter()

    async def caller() -> None:
        while (since := time.perf_counter()) < started + seconds:
            status = await connections.ask()
            load.answers.append((status, time.perf_counter() - since))
            if status in (429, 503):
                await asyncio.sleep(1.0)

    await asyncio.gather(*(caller() for _ in range(callers)))
    load.seconds = time.perf_counter() - started
    connections.close()
    return load


def generate(kind: str, port: int, request: bytes, cores: Sequence[int], **numbers: float) -> Load:
    """Run the generator in its own process, on its own cores where there are some.

    Args:
        kind: `open`, which takes `rate` and `seconds`, or `closed`: `callers` and `seconds`.
        port: Of the server.
        request: What is sent, again and again.
        cores: Where the generator runs; none: anywhere.
        numbers: See above.
    """
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(request)
        command = [sys.executable, __file__, kind, str(port), file.name]
        for name, value in numbers.items():
            command += [f"--{name}", str(value)]
        if cores:
            command += ["--cores", *map(str, cores)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(said)
    return Load([(int(status), float(s)) for status, s in found["answers"]], found["seconds"])


def request_of(path: str, kind: str, body: bytes, **headers: str) -> bytes:
    """Write a whole request; the port comes in where it is sent."""
    given = {
        "Host": "localhost:PORT",
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        **{key.replace("_", "-"): value for key, value in headers.items()},
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{key}: {value}" for key, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def kserve_request(size: int, pictures: int, model: str = "bench") -> bytes:
    """Make a request with pixels, KServe's binary form."""
    images = np.random.default_rng(2).integers(0, 256, (pictures, size, size, 3)).astype(np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    head = json.dumps({"inputs": [tensor]}).encode()
    return request_of(
        f"/v2/models/{model}/infer",
        "application/octet-stream",
        head + images.tobytes(),
        Inference_Header_Content_Length=str(len(head)),
    )


def jpeg_file(size: int) -> bytes:
    """Make a JPEG file."""
    import simplejpeg

    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (size // 8, size // 8, 3)).astype(np.uint8)
    picture = np.ascontiguousarray(small.repeat(8, axis=0).repeat(8, axis=1))
    return bytes(simplejpeg.encode_jpeg(picture, 90))


def jpeg_request(size: int) -> bytes:
    """Make a request with one JPEG file."""
    return request_of("/predict", "image/jpeg", jpeg_file(size))


def main() -> None:
    """Generate load and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("open", "closed"))
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--callers", type=float, default=4)
    parser.add_argument("--cores", type=int, nargs="+", default=[])
    given = parser.parse_args()
    if given.cores:
        os.sched_setaffinity(0, given.cores)
    gc.disable()
    request = given.request.read_bytes()
    if given.kind == "open":
        load = asyncio.run(open_loop(given.port, request, given.rate, given.seconds))
    else:
        load = asyncio.run(closed_loop(given.port, request, int(given.callers), given.seconds))
    print(json.dumps({"answers": load.answers, "seconds": load.seconds}))


if __name__ == "__main__":
    main()
