"""Batches filled without the interpreter, by an optional library: chosen here, and fed.

It makes ordinary sound JPEG from records; every other picture, and every one with which something
is wrong, is left to Python. So order, crops and errors are the same with and without it; pixels
are at most one level apart, because both round when they resize.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from besana.errors import CorruptDataError, MissingExtraError
from besana.shards.canvas import Canvas
from besana.shards.decoding import change_colour
from besana.shards.manifest import Manifest, Positions
from besana.shards.options import LoaderSettings
from besana.shards.pictures import Costs, Seen, Task
from besana.shards.reading import Reader, Scratch
from besana.shards.tfrecord import open_record

Orders = npt.NDArray[np.int64]
"""(pictures, columns): what `native/src/order.rs` reads."""

_ROW, _HELD, _LENGTH, _FLAGS, _COLUMNS = 0, 1, 4, 16, 18
_FLIP, _UPEND, _SOUND = 1, 2, 4
_LEFT, _TO_THE_END = 0, 2
_HELD_BYTES = 1 << 20
_BYTE = np.dtype(np.uint8)


def library(wished: bool | None) -> Any:
    """Give the library; None where it is not wished or not installed.

    Args:
        wished: False for Python alone, True for an error without the library, None for whatever
            is installed.

    Raises:
        MissingExtraError: If it is wished and not there, or there from another time.
    """
    if wished is False:
        return None
    try:
        import besana_native
    except ImportError:
        problem = "The library besana_native is not installed."
    else:
        if besana_native.COLUMNS == _COLUMNS:
            return besana_native
        problem = "The library besana_native belongs to another version of besana."
    if wished:
        raise MissingExtraError(problem, "Run: make native")
    return None


def is_usable(found: Any, settings: LoaderSettings, channels: int) -> bool:
    """Tell whether the library makes pictures of this kind.

    Args:
        found: The library; None where there is none.
        settings: The loader's settings.
        channels: Channels of the pictures.
    """
    return found is not None and settings.dtype != "uint16" and channels in (1, 3)


def lay_out(manifest: Manifest, positions: Positions, tasks: Sequence[Task]) -> Orders:
    """Write pictures as the numbers that the library takes.

    Args:
        manifest: Where records lie.
        positions: Samples in the manifest.
        tasks: What to make of each of them.
    """
    height, width = manifest.height_px[positions], manifest.width_px[positions]
    columns: list[Any] = [
        np.zeros(len(tasks), np.int64),
        np.full(len(tasks), -1),
        manifest.shard[positions],
        manifest.offset_bytes[positions],
        manifest.length_bytes[positions],
        manifest.crc32c[positions],
        [task.start for task in tasks],
        manifest.payload_length_bytes[positions],
        height,
        width,
        manifest.channels[positions],
        [task.scale for task in tasks],
        *np.array([task.box for task in tasks], np.int64).reshape(-1, 4).T,
        [_FLIP * task.flip | _UPEND * task.upend for task in tasks],
        [task.turns for task in tasks],
    ]
    return np.stack([np.asarray(column).astype(np.int64) for column in columns], axis=1)


class NativeFiller:
    """Fill rows of batches by the library; used by many threads at once.

    Args:
        found: The library.
        size: Height and width to make.
        channels: Channels of the pictures.
        sound: Samples whose picture was decoded whole, without any complaint.
    """

    def __init__(self, found: Any, size: tuple[int, int], channels: int, sound: Seen) -> None:
        self._library = found
        self._form = (*size, channels)
        self._sound = sound

    def fill(
        self,
        tasks: Sequence[Task],
        orders: Orders,
        rows: range,
        canvas: Canvas,
        reader: Reader,
        scratch: Scratch,
        costs: Costs,
    ) -> list[int]:
        """Make what the library can.

        Args:
            tasks: The pictures of the batch.
            orders: The same as numbers.
            rows: Which of them.
            canvas: The batch.
            reader: Gets records that do not lie in files of this machine.
            scratch: This thread's buffers.
            costs: Where to add what it took.

        Returns:
            The rows that are left to Python.
        """
        left: list[int] = []
        for some in _groups(tasks, rows, reader):
            left += self._fill_some(tasks, orders, some, canvas, reader, scratch, costs)
        return left

    def _fill_some(
        self,
        tasks: Sequence[Task],
        orders: Orders,
        chosen: Sequence[int],
        canvas: Canvas,
        reader: Reader,
        scratch: Scratch,
        costs: Costs,
    ) -> list[int]:
        started = time.perf_counter()
        asked = orders[chosen]
        asked[:, _ROW] = chosen
        positions = np.array([tasks[row].position for row in chosen], np.int64)
        asked[:, _FLAGS] |= _SOUND * self._sound.among(positions)
        held = [] if reader.paths is not None else self._read(tasks, asked, reader, scratch)
        scratch.doing = f"filling {len(chosen)} pictures from '{tasks[chosen[0]].shard}' on"
        if scratch.filler is None:
            scratch.filler = self._library.Filler(reader.paths or [], *self._form)
        made, read_s = scratch.filler.fill(asked, held, canvas.memory)
        scratch.doing = "idle"
        left = []
        for row, state, length in zip(chosen, made, asked[:, _LENGTH].tolist(), strict=True):
            if state == _LEFT:
                left.append(row)
                continue
            if state == _TO_THE_END:
                self._sound.add(tasks[row].position)
            pixels, colour = canvas.open(row, _BYTE), tasks[row].colour
            if colour is not None:
                change_colour(pixels, colour)
            costs.read_bytes += length
        done = len(chosen) - len(left)
        costs.pictures += done
        costs.native += done
        costs.read_s += read_s
        costs.decode_s += time.perf_counter() - started - read_s
        scratch.done += done
        return left

    @staticmethod
    def _read(
        tasks: Sequence[Task], asked: Orders, reader: Reader, scratch: Scratch
    ) -> list[bytes]:
        """Get the records from a bucket; those that cannot be had are left to Python."""
        held: list[bytes] = []
        for order in asked:
            task = tasks[order[_ROW]]
            try:
                record = _whole(reader.read(task.position, scratch), task)
                if record is None:  # maybe it broke on its way
                    record = reader.read_again(task.position, scratch)
            except CorruptDataError:
                continue
            order[_HELD] = len(held)
            held.append(bytes(record))
        return held


def _whole(record: memoryview, task: Task) -> memoryview | None:
    """Give a record whose checksums are right, else None."""
    try:
        open_record(record, crc=task.crc32c)
    except CorruptDataError:
        return None
    return record


def _groups(tasks: Sequence[Task], rows: range, reader: Reader) -> list[list[int]]:
    """Share out rows so that records from a bucket, which are copied, are never many bytes."""
    if reader.paths is not None:
        return [[*rows]]
    groups: list[list[int]] = [[]]
    held = 0
    for row in rows:
        if groups[-1] and held + tasks[row].length > _HELD_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(row)
        held += tasks[row].length
    return groups
