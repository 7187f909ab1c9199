"""A bare ONNX Runtime loop in a process of its own, which `benchmarks/serving.py` asks for runs.

Reads lines `KIND SECONDS` and answers with requests/s and milliseconds of processor a request.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from load import CAMERA, frame_file, jpeg_file


def main() -> None:
    """Answer until nobody asks any more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("export", type=Path)
    parser.add_argument("--batch", type=int, required=True, help="pictures judged together")
    parser.add_argument("--tensors", type=int, required=True, help="pictures in a large request")
    parser.add_argument("--cores", type=int, nargs="+", required=True)
    given = parser.parse_args()
    os.sched_setaffinity(0, given.cores)
    rounds = make_rounds(given.export, given.batch, given.tensors, len(given.cores))
    print("ready", flush=True)
    for line in sys.stdin:
        kind, seconds = line.rsplit(maxsplit=1)
        done, started, spent = 0.0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < float(seconds):
            done += rounds[kind]()
        per_s = done / (time.perf_counter() - started)
        print(per_s, 1000 * (time.process_time() - spent) / done, flush=True)


def make_rounds(
    export: Path, batch: int, tensors: int, threads: int
) -> dict[str, Callable[[], float]]:
    """Make what is done again and again for each kind of request; it gives how many that were."""
    import cv2

    from besana.images.guard import Bounds
    from besana.models.onnx_model import read_certificate
    from besana.serving.edge import find_camera, read_cameras, wanted_by
    from besana.serving.pictures import prepare

    cv2.setNumThreads(1)  # as decoders do
    session = open_session(export / "model-fp32.onnx", threads)
    certificate = read_certificate(export)
    wanted, limits = wanted_by(certificate), Bounds().limits()
    size, cameras = certificate.preprocessing.size_px, read_cameras(export)
    shape = (max(batch, tensors), size, size, 3)
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)

    def judge(pictures: np.ndarray[Any, Any]) -> None:
        session.run(None, {"images": pictures})

    def judged(each: int) -> float:
        together = max(batch, each)
        judge(pixels[:together])
        return together / each

    def files(file: bytes, camera: str) -> float:
        place, images = find_camera(cameras, camera), [pixels[:0]]
        while sum(map(len, images)) < batch:
            images.append(prepare({"rgb": file}, place, wanted, limits).images)
        judge(np.concatenate(images))
        return len(images) - 1

    small, frame = jpeg_file(size), frame_file()
    return {
        f"tensors of {tensors}": lambda: judged(tensors),
        "tensors of 1": lambda: judged(1),
        "JPEG files": lambda: files(small, ""),
        "frames": lambda: files(frame, CAMERA),
    }


def open_session(path: Path, threads: int) -> Any:
    """Open a graph as ONNX Runtime does unless told, but for the number of threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
