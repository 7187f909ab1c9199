"""What is sent and what came back: requests as bytes, runs of the load generator, its figures."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TOKEN = "a-token-for-benchmarks-only"
CAMERA = "pen-a"


@dataclass
class Load:
    """What became of the requests of one run.

    Attributes:
        answers: Status, seconds and due time of each.
        seconds: How long it took.
        late: Seconds that each was sent after it was due.
        spent_s: Processor time of the generator.
    """

    answers: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    late: list[float] = field(default_factory=list)
    spent_s: float = 0.0

    def of(self, *statuses: int, since_s: float = 0.0) -> list[float]:
        """Give the seconds of requests that ended with one of these, in order.

        Args:
            statuses: Of HTTP.
            since_s: Only of those that were due so long after the start, or later.
        """
        return sorted(s for status, s, due in self.answers if status in statuses and due >= since_s)

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return len(self.of(200)) / self.seconds

    def line(self) -> str:
        """Say it in one line."""
        good, refused = self.of(200), self.of(429, 503)
        counts = dict(Counter(status for status, _, _ in self.answers))
        parts = [f"{self.per_s:7.1f} answers/s"]
        if good:
            parts.append(f"p50 {1e3 * at(good, 0.5):6.1f} ms  p99 {1e3 * at(good, 0.99):6.1f} ms")
        if refused:
            parts.append(f"refused p99 {1e3 * at(refused, 0.99):5.1f} ms")
        if self.late:
            parts.append(f"sent late p99 {1e3 * at(sorted(self.late), 0.99):.1f} ms")
        parts.append(f"client {self.spent_s / self.seconds:.0%} of a core")
        return "  ".join([*parts, str(counts)])


def at(times: list[float], share: float) -> float:
    """Give a quantile of ordered times."""
    return times[min(len(times) - 1, int(share * len(times)))]


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one answer; give its status, and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next((x for x in head.split("\r\n") if x.startswith("content-length:")), ":0")
    await reader.readexactly(int(length.partition(":")[2]))
    return int(head.split()[1]), "connection: close" not in head


def addressed(request: bytes, port: int) -> bytes:
    """Write the port into a request."""
    return request.replace(b"localhost:PORT", b"localhost:%d" % port, 1)


_GENERATOR = Path(__file__).with_name("generator.py")


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
        Path(file.name).write_bytes(addressed(request, port))
        command = [sys.executable, str(_GENERATOR), kind, str(port), file.name]
        for name, value in numbers.items():
            command += [f"--{name}", str(value)]
        if cores:
            command += ["--cores", *map(str, cores)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(said)
    answers = [(int(status), float(s), float(due)) for status, s, due in found.pop("answers")]
    return Load(answers, **found)


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


def frame_file() -> bytes:
    """Make a JPEG file as a camera sends it: 1280 by 720, with edges and grain."""
    import cv2
    import simplejpeg

    rng = np.random.default_rng(4)
    coarse = rng.integers(30, 220, (18, 32, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (1280, 720), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    picture = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(picture, 85))


def jpeg_request(file: bytes, camera: str = "") -> bytes:
    """Make a request with one JPEG file, of a camera where one is named."""
    return request_of(f"/predict?camera={camera}" if camera else "/predict", "image/jpeg", file)
