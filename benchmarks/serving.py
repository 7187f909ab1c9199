"""What serving costs beside a bare ONNX Runtime loop and BentoML, with open-loop load.

    python benchmarks/serving.py [--parts processor rate waiting drains] [--peer-python PYTHON]

One model, exported once, random weights, in the same run on the same cores, each in its turn; the
network and its size are those of `besana train` unless it is told otherwise:

* the server, which gets pixels as KServe tensors (binary), then JPEG files of one sample, then
  frames of a camera with three regions;
* the bare loop: one ONNX Runtime session with its own threads on all of those cores, which judges
  pixels that lie in memory, a batch at a time; beside files and frames it also decodes, cuts and
  scales them by the server's functions, one after another, in its own process;
* a request at a time: the same loop, but each request is judged by itself, as it comes;
* a loop a core: as many such processes, of one thread each, as there are cores. No request, no
  queue, nothing handed over: what the cores can do at most;
* BentoML, where `--peer-python` names a Python with bentoml, onnxruntime and pillow.

The load generator is a process of its own. Parts `processor` and `rate` run twice: server and
callers share all cores, where those who ask as fast as answers come take two or three per cent of
one; then the server has all but the last core and the callers have that one. Part `waiting`, with
requests at a constant rate and most of them refused, runs with the callers elsewhere only, since
those who send so many need a core for it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from serving_parts.drains import drains, start_server
from serving_parts.load import (
    CAMERA,
    Load,
    at,
    frame_file,
    generate,
    jpeg_file,
    jpeg_request,
    kserve_request,
    request_of,
)

PARTS = ("processor", "rate", "waiting", "drains")
ROUNDS = 5
REGIONS = {"bed-1": [0, 0, 420, 720], "bed-2": [420, 0, 860, 720], "bed-3": [860, 0, 1280, 720]}


def make_export(folder: Path, backbone: str, size: int) -> None:
    """Export a network with random weights."""
    import torch

    from besana.learning.parity import Origin, export_model
    from besana.models.model import Card, load_model, save_model
    from besana.models.network import Backbone, build
    from besana.storage import open_storage

    built = build(Backbone(backbone, size_px=size), classes=2)
    size = built.preprocessing.size_px
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
    cameras = {CAMERA: {"name": CAMERA, "regions": REGIONS}}
    (folder / "onnx" / "cameras.json").write_text(json.dumps(cameras))


class Bench:
    """One export, and where everything runs.

    Args:
        export: The exported folder.
        given: What the command line says.
        server_cores: Where the server and the bare loops run.
        client_cores: Where the load generator runs.
    """

    def __init__(
        self,
        export: Path,
        given: argparse.Namespace,
        server_cores: Sequence[int],
        client_cores: Sequence[int],
    ) -> None:
        self.export = export
        card = json.loads((export / "export.json").read_text())
        self.size, self.name = card["preprocessing"]["size_px"], card["model"]
        self.batch, self.seconds = given.batch, given.seconds
        self.server_cores, self.client_cores = server_cores, client_cores
        self.peer_python, self.kinds = given.peer_python, given.kinds
        self.overload_s, self.parts = given.overload_s, given.parts
        self.threads = len(self.server_cores)

    def requests(self) -> dict[str, bytes]:
        """Make one request of each kind."""
        return {
            f"tensors of {self.batch}": kserve_request(self.size, self.batch, self.name),
            "tensors of 1": kserve_request(self.size, 1, self.name),
            "JPEG files": jpeg_request(jpeg_file(self.size)),
            "frames": jpeg_request(frame_file(), CAMERA),
        }

    def wanted(self) -> dict[str, bytes]:
        """Make one request of each kind that was asked for."""
        return {
            what: r for what, r in self.requests().items() if not self.kinds or what in self.kinds
        }

    @contextlib.contextmanager
    def server(self) -> Iterator[tuple[subprocess.Popen[str], int]]:
        """Run `besana serve`; give its process and port."""
        options = ["--threads", str(self.threads), "--decoders", str(self.threads)]
        options += ["--batch-size", str(self.batch)]
        process, port = start_server(self.export, *options, cores=tuple(self.server_cores))
        try:
            yield process, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    @contextlib.contextmanager
    def peer(self) -> Iterator[int]:
        """Run the same model behind BentoML; give its port."""
        port = 18_999
        environment = {
            **os.environ,
            "BENTOML_DO_NOT_TRACK": "True",
            "BENCH_MODEL": str(self.export / "model-fp32.onnx"),
            "BENCH_BATCH": str(self.batch),
            "BENCH_THREADS": str(self.threads),
        }
        words = [
            "serve",
            "serving_parts.peer:Peer",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "-q",
        ]
        command = [self.peer_python, "-m", "bentoml", *words]
        with on_cores(self.server_cores):
            process = subprocess.Popen(
                command, cwd=Path(__file__).parent, env=environment, stderr=subprocess.DEVNULL
            )
        try:
            wait_for(port)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def callers(self, what: str) -> int:
        """Give how many callers keep the server busy without being refused."""
        if what in ("tensors of 1", "JPEG files"):
            return 22 * self.threads
        return 8 * self.threads if what == "frames" else 1 + self.threads

    def closed(self, port: int, request: bytes, callers: int, seconds: float) -> Load:
        """Let some callers ask one after another."""
        return generate(
            "closed", port, request, self.client_cores, callers=callers, seconds=seconds
        )

    def open(self, port: int, request: bytes, rate: float, seconds: float) -> Load:
        """Send at a constant rate."""
        return generate("open", port, request, self.client_cores, rate=rate, seconds=seconds)


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Run what is inside, and the processes that it starts, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait_for(port: int) -> None:
    """Wait until a server says that it is ready."""
    import urllib.request

    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
            return
        time.sleep(0.5)
    raise SystemExit("the peer does not start")


class Bare:
    """Bare loops in processes of their own.

    Args:
        bench: What runs where.
        groups: Cores of each process.
        batch: Pictures that they judge together.
    """

    def __init__(self, bench: Bench, groups: Sequence[Sequence[int]], batch: int) -> None:
        script = Path(__file__).parent / "serving_parts" / "bare.py"
        command = [sys.executable, str(script), str(bench.export)]
        command += ["--batch", str(batch), "--tensors", str(bench.batch)]
        self._processes = [
            subprocess.Popen(
                [*command, "--cores", *map(str, cores)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for cores in groups
        ]
        for process in self._processes:
            self._hear(process)

    def run(self, what: str, seconds: float) -> tuple[float, float]:
        """Do what a kind of request asks for: requests/s, milliseconds of processor each."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{what} {seconds}\n")
            process.stdin.flush()
        found = [tuple(map(float, self._hear(process).split())) for process in self._processes]
        return sum(one[0] for one in found), statistics.mean(one[1] for one in found)

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.wait()

    @staticmethod
    def _hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()


