"""Make one picture of a batch from one record: check, decode, crop, resize, change."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from besana.errors import CorruptDataError
from besana.images.resize import resize
from besana.shards.augment import Changes
from besana.shards.decoding import (
    Box,
    change_colour,
    convert,
    crop,
    decode,
    is_jpeg,
    jpeg_scale,
    snap,
)
from besana.shards.example import locate_features, parse_example
from besana.shards.manifest import Manifest
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
    """

    pictures: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    read_bytes: int = 0
    dropped: list[str] = field(default_factory=list)

    def add(self, other: Costs) -> None:
        """Take in what others took."""
        self.pictures += other.pictures
        self.read_s += other.read_s
        self.decode_s += other.decode_s
        self.read_bytes += other.read_bytes
        self.dropped += other.dropped


class PictureMaker:
    """Make pictures of one size from the samples of one manifest; used by many threads at once.

    Args:
        manifest: Where records lie and how large their images are.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def make(
        self,
        position: int,
        changes: Changes,
        row: int,
        out: npt.NDArray[Any],
        reader: Reader,
        scratch: Scratch,
        costs: Costs,
    ) -> None:
        """Fill one picture.

        Args:
            position: Sample in the manifest.
            changes: What happens to the pictures of the batch.
            row: Which of them this one is.
            out: (height, width, channels) uint8 or uint16, filled.
            reader: Gets the record.
            scratch: This thread's buffers.
            costs: Where to add what it took.

        Raises:
            CorruptDataError: If a byte is not what was written; nothing of it is used then.
        """
        started = time.perf_counter()
        shard, offset, length = reader.place(position)
        frame = reader.read(position, scratch)
        data = open_record(
            frame, crc=int(self._manifest.crc32c[position]), where=f"'{shard}' at byte {offset}"
        )
        costs.read_bytes += length
        read = time.perf_counter()
        scratch.doing = f"decoding '{shard}' at byte {offset}"
        self._fill(position, data, changes, row, out, scratch)
        scratch.done += 1
        scratch.doing = "idle"
        costs.pictures += 1
        costs.read_s += read - started
        costs.decode_s += time.perf_counter() - read

    def _fill(
        self,
        position: int,
        data: memoryview,
        changes: Changes,
        row: int,
        out: npt.NDArray[Any],
        scratch: Scratch,
    ) -> None:
        place = self._manifest.location(position)
        height = int(self._manifest.height_px[position])
        width = int(self._manifest.width_px[position])
        start = place.payload_offset_bytes - place.offset_bytes - HEADER_BYTES
        payload = data[start : start + place.payload_length_bytes]
        box: Box = tuple(changes.box[row].tolist())
        scale = jpeg_scale(height, width, box, out.shape[:2]) if is_jpeg(payload) else 1
        box = snap(box, -(-height // scale), -(-width // scale))

        def add(payload: memoryview, channel: int) -> int:
            pixels = decode(payload, height, width, scale=scale, scratch=scratch.pixels)
            return _put(convert(crop(pixels, box), out.dtype), changes, row, out[:, :, channel:])

        channel = add(payload, 0)
        if channel < out.shape[2]:
            for band in _bands(data):
                channel += add(band, channel)
        if channel == 1 and out.shape[2] == 3:
            out[:, :, 1:] = out[:, :, :1]
        elif channel != out.shape[2]:
            raise CorruptDataError(f"The record has {channel} channels, not {out.shape[2]}.")
        if changes.colour is not None:
            change_colour(out, changes.colour[row])


def _put(pixels: npt.NDArray[Any], changes: Changes, row: int, out: npt.NDArray[Any]) -> int:
    """Resize, turn and store some channels; tell how many."""
    channels: int = pixels.shape[2]
    if channels > out.shape[2]:
        raise CorruptDataError(f"The record has more channels than the {out.shape[2]} expected.")
    flip, upend, turns = changes.flip[row], changes.upend[row], int(changes.turns[row])
    whole = channels == out.shape[2] and out.flags.c_contiguous
    still = not (flip or upend or turns)
    pixels = resize(pixels, out.shape[:2], out if whole and still else None)
    if flip or upend:
        code = -1 if flip and upend else int(flip)
        pixels = cv2.flip(pixels, code, dst=out if whole and not turns else None)
    if turns:
        pixels = np.rot90(pixels.reshape(*out.shape[:2], channels), turns)
    if not np.may_share_memory(pixels, out):
        out[:, :, :channels] = pixels.reshape(*out.shape[:2], channels)
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
