"""A child process of `pictures`: reads, decodes and encodes what its parent asks for."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.errors import BesanaError
from besana.images.camera import Camera
from besana.images.cut import Cutter
from besana.images.decode import decode
from besana.images.encode import encode_jpeg
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import Limits
from besana.images.look import open_frame
from besana.images.quality import shrink
from besana.storage import Storage, open_storage, read_original

_QUALITY = 88
_BOUNDS = Bounds(decode_memory_bytes=512_000_000, decode_cpu_s=10, decode_wall_s=15)
# A sample may be smaller than a frame may.
_SAMPLE_LIMITS = Limits(side_px=1, aspect=2.0**20, allow_missing_eoi=True)


def main() -> None:
    """Answer requests on the socket whose descriptor the command line names."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_answer(json.loads(connection.recv_bytes())))


def _answer(request: dict[str, Any]) -> bytes:
    """Make one picture; `+` and its bytes, or `!` and why not."""
    with guarded(_BOUNDS) as start:
        start()
        try:
            made = attempt(partial(_make, request))
        except BesanaError as error:
            made = error  # type: ignore[assignment]
    return b"+" + made if isinstance(made, bytes) else b"!" + str(made).encode()


def _make(request: dict[str, Any]) -> bytes:
    if request["kind"] == "looks":
        return _looks(request)
    pixels = _sample(request) if request["kind"] == "sample" else _frame(request)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    pixels = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
    return encode_jpeg(shrink(pixels, request["side_px"]), _QUALITY)


def _looks(request: dict[str, Any]) -> bytes:
    """Make 16 x 16 grey pixels of each sample, one after the other."""
    import cv2

    storage, looks = _storage(request["storage"]), []
    for shard, offset, length in request["places"]:
        data = storage.read_range(shard, offset, length)
        pixels = decode(data, limits=_SAMPLE_LIMITS).pixels.astype(np.float32)
        grey = cv2.resize(pixels[..., :3].mean(axis=2), (16, 16), interpolation=cv2.INTER_AREA)
        looks.append(np.clip(grey / (256 if pixels.max() > 255 else 1), 0, 255).astype(np.uint8))
    return b"".join(look.tobytes() for look in looks)


def _sample(request: dict[str, Any]) -> NDArray[Any]:
    """Read a prepared sample by its byte range."""
    storage = _storage(request["storage"])
    data = storage.read_range(request["shard"], request["offset"], request["length"])
    return decode(data, limits=_SAMPLE_LIMITS).pixels


def _frame(request: dict[str, Any]) -> NDArray[Any]:
    """Read an original frame: all of it or one region, undistorted, at full resolution."""
    storage = _storage(request["storage"])
    files = {band["band"]: read_original(storage, band["key"]) for band in request["bands"][:1]}
    camera = Camera.model_validate(request["camera"])
    frame = open_frame(files, camera, _BOUNDS.limits())
    height, width = frame.pixels.shape[:2]
    cut = _cutter(json.dumps(request["camera"]), (width, height)).samples(frame.pixels)
    wanted = request["region"]
    found = next((s.pixels for s in cut if wanted in ("", s.region)), None)
    return frame.pixels if found is None else found


@lru_cache(maxsize=8)
def _cutter(camera: str, size_px: tuple[int, int]) -> Cutter:
    return Cutter(Camera.model_validate_json(camera), size_px, 1 << 16)


@lru_cache(maxsize=4)
def _storage(url: str) -> Storage:
    return open_storage(url)


if __name__ == "__main__":
    main()
