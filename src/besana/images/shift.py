"""Measure how far a camera's picture has shifted against its own reference."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.images.decode import decode
from besana.images.encode import encode_png
from besana.images.quality import grey, shrink

Edges = NDArray[np.uint8]
"""(height, width) uint8: strength of the edges in a picture of at most 256 px."""

_LONG_SIDE_PX = 256
_BLACK = 16
_BORDER_PX = 9
# Below this likeness the two show different things; above the other fraction of the reference's
# edges a frame shows enough to say so.
_LIKE = 0.12
_ENOUGH_EDGES = 0.5
# A camera is fixed when most of its pictures lie this near to what they have in common.
_MOST = 0.7
_STILL_SHARE = 0.02

_REFERENCE_PICTURES, _STRETCH = 48, 12
FEWEST_FOR_REFERENCE = 8
"""Pictures of a camera and light that its reference needs."""


def edge_map(pixels: NDArray[Any]) -> Edges:
    """Return the edges of a picture, independent of its brightness.

    Edges around black areas are left out: the rim of a fisheye picture stays where it is when
    the camera turns.

    Args:
        pixels: (height, width, channels) uint8 or uint16.
    """
    import cv2

    plain = thumbnail(pixels)[..., 0]
    smooth = cv2.GaussianBlur(plain, (3, 3), 0).astype(np.float32)
    strength = np.log1p(np.hypot(cv2.Scharr(smooth, -1, 1, 0), cv2.Scharr(smooth, -1, 0, 1)) / 64)
    rim = np.ones((_BORDER_PX, _BORDER_PX), np.uint8)
    black = cv2.morphologyEx((plain < _BLACK).astype(np.uint8), cv2.MORPH_OPEN, rim)
    strength[cv2.dilate(black, rim) > 0] = 0
    return np.asarray(np.clip(strength * 64, 0, 255), dtype=np.uint8)


def thumbnail(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (height, width, 1) uint8, the grey picture from which edges are taken."""
    return grey(shrink(pixels, _LONG_SIDE_PX))[..., None]


def fixed_view(maps: Sequence[Edges]) -> Edges | None:
    """Return the reference of a fixed camera; None if the pictures show different views.

    The pictures are looked at in stretches of time. A camera that was moved once is fixed in
    nearly all of them, and its reference is made of pictures of one view alone.

    Args:
        maps: Edge maps of one size, spread over time, in its order.
    """
    maps = [edges for edges in maps if edges.shape == maps[0].shape]
    if len(maps) < FEWEST_FOR_REFERENCE:
        return None
    count = max(1, len(maps) // _STRETCH)
    ends = [round(len(maps) * part / count) for part in range(count + 1)]
    fixed = [(start, end) for start, end in pairwise(ends) if _is_fixed(maps[start:end])]
    if not fixed:
        return None
    anchor = reference_edges(maps[slice(*fixed[0])])
    shifts = [shift_px(anchor, edges, anchor.shape[1]) for edges in maps]
    explained = _agreeing(shifts, anchor.shape[1])
    for start, end in fixed:
        explained[start:end] = True
    if explained.mean() < _MOST:
        return None
    still = [edges for edges, shift in zip(maps, shifts, strict=True) if _is_still(shift, anchor)]
    return reference_edges(still or maps[slice(*fixed[0])])


def _agreeing(shifts: Sequence[tuple[float, float] | None], width: int) -> NDArray[np.bool_]:
    """Tell which pictures lie where a neighbour in time lies, wherever that is."""
    places = np.array([shift or (np.nan, np.nan) for shift in shifts])
    places[places[:, 0] >= width] = np.nan
    near = np.hypot(*np.diff(places, axis=0).T) <= _STILL_SHARE * width
    return np.asarray(np.append(near, False) | np.append(False, near))


def _is_fixed(maps: Sequence[Edges]) -> bool:
    # Judged by the other half: any pictures resemble a median they are part of.
    half = reference_edges(maps[::2])
    shifts = [shift_px(half, edges, half.shape[1]) for edges in maps[1::2]]
    return bool(np.mean([_is_still(shift, half) for shift in shifts]) >= _MOST)


def _is_still(shift: tuple[float, float] | None, reference: Edges) -> bool:
    return shift is not None and float(np.hypot(*shift)) <= _STILL_SHARE * reference.shape[1]


def reference_of(thumbnails: Sequence[bytes]) -> Edges | None:
    """Make a camera's reference from its first pictures; None if its view is not fixed.

    Args:
        thumbnails: JPEG of what `thumbnail` gave, in time order.
    """
    step = max(1, len(thumbnails) // _REFERENCE_PICTURES)
    return fixed_view([_edges_of(data) for data in thumbnails[::step]])


def thumbnail_shift_px(
    reference: Edges | None, picture: bytes, width_px: int
) -> tuple[float, float] | None:
    """Return what `shift_px` gives for a thumbnail; None without a reference."""
    return None if reference is None else shift_px(reference, _edges_of(picture), width_px)


def reference_text(reference: Edges | None) -> str:
    """Write a reference as text; empty for a camera without a fixed view."""
    if reference is None:
        return ""
    return base64.b64encode(encode_png(reference[..., None])).decode("ascii")


def read_reference(text: str) -> Edges | None:
    """Read what `reference_text` wrote."""
    return decode(base64.b64decode(text)).pixels[..., 0] if text else None


def reference_edges(maps: Sequence[Edges]) -> Edges:
    """Return what most pictures of a camera have in common, so that what moves vanishes.

    Args:
        maps: Edge maps of one size, at least one.
    """
    return np.asarray(np.median(np.stack(maps), axis=0), dtype=np.uint8)


def shift_px(reference: Edges, edges: Edges, width_px: int) -> tuple[float, float] | None:
    """Return how far a picture lies right of and below its camera's reference.

    By phase correlation (Kuglin and Hines 1975) of edges.

    Args:
        reference: What `reference_edges` gave.
        edges: Edges of the picture to judge.
        width_px: Width of the frame, in whose pixels the shift is given.

    Returns:
        Shift in x and y; the whole width in x when the picture shows something else; None when
        it shows too little to say.
    """
    import cv2

    if reference.shape != edges.shape:
        return None
    height, width = reference.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    fixed, seen = reference.astype(np.float32), edges.astype(np.float32)
    (x, y), _ = cv2.phaseCorrelate(fixed, seen, window)
    move = np.array([[1, 0, -x], [0, 1, -y]])
    back = cv2.warpAffine(seen, move, (width, height))
    inside = cv2.warpAffine(np.ones_like(seen), move, (width, height)) > 0.5
    scale = width_px / width
    if _likeness(fixed[inside], back[inside]) >= _LIKE:
        return float(x) * scale, float(y) * scale
    if seen.mean() < _ENOUGH_EDGES * fixed.mean():
        return None
    return float(width_px), 0.0


def _edges_of(picture: bytes) -> Edges:
    return edge_map(decode(picture).pixels)


def _likeness(one: NDArray[Any], other: NDArray[Any]) -> float:
    if one.size < 64 or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
