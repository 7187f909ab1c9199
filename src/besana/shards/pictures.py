"""Make one picture of a batch from one record: check, decode, crop, resize, change."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from besana.errors import CorruptDataError
from besana.images.resize import resize
from besana.images.segments import Part
from besana.shards.augment import Changes
from besana.shards.canvas import Canvas
from besana.shards.decoding import (
    Box,
    Pixels,
    change_colour,
    convert,
    decode_crop,
    decode_part,
    is_jpeg,
    jpeg_scales,
    part_of,
    snap,
)
from besana.shards.example import locate_features, parse_example
from besana.shards.manifest import Manifest, Positions
from besana.shards.normal import working_type
from besana.shards.reading import Reader, Scratch
from besana.shards.tfrecord import HEADER_BYTES, open_record
from besana.shards.writer import BANDS, PAYLOAD

_PREFIX = f"{PAYLOAD}/"


@dataclass(slots=True)
class Costs:
    """Add up what making pictures took.

    Attributes:
        pictures: Pictures made.
        read_s: Seconds waiting for bytes and checking them.
        decode_s: Seconds from bytes to pixels in the batch.
        read_bytes: Bytes of records.
        dropped: Message about each record that could not be used.
        native: Pictures of those that the native library made.
    """

    pictures: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    read_bytes: int = 0
    dropped: list[str] = field(default_factory=list)
    native: int = 0

    def add(self, other: Costs) -> None:
        """Take in what others took."""
        self.pictures += other.pictures
        self.read_s += other.read_s
        self.decode_s += other.decode_s
        self.read_bytes += other.read_bytes
        self.dropped += other.dropped
        self.native += other.native


class Task(NamedTuple):
    """One picture to make, in plain numbers: nothing is looked up while threads are busy.

    Attributes:
        position: Sample in the manifest.
        shard: Key of its shard.
        offset: Where its record starts.
        crc32c: CRC32C of the record's data.
        start: Where the image starts in the record's data.
        length: Bytes of the image.
        height: Rows of the image.
        width: Columns of the image.
        channels: Channels of all bands.
        scale: At which a JPEG is decoded: 1, 2, 4 or 8.
        box: Part to take at that scale.
        full_box: Part to take at full scale.
        flip: Mirrored left to right.
        upend: Mirrored top to bottom.
        turns: Quarter turns, counter-clockwise.
        colour: Factors of brightness, contrast and saturation; None for none.
    """

    position: int
    shard: str
    offset: int
    crc32c: int
    start: int
    length: int
    height: int
    width: int
    channels: int
    scale: int
    box: Box
    full_box: Box
    flip: bool
    upend: bool
    turns: int
    colour: list[float] | None


class Seen:
    """Remember samples, a bit each; when two threads meet, one may be forgotten again.

    Args:
        count: How many samples there are.
    """

    def __init__(self, count: int) -> None:
        self._bits = bytearray(-(-count // 8))

    def __contains__(self, position: int) -> bool:
        return bool(self._bits[position >> 3] >> (position & 7) & 1)

    def among(self, positions: Positions) -> npt.NDArray[np.int64]:
        """Tell of some samples, by 1 or 0, whether they are remembered."""
        held = np.frombuffer(self._bits, np.uint8)[positions >> 3].astype(np.int64)
        bits: npt.NDArray[np.int64] = held >> (positions & 7) & 1
        return bits

    def add(self, position: int) -> None:
        """Remember a sample."""
        self._bits[position >> 3] |= 1 << (position & 7)


class PictureMaker:
    """Make pictures of one size from the samples of one manifest; used by many threads at once.

    Args:
        manifest: Where records lie and how large their images are.
        size: Height and width to make.
        sound: Samples whose picture was decoded whole, without any complaint.
    """

    def __init__(self, manifest: Manifest, size: tuple[int, int], sound: Seen) -> None:
        self._manifest = manifest
        self._size = size
        self._sound = sound

    def plan(self, positions: Positions, changes: Changes) -> list[Task]:
        """Lay out the pictures of some samples, in one thread.

        Args:
            positions: Samples in the manifest.
            changes: What happens to each of them.
        """
        manifest = self._manifest
        height = manifest.height_px[positions].astype(np.int64)
        width = manifest.width_px[positions].astype(np.int64)
        offset = manifest.offset_bytes[positions]
        start = manifest.payload_offset_bytes(positions) - offset - np.uint64(HEADER_BYTES)
        scale = jpeg_scales(height, width, changes.box, self._size)
        box = snap(changes.box, -(-height // scale), -(-width // scale))
        columns: list[Any] = [
            positions.tolist(),
            [manifest.shards[shard] for shard in manifest.shard[positions].tolist()],
            offset.tolist(),
            manifest.crc32c[positions].tolist(),
            start.tolist(),
            manifest.payload_length_bytes[positions].tolist(),
            height.tolist(),
            width.tolist(),
            manifest.channels[positions].tolist(),
            scale.tolist(),
            box.tolist(),
            snap(changes.box, height, width).tolist(),
            changes.flip.tolist(),
            changes.upend.tolist(),
            changes.turns.tolist(),
            [None] * len(positions) if changes.colour is None else changes.colour.tolist(),
        ]
        return [Task._make(values) for values in zip(*columns, strict=True)]

    def open(self, task: Task, reader: Reader, scratch: Scratch, costs: Costs) -> memoryview:
        """Get one record, every byte checked; good until the scratch is used for another one.

        Raises:
            CorruptDataError: If a byte is not what was written.
        """
        started = time.perf_counter()
        frame = reader.read(task.position, scratch)
        where = f"'{task.shard}' at byte {task.offset}"
        try:
            data = open_record(frame, crc=task.crc32c, where=where)
        except CorruptDataError:  # maybe it broke on its way
            frame = reader.read_again(task.position, scratch)
            data = open_record(frame, crc=task.crc32c, where=where)
        costs.read_bytes += len(frame)
        costs.read_s += time.perf_counter() - started
        return data

    def part(self, task: Task, data: memoryview) -> Part | None:
        """Copy what the picture needs of its record; None where that is all of it."""
        payload = data[task.start : task.start + task.length]
        part = part_of(payload, task.height, task.width, task.box, task.scale)
        return part if part is not None and part.channels == task.channels else None

    def make(
        self,
        task: Task,
        record: memoryview | Part,
        canvas: Canvas,
        row: int,
        scratch: Scratch,
        costs: Costs,
    ) -> None:
        """Fill one picture.

        Args:
            task: What to make.
            record: Its record's data, or the part of its image.
            canvas: The batch that it belongs to.
            row: Its place there.
            scratch: This thread's buffers.
            costs: Where to add what it took.

        Raises:
            CorruptDataError: If the record holds no such picture.
        """
        started = time.perf_counter()
        scratch.doing = f"decoding '{task.shard}' at byte {task.offset}"
        self._fill(task, record, canvas, row, scratch)
        scratch.done += 1
        scratch.doing = "idle"
        costs.pictures += 1
        costs.decode_s += time.perf_counter() - started

    def _fill(
        self, task: Task, record: memoryview | Part, canvas: Canvas, row: int, scratch: Scratch
    ) -> None:
        further: list[memoryview] = []
        channels = canvas.shape[2]
        if isinstance(record, Part):
            first = decode_part(record, task.box, scale=task.scale, scratch=scratch.pixels)
        else:
            payload = record[task.start : task.start + task.length]
            scale, box = (task.scale, task.box) if is_jpeg(payload) else (1, task.full_box)
            sound = task.position in self._sound
            first = self._decode(payload, task, box, scale, scratch, sound=sound)
            if not sound:
                self._sound.add(task.position)
            further = [] if first.shape[2] == channels else _bands(record)
        out = canvas.open(row, working_type(first, further))
        channel = _put(convert(first, out.dtype), task, out, 0)
        for band in further:
            pixels = self._decode(band, task, box, scale, scratch)
            channel += _put(convert(pixels, out.dtype), task, out, channel)
        if channel == 1 and channels == 3:
            out[:, :, 1:] = out[:, :, :1]
        elif channel != channels:
            raise CorruptDataError(f"The record has {channel} channels, not {channels}.")
        if task.colour is not None:
            change_colour(out, task.colour)

    def _decode(
        self,
        payload: memoryview,
        task: Task,
        box: Box,
        scale: int,
        scratch: Scratch,
        *,
        sound: bool = False,
    ) -> Pixels:
        height, width = task.height, task.width
        return decode_crop(
            payload, height, width, box, scale=scale, scratch=scratch.pixels, sound=sound
        )


def _put(pixels: Pixels, task: Task, out: Pixels, channel: int) -> int:
    """Resize, turn and store some channels; tell how many."""
    channels: int = pixels.shape[2]
    if channel + channels > out.shape[2]:
        raise CorruptDataError(f"The record has more channels than the {out.shape[2]} expected.")
    height, width = out.shape[:2]
    direct = channels == out.shape[2] and not task.turns
    pixels = resize(pixels, (height, width), out if direct else None)
    if task.flip or task.upend:
        code = -1 if task.flip and task.upend else int(task.flip)
        pixels = cv2.flip(pixels, code, dst=pixels).reshape(height, width, channels)
    if task.turns:
        pixels = np.rot90(pixels, task.turns)
    if not direct:
        out[:, :, channel : channel + channels] = pixels
    return channels


def _bands(data: memoryview) -> list[memoryview]:
    """Find the bands beyond the first, in the order of their channels."""
    places = locate_features(data)
    names = [name.removeprefix(_PREFIX) for name in places if name.startswith(_PREFIX)]
    order = [
        value.decode() for value in parse_example(data).get(BANDS, []) if isinstance(value, bytes)
    ]
    names = order if set(order) == set(names) else sorted(names)
    spans = [places[_PREFIX + name] for name in names]
    return [data[at : at + length] for at, length in spans]
