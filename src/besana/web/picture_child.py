"""A child process of `pictures`: decodes and encodes the bytes that its parent sends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.engines.child import answer_parent
from besana.images.camera import Camera
from besana.images.cut import Cutter
from besana.images.decode import decode
from besana.images.encode import encode_jpeg
from besana.images.guard import Bounds, attempt, guarded
from besana.images.header import Limits
from besana.images.look import open_frame
from besana.images.quality import shrink
from besana.web.lens_work import LENS_WORK

_QUALITY = 88
_BOUNDS = Bounds(decode_memory_bytes=512_000_000, decode_cpu_s=10, decode_wall_s=15)
# A sample may be smaller than a frame may.
_SAMPLE_LIMITS = Limits(side_px=1, aspect=2.0**20, allow_missing_eoi=True)


def main() -> None:
    """Answer requests on the socket whose descriptor the command line names."""
    answer_parent(_answer)


def _answer(parts: list[bytes]) -> bytes:
    """Make one picture; `+` and its bytes, or `!` and why not."""
    request, *files = parts
    with guarded(_BOUNDS) as start:
        start()
        made = attempt(partial(_make, json.loads(request), files))
    return b"+" + made if isinstance(made, bytes) else b"!" + str(made).encode()


def _make(request: dict[str, Any], files: Sequence[bytes]) -> bytes:
    if request["kind"] == "looks":
        return b"".join(map(_look, files))
    if request["kind"] in LENS_WORK:
        return LENS_WORK[request["kind"]](request, files)
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