@contextlib.contextmanager
def bare_loops(bench: Bench) -> Iterator[dict[str, Bare]]:
    """Start the bare loops, and a loop a core where there are several."""
    loops = {
        "the bare loop": Bare(bench, [bench.server_cores], bench.batch),
        "a request at a time": Bare(bench, [bench.server_cores], 1),
    }
    if bench.threads > 1:
        cores = [[core] for core in bench.server_cores]
        loops["a loop a core"] = Bare(bench, cores, bench.batch)
    try:
        yield loops
    finally:
        for loop in loops.values():
            loop.close()


def spent_s(process: subprocess.Popen[str]) -> float:
    """Give the processor time that a server and its children have taken."""
    import psutil

    root = psutil.Process(process.pid)
    return sum(sum(one.cpu_times()[:2]) for one in (root, *root.children(recursive=True)))


def processor_times(bench: Bench, loops: Mapping[str, Bare]) -> None:
    """Print processor time a request, whatever else the machine does, beside the bare loops'."""
    with bench.server() as (process, port):

        def server(request: bytes, what: str) -> float:
            spent = spent_s(process)
            load = bench.closed(port, request, bench.callers(what), bench.seconds / 2)
            return 1000 * (spent_s(process) - spent) / len(load.of(200))

        for what, request in bench.wanted().items():
            bench.closed(port, request, bench.callers(what), 1.0)
            turns = in_turns(loops, what, bench.seconds / 4, partial(server, request, what), 1)
            for name, (bare, own, shares) in turns.items():
                print(
                    f"processor time, {what}: server {own:.2f} ms, {name} {bare:.2f} ms, share "
                    f"{said(shares)}",
                    flush=True,
                )


def in_turns(
    loops: Mapping[str, Bare], what: str, seconds: float, measure: Callable[[], float], place: int
) -> dict[str, tuple[float, float, list[float]]]:
    """Measure a server between runs of the bare loops, since machines change their pace.

    Args:
        loops: What to run before and after each measurement.
        what: Kind of request.
        seconds: Of each of their runs.
        measure: Gives the server's figure.
        place: 0 for requests/s, of which the server's share is its own by the loop's; 1 for
            milliseconds of processor, of which it is the loop's by its own.

    Returns:
        For each loop its median, the server's median, and the shares in order.
    """
    bare = {name: [loop.run(what, seconds)[place]] for name, loop in loops.items()}
    own = []
    for _ in range(ROUNDS):
        own.append(measure())
        for name, loop in loops.items():
            bare[name].append(loop.run(what, seconds)[place])
    found = {}
    for name, values in bare.items():
        around = [statistics.mean(pair) for pair in itertools.pairwise(values)]
        pairs = zip(own, around, strict=True)
        shares = sorted(b / o if place else o / b for o, b in pairs)
        found[name] = (statistics.median(values), statistics.median(own), shares)
    return found


def said(shares: Sequence[float]) -> str:
    """Write the median share with the lowest and the highest."""
    return f"{statistics.median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})"


