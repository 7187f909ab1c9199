"""A child process of `pictures`: decodes and encodes the bytes that its parent sends."""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import signal
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.images.camera import Camera
from besana.images.cut import Cutter
from besana.images.decode import decode
from besana.images.encode import encode_jpeg
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import Limits
from besana.images.look import open_frame
from besana.images.quality import shrink

_QUALITY = 88
# From <linux/prctl.h> and <linux/sched.h>.
_NO_NEW_PRIVILEGES, _NEW_USER, _NEW_NETWORK = 38, 0x10000000, 0x40000000
_BOUNDS = Bounds(decode_memory_bytes=512_000_000, decode_cpu_s=10, decode_wall_s=15)
# A sample may be smaller than a frame may.
_SAMPLE_LIMITS = Limits(side_px=1, aspect=2.0**20, allow_missing_eoi=True)


def main() -> None:
    """Answer requests on the socket whose descriptor the command line names."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    _give_up_rights()
    with contextlib.suppress(EOFError, OSError):
        while True:
            request = json.loads(connection.recv_bytes())
            files = [connection.recv_bytes() for _ in range(request["files"])]
            connection.send_bytes(_answer(request, files))


def _give_up_rights() -> None:
    """Leave the network and the way to more rights, where the kernel lets a process do so.

    What is loaded later (codecs) comes from files that are readable already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.unshare(_NEW_NETWORK) != 0:
        libc.unshare(_NEW_USER | _NEW_NETWORK)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _answer(request: dict[str, Any], files: Sequence[bytes]) -> bytes:
    """Make one picture; `+` and its bytes, or `!` and why not."""
    with guarded(_BOUNDS) as start:
        start()
        made = attempt(partial(_make, request, files))
    return b"+" + made if isinstance(made, bytes) else b"!" + str(made).encode()


def _make(request: dict[str, Any], files: Sequence[bytes]) -> bytes:
    if request["kind"] == "looks":
        return b"".join(map(_look, files))
    if request["kind"] == "sample":
        pixels = decode(files[0], limits=_SAMPLE_LIMITS).pixels
    else:
        pixels = _frame(request, files[0])
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    pixels = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
    return encode_jpeg(shrink(pixels, request["side_px"]), _QUALITY)


def _look(data: bytes) -> bytes:
    """Make 16 x 16 grey pixels of a sample."""
    import cv2

    pixels = decode(data, limits=_SAMPLE_LIMITS).pixels.astype(np.float32)
    grey = cv2.resize(pixels[..., :3].mean(axis=2), (16, 16), interpolation=cv2.INTER_AREA)
    small = np.clip(grey / (256 if pixels.max() > 255 else 1), 0, 255)
    return bytes(small.astype(np.uint8).tobytes())


def _frame(request: dict[str, Any], data: bytes) -> NDArray[Any]:
    """Cut an original frame: all of it or one region, undistorted, at full resolution."""
    camera = Camera.model_validate(request["camera"])
    frame = open_frame({"rgb": data}, camera, _BOUNDS.limits())
    height, width = frame.pixels.shape[:2]
    cut = _cutter(json.dumps(request["camera"]), (width, height)).samples(frame.pixels)
    wanted = request["region"]
    found = next((s.pixels for s in cut if wanted in ("", s.region)), None)
    return frame.pixels if found is None else found


@lru_cache(maxsize=8)
def _cutter(camera: str, size_px: tuple[int, int]) -> Cutter:
    return Cutter(Camera.model_validate_json(camera), size_px, 1 << 16)


if __name__ == "__main__":
    main()
