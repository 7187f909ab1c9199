"""What a child process does to find a lens: read a file, find corners, fit a lens to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from besana.errors import ConfigError
from besana.images.calibrate import Board, Calibration, calibrate, find_corners
from besana.images.decode import decode
from besana.images.guard import Bounds
from besana.images.header import refusal
from besana.images.lens import Lens, parse_calibration

Work = Callable[[dict[str, Any], Sequence[bytes]], bytes]


def _corners(request: dict[str, Any], files: Sequence[bytes]) -> bytes:
    pixels = decode(files[0], limits=Bounds().limits()).pixels
    corners = find_corners(pixels, Board.model_validate(request["board"]))
    height, width = pixels.shape[:2]
    found = None if corners is None else corners.round(2).tolist()
    return json.dumps({"size_px": [width, height], "corners": found}).encode()


def _calibration(_request: dict[str, Any], files: Sequence[bytes]) -> bytes:
    try:
        lens, error_px = calibrate(Calibration.model_validate_json(files[0]))
    except ConfigError as error:
        raise refusal("damaged", str(error)) from None
    return json.dumps({"lens": lens.model_dump(mode="json"), "error_px": error_px}).encode()


def _calibration_file(request: dict[str, Any], files: Sequence[bytes]) -> bytes:
    try:
        text = files[0].decode(errors="replace")
        lens = parse_calibration(text, request["name"], Lens())
    except ConfigError as error:
        raise refusal("damaged", str(error)) from None
    return json.dumps({"lens": lens.model_dump(mode="json")}).encode()


LENS_WORK: Mapping[str, Work] = {
    "corners": _corners,
    "calibration": _calibration,
    "calibration_file": _calibration_file,
}
"""Kinds of requests that `picture_child` hands on."""
