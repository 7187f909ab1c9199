"""What serving costs beside a bare ONNX Runtime loop, with open-loop load: no coordinated omission.

    python benchmarks/serving.py [--seconds 10] [--drains 20] [--backbone timm/mobilenetv2_100]

One model, exported once, random weights. The bare loop judges pictures that lie in memory already,
batch by batch. The server gets the same pixels as KServe tensors (binary), then JPEG files. Load
arrives at a constant rate whether or not answers come back; a request's time starts when it was
due.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
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

    def line(self) -> str:
        """Say it in one line."""
        good, refused = self.of(200), self.of(429, 503)
        counts = dict(Counter(status for status, _ in self.answers))
        parts = [f"{len(good) / self.seconds:7.1f} answers/s"]
        if good:
            parts.append(f"p50 {1e3 * at(good, 0.5):6.1f} ms  p99 {1e3 * at(good, 0.99):6.1f} ms")
        if refused:
            parts.append(f"refused p99 {1e3 * at(refused, 0.99):5.1f} ms")
        return "  ".join([*parts, str(counts)])


def at(times: list[float], share: float) -> float:
    """Give a quantile of ordered times."""
    return times[min(len(times) - 1, int(share * len(times)))]


def make_export(folder: Path, backbone: str, size: int) -> None:
    """Export a network with random weights."""
    import torch

    from besana.learning.parity import Origin, export_model
    from besana.models.model import Card, load_model, save_model
    from besana.models.network import Backbone, build
    from besana.storage import open_storage

    built = build(Backbone(backbone, size_px=size), classes=2)
    with torch.no_grad():
        built.network.get_classifier().weight.normal_(generator=torch.Generator().manual_seed(0))
    card = Card(
        backbone=backbone,
        preprocessing=built.preprocessing,
        classes=["cow", "empty"],
        dataset={"sample_px": size},
    )
    save_model(folder / "model", built.network, card)
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (8, size, size, 3)).astype(np.uint8))
    export_model(
        load_model(folder / "model", device="cpu"),
        open_storage(folder / "onnx"),
        Origin("bench", 1),
        pictures=pictures,
        calibration=np.stack(pictures),
        precisions=("fp32",),
    )


def bare_rate(folder: Path, size: int, batch: int, threads: int, seconds: float) -> float:
    """Judge one batch again and again, pictures/s."""
    from besana.models.onnx_model import load_export

    model = load_export(folder / "onnx", threads=threads)
    images = np.random.default_rng(1).integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
    model.run(images)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        model.run(images)
        count += batch
    return count / (time.perf_counter() - started)


def start_server(folder: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Start `besana serve` and wait until it listens."""
    command = [sys.executable, "-m", "besana", "serve", str(folder), "--folder"]
    command += [str(folder / "onnx"), "--port", "0", "--refresh-s", "0", *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "BESANA_SERVE_TOKEN": TOKEN},
    )
    assert process.stdout is not None
    page = json.loads(process.stdout.readline())["page"]
    return process, int(page.rsplit(":", 1)[1].strip("/"))


