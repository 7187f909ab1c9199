"""Measure how far a camera's picture has shifted against its own reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def edge_map(pixels: NDArray[Any]) -> Edges:
    """Return the edges of a picture, independent of its brightness.

    Edges around black areas are left out: the rim of a fisheye picture stays where it is when
    the camera turns.

    Args:
        pixels: (height, width, channels) uint8 or uint16.
    """
    import cv2

    plain = grey(shrink(pixels, _LONG_SIDE_PX))
    smooth = cv2.GaussianBlur(plain, (3, 3), 0).astype(np.float32)
    strength = np.log1p(np.hypot(cv2.Scharr(smooth, -1, 1, 0), cv2.Scharr(smooth, -1, 0, 1)) / 64)
    rim = np.ones((_BORDER_PX, _BORDER_PX), np.uint8)
    black = cv2.morphologyEx((plain < _BLACK).astype(np.uint8), cv2.MORPH_OPEN, rim)
    strength[cv2.dilate(black, rim) > 0] = 0
    return np.asarray(np.clip(strength * 64, 0, 255), dtype=np.uint8)


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


def _likeness(one: NDArray[Any], other: NDArray[Any]) -> float:
    if one.size < 64 or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