def share_by_the_clock(
    bench: Bench, loops: Mapping[str, Bare], port: int, request: bytes, what: str, name: str
) -> None:
    """Print a server's rate beside the bare loops'."""
    callers = bench.callers(what)
    bench.closed(port, request, callers, 1.0)

    def rate() -> float:
        return bench.closed(port, request, callers, bench.seconds / 2).per_s

    for loop, (bare, own, shares) in in_turns(loops, what, bench.seconds / 4, rate, 0).items():
        print(
            f"by the clock, {name}: {own:.1f} requests/s, {loop} {bare:.1f}, share {said(shares)}",
            flush=True,
        )


def waiting(bench: Bench, port: int, request: bytes, what: str, callers: int) -> None:
    """Measure what a server gives, at 70 % of that, and at five times that."""
    time.sleep(1.5)  # what came before is forgotten
    bench.closed(port, request, callers, 1.0)
    most = bench.closed(port, request, callers, bench.seconds)
    print(f"{what}, as many as it takes   {most.line()}", flush=True)
    at_70 = bench.open(port, request, 0.7 * most.per_s, bench.seconds)
    print(f"{what}, 70 % of that          {at_70.line()}", flush=True)
    over = bench.open(port, request, 5 * most.per_s, bench.overload_s)
    print(f"{what}, 5 times that          {over.line()}", flush=True)
    if at_70.of(200) and over.of(200):
        usual = at(at_70.of(200), 0.99)
        whole, later = at(over.of(200), 0.99), at(over.of(200, since_s=1.0), 0.99)
        print(
            f"{what}, p99 of accepted at 5x over p99 at 70 %: {whole / usual:.2f}, "
            f"after the first second {later / usual:.2f}",
            flush=True,
        )


def loads(bench: Bench, loops: Mapping[str, Bare], *, with_waiting: bool) -> None:
    """Measure rates, as shares of the bare loops', and waiting times."""
    with_waiting = with_waiting and "waiting" in bench.parts
    if "rate" not in bench.parts and not with_waiting:
        return
    with bench.server() as (_, port):
        compare(bench, loops, port, bench.wanted(), "besana", with_waiting)
    if bench.peer_python:
        asked = {
            f"tensors of {bench.batch}": raw_request(bench),
            "JPEG files": form_request(bench.size),
        }
        with bench.peer() as port:
            wanted = {what: r for what, r in asked.items() if what in bench.wanted()}
            compare(bench, loops, port, wanted, "BentoML", with_waiting)


def compare(
    bench: Bench,
    loops: Mapping[str, Bare],
    port: int,
    requests: Mapping[str, bytes],
    server: str,
    with_waiting: bool,
) -> None:
    """Measure one server with each kind of request."""
    for what, request in requests.items():
        name = f"{server}, {what}"
        if "rate" in bench.parts:
            share_by_the_clock(bench, loops, port, request, what, name)
        if with_waiting:
            waiting(bench, port, request, name, bench.callers(what))


def raw_request(bench: Bench) -> bytes:
    """Make a request with the pixels of a batch, as the peer takes them."""
    shape = (bench.batch, bench.size, bench.size, 3)
    pixels = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    return request_of("/tensors", "application/octet-stream", pixels.tobytes())


def form_request(size: int) -> bytes:
    """Make a form with one JPEG file, as the peer takes them."""
    head = (
        '--xxxxxx\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + jpeg_file(size) + b"\r\n--xxxxxx--\r\n"
    return request_of("/pictures", "multipart/form-data; boundary=xxxxxx", body)


def measure(bench: Bench) -> None:
    """Measure on one choice of cores."""
    print(f"== server on {bench.server_cores}, callers on {bench.client_cores}", flush=True)
    with bare_loops(bench) as loops:
        if "processor" in bench.parts:
            processor_times(bench, loops)
        loads(bench, loops, with_waiting=bench.server_cores != bench.client_cores)


def main() -> None:
    """Measure and print."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", type=Path, help="an exported folder; else one is made")
    parser.add_argument("--backbone", default="timm/mobilenetv2_100")
    parser.add_argument("--size", type=int, default=0, help="px; 0: the network's own")
    parser.add_argument("--seconds", type=float, default=8.0)
    # The burst of the first moment is let in; it should not be one answer in a hundred.
    parser.add_argument("--overload-s", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--drains", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", default=[], help="of what is sent; else all")
    parser.add_argument("--peer-python", default="")
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}, cores: {len(cores)}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        if given.folder is None:
            make_export(Path(place), given.backbone, given.size)
        export = given.folder or Path(place) / "onnx"
        places = [(cores, cores), (cores[:-1], cores[-1:])][: len(cores)]  # one core has no other
        benches = [Bench(export, given, *place) for place in places]
        for bench in benches if given.parts != ["drains"] else []:
            measure(bench)
        if "drains" in given.parts:
            request = jpeg_request(jpeg_file(benches[0].size))
            good, failed = drains(export, request, given.drains)
            print(f"{given.drains} drains under load: {good} answers, {failed} failed")
    print(f"load after: {os.getloadavg()[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
