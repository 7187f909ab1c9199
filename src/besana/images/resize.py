"""Resize pictures without aliasing: one way for training, prediction and everything else."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

_HERE, _LOCK = threading.local(), threading.Lock()
if hasattr(os, "register_at_fork"):  # a forked child has none of the threads that may hold it
    renew = _LOCK._at_fork_reinit  # type: ignore[attr-defined]  # as concurrent.futures does
    os.register_at_fork(after_in_child=renew)


def resize(pixels: Pixels, size: tuple[int, int], out: Pixels | None = None) -> Pixels:
    """Resize by a triangle filter as wide as the reduction: Pillow's bilinear.

    Where the process has imported torch, its kernel for the same filter is used: a fifth of
    Pillow's time, at most one level beside it.

    Args:
        pixels: (height, width, channels) uint8, uint16 or float32.
        size: Height and width to make.
        out: Where to put the result, contiguous, of this size; None for new memory.
    """
    channels = pixels.shape[2]
    if out is None:
        out = np.empty((*size, channels), pixels.dtype)
    if pixels.shape[:2] == size:
        out[...] = pixels
    elif (torch := _imported_torch()) is not None:
        _by_torch(torch, pixels, out)
    else:
        _by_pillow(pixels, out)
    return out


def resize_plainly(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize as a process without torch does, whatever this one has imported.

    Servers and devices resize this way, and what certifies their models does too.

    Args:
        pixels: (height, width, channels) uint8, uint16 or float32.
        size: Height and width to make.
    """
    if pixels.shape[:2] == size:
        return pixels
    out = np.empty((*size, pixels.shape[2]), pixels.dtype)
    _by_pillow(pixels, out)
    return out


def _imported_torch() -> Any:
    """Give torch where someone has imported it to the end: it is never imported for a resize."""
    torch = sys.modules.get("torch")
    return None if getattr(getattr(torch, "__spec__", None), "_initializing", True) else torch


def resize_alone() -> None:
    """Keep torch from sharing out the work of this thread among others, from now on.

    For threads that resize all the time, as many as there are processors: torch would start
    as many again for each of them. Other threads, also later ones, keep torch's number.
    """
    torch = _imported_torch()
    if torch is None or getattr(_HERE, "is_alone", False):
        return
    with _LOCK:
        number = torch.get_num_threads()
        torch.set_num_threads(1)  # of this thread, and of all that start from now on,
        other = threading.Thread(target=torch.set_num_threads, args=(number,))
        other.start()  # which a thread that has no further use takes back
        other.join()
    _HERE.is_alone = True


def _by_torch(torch: Any, pixels: Pixels, out: Pixels) -> None:
    is_byte = pixels.dtype == np.uint8
    source = pixels if is_byte else pixels.astype(np.float32)
    target = out if is_byte else np.empty(out.shape, np.float32)
    torch.ops.aten._upsample_bilinear2d_aa.out(
        torch.from_numpy(source[None]).permute(0, 3, 1, 2),
        out.shape[:2],
        False,
        None,
        None,
        out=torch.from_numpy(target[None]).permute(0, 3, 1, 2),
    )
    if not is_byte:
        _store(target, out)


def _by_pillow(pixels: Pixels, out: Pixels) -> None:
    from PIL import Image

    is_byte = pixels.dtype == np.uint8
    size = out.shape[1], out.shape[0]
    if is_byte and pixels.shape[2] == 3:
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        out[...] = picture.resize(size, Image.Resampling.BILINEAR)
        return
    for channel in range(pixels.shape[2]):
        plane = np.ascontiguousarray(pixels[:, :, channel], None if is_byte else np.float32)
        made = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
        _store(made, out[:, :, channel])


def _store(made: Pixels, out: Pixels) -> None:
    """Store numbers, rounded where `out` holds whole ones."""
    if out.dtype.kind == "u" and made.dtype.kind == "f":
        made = np.rint(made)
    out[...] = made
