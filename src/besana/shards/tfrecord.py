"""The TFRecord format: framed records with checksums.

A record is, little-endian: length of the data (uint64), masked CRC32C of those 8 bytes (uint32),
the data, masked CRC32C of the data (uint32). See `tensorflow/core/lib/io/record_writer.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from crc32c import crc32c

from besana.errors import ConfigError, CorruptDataError

Buffer = bytes | bytearray | memoryview

HEADER_BYTES = 12
FOOTER_BYTES = 4
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES
MAX_RECORD_BYTES = 1 << 30

_MASK_DELTA = 0xA282EAD8
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def mask(crc: int) -> int:
    """Mask a CRC32C as TFRecord stores it, so that a CRC of data with CRCs in it stays good.

    >>> hex(mask(0))
    '0xa282ead8'
    """
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def checksum(data: Buffer) -> int:
    """Compute the (unmasked) CRC32C of some bytes, as manifests keep it."""
    return int(crc32c(data))


class RecordWriter:
    """Write framed records one after another to a binary stream.

    Attributes:
        size_bytes: Bytes written so far, which is where the next record will start.
    """

    def __init__(self, stream: _Sink) -> None:
        self._stream = stream
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write one record.

        Returns:
            CRC32C of the data, unmasked.

        Raises:
            ConfigError: If the data is larger than any reader accepts.
        """
        if len(data) > MAX_RECORD_BYTES:
            raise ConfigError(
                f"A record of {len(data)} bytes is larger than {MAX_RECORD_BYTES} bytes.",
                "Prepare smaller regions.",
            )
        crc = checksum(data)
        length = _LENGTH.pack(len(data))
        self._stream.write(_HEADER.pack(len(data), mask(checksum(length))))
        self._stream.write(data)
        self._stream.write(_FOOTER.pack(mask(crc)))
        self.size_bytes += len(data) + FRAME_BYTES
        return crc


def open_record(
    frame: memoryview, *, crc: int | None = None, where: str = "a record"
) -> memoryview:
    """Take the data out of one whole framed record, after checking every byte of it.

    Args:
        frame: The record from its header to its footer.
        crc: CRC32C of the data as the manifest knows it; None checks the footer alone.
        where: What is being read, for messages: shard and offset.

    Returns:
        A view of the data, no copy.

    Raises:
        CorruptDataError: If length or checksum do not fit; nothing of the data was used.
    """
    if len(frame) < FRAME_BYTES:
        raise _corrupt(where, "the shard ends inside it", "truncated")
    length = _checked_length(frame, where)
    if length + FRAME_BYTES != len(frame):
        raise _corrupt(where, f"it holds {length} bytes, not {len(frame) - FRAME_BYTES}", "damaged")
    data = frame[HEADER_BYTES : HEADER_BYTES + length]
    found = checksum(data)
    if mask(found) != _FOOTER.unpack_from(frame, HEADER_BYTES + length)[0]:
        raise _corrupt(where, "its checksum does not match its bytes", "damaged")
    if crc is not None and found != crc:
        raise _corrupt(where, "it is not the record that the manifest names", "replaced")
    return data


def read_records(stream: BinaryIO, *, name: str = "shard") -> Iterator[tuple[int, bytes]]:
    """Read all records of a shard in order, checking each.

    Args:
        stream: The shard, from its first byte.
        name: Name of the shard for messages.

    Yields:
        Offset of the record (of its header) and its data.

    Raises:
        CorruptDataError: If a record is damaged, cut, or too large to be true.
    """
    offset = 0
    while header := _read_up_to(stream, HEADER_BYTES):
        where = f"{name} at byte {offset}"
        if len(header) < HEADER_BYTES:
            raise _corrupt(where, "the shard ends inside it", "truncated")
        length = _checked_length(header, where)
        if length > MAX_RECORD_BYTES:
            raise _corrupt(where, f"it claims {length} bytes", "too_large")
        rest = _read_up_to(stream, length + FOOTER_BYTES)
        if len(rest) < length + FOOTER_BYTES:
            raise _corrupt(where, "the shard ends inside it", "truncated")
        data = open_record(memoryview(header + rest), where=where)
        yield offset, bytes(data)
        offset += length + FRAME_BYTES


def _checked_length(header: Buffer, where: str) -> int:
    length, length_crc = _HEADER.unpack_from(header)
    if mask(checksum(header[:8])) != length_crc:
        raise _corrupt(where, "the checksum of its length does not match", "damaged")
    return int(length)


def _read_up_to(stream: BinaryIO, count: int) -> bytes:
    """Read exactly `count` bytes, fewer only at the end of the stream, without trusting `count`."""
    pieces: list[bytes] = []
    while count and (piece := stream.read(min(count, 1 << 24))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _corrupt(where: str, what: str, reason: str) -> CorruptDataError:
    return CorruptDataError(
        f"Record in {where} is corrupt: {what}.",
        "Restore the shard from a copy, or prepare its frames again.",
        reason,
    )