class Connections:
    """Kept connections to one server; each carries one request at a time."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, addressed(request, port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

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
                status, keep = await _answer(reader)
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


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next((x for x in head.split("\r\n") if x.startswith("content-length:")), ":0")
    await reader.readexactly(int(length.partition(":")[2]))
    return int(head.split()[1]), "connection: close" not in head


def addressed(request: bytes, port: int) -> bytes:
    """Write the port into a request."""
    return request.replace(b"localhost:PORT", b"localhost:%d" % port, 1)


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


async def open_loop(port: int, request: bytes, rate: float, seconds: float) -> Load:
    """Send at a constant rate; the clock of a request starts when it was due."""
    load, connections = Load(), Connections(port, request)

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
    """Let some callers ask one after another: the most that the server gives."""
    load, connections = Load(), Connections(port, request)
    started = time.perf_counter()

    async def caller() -> None:
        while (since := time.perf_counter()) < started + seconds:
            status = await connections.ask()
            load.answers.append((status, time.perf_counter() - since))

    await asyncio.gather(*(caller() for _ in range(callers)))
    load.seconds = time.perf_counter() - started
    connections.close()
    return load


def kserve_request(size: int, pictures: int) -> bytes:
    """Make a request with pixels, KServe's binary form."""
    images = np.random.default_rng(2).integers(0, 256, (pictures, size, size, 3)).astype(np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    head = json.dumps({"inputs": [tensor]}).encode()
    return request_of(
        "/v2/models/bench/infer",
        "application/octet-stream",
        head + images.tobytes(),
        Inference_Header_Content_Length=str(len(head)),
    )


def jpeg_request(size: int) -> bytes:
    """Make a request with one JPEG file."""
    import simplejpeg

    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (size // 8, size // 8, 3)).astype(np.uint8)
    picture = np.ascontiguousarray(small.repeat(8, axis=0).repeat(8, axis=1))
    return request_of("/predict", "image/jpeg", simplejpeg.encode_jpeg(picture, 90))


def drains(folder: Path, request: bytes, count: int, options: list[str]) -> tuple[int, int]:
    """Stop a server under load again and again; count answers and failures."""
    good = failed = 0
    for _ in range(count):
        process, port = start_server(folder, "--drain-s", "0.3", *options)

        async def ask(port: int = port, process: subprocess.Popen[str] = process) -> list[int]:
            found: list[int] = []

            async def caller() -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                keep = True
                while keep:
                    writer.write(addressed(request, port))
                    status, keep = await _answer(reader)
                    found.append(status)
                writer.close()

            callers = [asyncio.create_task(caller()) for _ in range(4)]
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            for outcome in await asyncio.gather(*callers, return_exceptions=True):
                if outcome is not None:
                    found.append(0)
            return found

        statuses = asyncio.run(ask())
        process.wait(30)
        good += statuses.count(200)
        failed += sum(status not in (200, 429) for status in statuses)
    return good, failed


@contextlib.contextmanager
def server(folder: Path, *options: str) -> Iterator[int]:
    """Run a server; give its port."""
    process, port = start_server(folder, *options)
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def spent_s(process: subprocess.Popen[str]) -> float:
    """Give the processor time that a server and its children have taken."""
    import psutil

    root = psutil.Process(process.pid)
    return sum(sum(one.cpu_times()[:2]) for one in (root, *root.children(recursive=True)))


def processor_ms(
    process: subprocess.Popen[str], port: int, request: bytes, seconds: float, pictures: int
) -> float:
    """Measure what one picture costs in processor time, whatever else the machine does."""
    asyncio.run(closed_loop(port, request, 4, 1.0))
    before = spent_s(process)
    load = asyncio.run(closed_loop(port, request, max(3, 12 // pictures), seconds))
    return 1000 * (spent_s(process) - before) / (pictures * len(load.of(200)))


def bare_processor_ms(folder: Path, size: int, batch: int) -> float:
    """Measure what one picture costs in the bare loop, on one thread."""
    from besana.models.onnx_model import load_export

    model = load_export(folder / "onnx", threads=1)
    images = np.random.default_rng(1).integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
    model.run(images)
    started, rounds = time.process_time(), 20
    for _ in range(rounds):
        model.run(images)
    return 1000 * (time.process_time() - started) / (rounds * batch)


def processor_times(folder: Path, size: int, batch: int, seconds: float) -> None:
    """Print processor time a picture, beside the bare loop's."""
    bare = bare_processor_ms(folder, size, batch)
    print(f"processor time a picture, bare loop: {bare:.2f} ms", flush=True)
    process, port = start_server(folder, "--threads", "1", "--batch-size", str(batch))
    for what, request, pictures in (
        (f"tensors of {batch}", kserve_request(size, batch), batch),
        ("tensors of 1", kserve_request(size, 1), 1),
        ("JPEG files", jpeg_request(size), 1),
    ):
        ours = processor_ms(process, port, request, seconds, pictures)
        print(f"processor time a picture, {what}: {ours:.2f} ms, bare over that {bare / ours:.2f}")
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def measured(port: int, request: bytes, seconds: float, what: str, pictures: int = 1) -> float:
    """Measure what a server gives, at 70 % of that, and at five times that; requests/s."""
    asyncio.run(closed_loop(port, request, 4, 1.0))
    most = asyncio.run(closed_loop(port, request, max(2, 24 // pictures), seconds))
    rate = len(most.of(200)) / most.seconds
    print(f"{what}, as many as it takes   {most.line()}", flush=True)
    at_70 = asyncio.run(open_loop(port, request, 0.7 * rate, seconds))
    print(f"{what}, 70 % of that          {at_70.line()}", flush=True)
    over = asyncio.run(open_loop(port, request, 5 * rate, min(seconds, 5.0)))
    print(f"{what}, 5 times that          {over.line()}", flush=True)
    if at_70.of(200) and over.of(200):
        ratio = at(over.of(200), 0.99) / at(at_70.of(200), 0.99)
        print(f"{what}, p99 of accepted at 5x over p99 at 70 %: {ratio:.2f}", flush=True)
    return rate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="timm/mobilenetv2_100")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--drains", type=int, default=20)
    parser.add_argument("--only-processor-time", action="store_true")
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}, cores: {len(os.sched_getaffinity(0))}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_export(folder, given.backbone, given.size)
        options = ["--threads", str(given.threads), "--batch-size", str(given.batch)]
        processor_times(folder, given.size, given.batch, given.seconds)
        if given.only_processor_time:
            return
        bare = [
            bare_rate(folder, given.size, given.batch, given.threads, given.seconds / 2)
            for _ in range(2)
        ]
        print(f"bare loop, batches of {given.batch}: {statistics.mean(bare):.1f} pictures/s")
        with server(folder, *options) as port:
            whole = kserve_request(given.size, given.batch)
            rate = measured(port, whole, given.seconds, f"tensors of {given.batch}", given.batch)
            share = rate * given.batch / statistics.mean(bare)
            print(f"share of the bare loop, tensors of {given.batch}: {share:.2f}")
            rate = measured(port, kserve_request(given.size, 1), given.seconds, "tensors of 1")
            print(f"share of the bare loop, tensors of 1: {rate / statistics.mean(bare):.2f}")
            rate = measured(port, jpeg_request(given.size), given.seconds, "JPEG files")
            print(f"share of the bare loop, JPEG files: {rate / statistics.mean(bare):.2f}")
        good, failed = drains(folder, jpeg_request(given.size), given.drains, options)
        print(f"{given.drains} drains under load: {good} answers, {failed} failed")


if __name__ == "__main__":
    main()
