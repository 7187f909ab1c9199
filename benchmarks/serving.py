"""What serving costs beside a bare ONNX Runtime loop and BentoML, with open-loop load.

    python benchmarks/serving.py [--parts processor load drains] [--peer-python /path/to/python]

One model, exported once, random weights. The bare loop judges pictures that lie in memory already,
batch by batch. The server gets the same pixels as KServe tensors (binary), then JPEG files of one
sample, then frames of a camera with three regions; beside files and frames the bare loop also
decodes, cuts and scales them by the same functions, one after another in its own process.

The server has core 0, and so have the bare loop and the peer in their turns; the load generator is
a process of its own on core 1 (`--server-cores`, `--client-cores`). So what is measured is a server
of one core, whose callers are elsewhere. Part `load` compares by the clock, requests/s beside the
bare loop's, in turns; part `processor` compares processor time a request. `--peer-python` names a
Python with bentoml, onnxruntime and pillow; the peer then runs in the same run.
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
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from serving_parts.drains import drains, start_server
from serving_parts.load import (
    Load,
    at,
    frame_file,
    generate,
    jpeg_file,
    jpeg_request,
    kserve_request,
    request_of,
)

PARTS = ("processor", "load", "drains")
ROUNDS = 3
CAMERA = "pen-a"
REGIONS = {"bed-1": [0, 0, 420, 720], "bed-2": [420, 0, 860, 720], "bed-3": [860, 0, 1280, 720]}


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
    cameras = {CAMERA: {"name": CAMERA, "regions": REGIONS}}
    (folder / "onnx" / "cameras.json").write_text(json.dumps(cameras))


class Bench:
    """One export, and where everything runs.

    Args:
        export: The exported folder.
        given: What the command line says.
    """

    def __init__(self, export: Path, given: argparse.Namespace) -> None:
        self.export = export
        card = json.loads((export / "export.json").read_text())
        self.size, self.name = card["preprocessing"]["size_px"], card["model"]
        self.batch, self.seconds = given.batch, given.seconds
        self.server_cores, self.client_cores = given.server_cores, given.client_cores
        self.peer_python, self.kinds = given.peer_python, given.kinds
        self.overload_s = given.overload_s
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


def bare(bench: Bench, seconds: float) -> tuple[float, float]:
    """Judge one batch again and again: pictures/s, and milliseconds of processor a picture."""
    from besana.models.onnx_model import load_export

    with on_cores(bench.server_cores):
        model = load_export(bench.export, threads=bench.threads)
        rng, shape = np.random.default_rng(1), (bench.batch, bench.size, bench.size, 3)
        images = rng.integers(0, 256, shape).astype(np.uint8)
        model.run(images)
        count, started, spent = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            model.run(images)
            count += bench.batch
        return (
            count / (time.perf_counter() - started),
            1000 * (time.process_time() - spent) / count,
        )


def bare_files(bench: Bench, file: bytes, camera: str, seconds: float) -> tuple[float, float]:
    """Decode, cut, scale and judge files, a batch at a time: files/s, milliseconds of processor."""
    import cv2

    from besana.images.guard import Bounds
    from besana.models.onnx_model import load_export
    from besana.serving.edge import find_camera, read_cameras, wanted_by
    from besana.serving.pictures import prepare

    cv2.setNumThreads(1)  # as decoders do
    with on_cores(bench.server_cores):
        model = load_export(bench.export, threads=bench.threads)
        wanted, limits = wanted_by(model.certificate), Bounds().limits()
        place = find_camera(read_cameras(bench.export), camera)
        count, started, spent = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            images = [np.empty((0, bench.size, bench.size, 3), np.uint8)]
            while sum(map(len, images)) < bench.batch:
                images.append(prepare({"rgb": file}, place, wanted, limits).images)
                count += 1
            model.run(np.concatenate(images))
        return (
            count / (time.perf_counter() - started),
            1000 * (time.process_time() - spent) / count,
        )


def bare_of(bench: Bench, what: str, seconds: float) -> tuple[float, float]:
    """Do without a server what a request asks for: requests/s, milliseconds of processor."""
    if what == "JPEG files":
        return bare_files(bench, jpeg_file(bench.size), "", seconds)
    if what == "frames":
        return bare_files(bench, frame_file(), CAMERA, seconds)
    per_s, one = bare(bench, seconds)
    pictures = 1 if what == "tensors of 1" else bench.batch
    return per_s / pictures, pictures * one


def spent_s(process: subprocess.Popen[str]) -> float:
    """Give the processor time that a server and its children have taken."""
    import psutil

    root = psutil.Process(process.pid)
    return sum(sum(one.cpu_times()[:2]) for one in (root, *root.children(recursive=True)))


def processor_times(bench: Bench) -> None:
    """Print processor time a request, whatever else the machine does, beside the bare loop's."""
    with bench.server() as (process, port):
        for what, request in bench.wanted().items():
            before = bare_of(bench, what, bench.seconds / 2)[1]
            bench.closed(port, request, callers_of(what), 1.0)
            spent = spent_s(process)
            load = bench.closed(port, request, callers_of(what), bench.seconds)
            server = 1000 * (spent_s(process) - spent) / len(load.of(200))
            after = bare_of(bench, what, bench.seconds / 2)[1]
            print(
                f"processor time, {what}: bare loop {before:.2f} and {after:.2f} ms, "
                f"server {server:.2f} ms, share {(before + after) / 2 / server:.2f}",
                flush=True,
            )


def share_by_the_clock(bench: Bench, port: int, request: bytes, what: str, name: str) -> None:
    """Print a server's rate beside the bare loop's, in turns, since machines change their pace."""
    callers = callers_of(what)
    loops, rates = [bare_of(bench, what, bench.seconds / 4)[0]], list[float]()
    for _ in range(ROUNDS):
        bench.closed(port, request, callers, 1.0)
        rates.append(bench.closed(port, request, callers, bench.seconds / 2).per_s)
        loops.append(bare_of(bench, what, bench.seconds / 4)[0])
    shares = sorted(
        rate / statistics.mean(around)
        for rate, around in zip(rates, itertools.pairwise(loops), strict=True)
    )
    print(
        f"by the clock, {name}: {statistics.median(rates):.1f} requests/s, "
        f"{statistics.median(shares):.2f} of the bare loop ({shares[0]:.2f} to {shares[-1]:.2f}; "
        f"bare loop {min(loops):.1f} to {max(loops):.1f})",
        flush=True,
    )


def measured(bench: Bench, port: int, request: bytes, what: str, callers: int) -> None:
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


def loads(bench: Bench) -> None:
    """Measure rates, as shares of the bare loops', and waiting times."""
    with bench.server() as (_, port):
        compare(bench, port, bench.wanted(), "besana")
    if bench.peer_python:
        asked = {
            f"tensors of {bench.batch}": raw_request(bench),
            "JPEG files": form_request(bench.size),
        }
        with bench.peer() as port:
            compare(bench, port, {w: r for w, r in asked.items() if w in bench.wanted()}, "BentoML")


def compare(bench: Bench, port: int, requests: Mapping[str, bytes], server: str) -> None:
    """Measure one server with each kind of request."""
    for what, request in requests.items():
        name = f"{server}, {what}"
        share_by_the_clock(bench, port, request, what, name)
        measured(bench, port, request, name, callers_of(what))


def callers_of(what: str) -> int:
    """Give how many callers keep the server busy without being refused."""
    return {"tensors of 1": 24, "JPEG files": 24, "frames": 8}.get(what, 2)


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


def main() -> None:
    """Measure and print."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", type=Path, help="an exported folder; else one is made")
    parser.add_argument("--backbone", default="timm/mobilenetv2_100")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--seconds", type=float, default=8.0)
    # The burst of the first moment is let in; it should not be one answer in a hundred.
    parser.add_argument("--overload-s", type=float, default=40.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--server-cores", type=int, nargs="+", default=cores[:1])
    parser.add_argument("--client-cores", type=int, nargs="+", default=cores[1:2])
    parser.add_argument("--drains", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", default=[], help="of what is sent; else all")
    parser.add_argument("--peer-python", default="")
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}, cores: {len(cores)}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        if given.folder is None:
            make_export(Path(place), given.backbone, given.size)
        bench = Bench(given.folder or Path(place) / "onnx", given)
        if "processor" in given.parts:
            processor_times(bench)
        if "load" in given.parts:
            loads(bench)
        if "drains" in given.parts:
            good, failed = drains(bench.export, jpeg_request(jpeg_file(bench.size)), given.drains)
            print(f"{given.drains} drains under load: {good} answers, {failed} failed")
    print(f"load after: {os.getloadavg()[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
