"""Write samples to a shard, and read it all back before anyone may refer to it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from besana.errors import ConfigError, CorruptDataError
from besana.shards.example import Feature, encode_example, locate_features
from besana.shards.tfrecord import (
    FRAME_BYTES,
    HEADER_BYTES,
    RecordWriter,
    checksum,
    read_records,
)
from besana.storage import Storage

PAYLOAD = "image/encoded"
BANDS = "image/bands"


@dataclass(frozen=True, slots=True)
class Location:
    """Say where one sample lies.

    Attributes:
        shard: Key of the shard in the storage.
        offset_bytes: Where the record starts (its header).
        length_bytes: Length of the whole record, header and footer included.
        payload_offset_bytes: Where the encoded image starts, from the start of the shard.
        payload_length_bytes: Length of the encoded image.
        crc32c: CRC32C (unmasked) of the record's data: what the footer holds, masked.
    """

    shard: str
    offset_bytes: int
    length_bytes: int
    payload_offset_bytes: int
    payload_length_bytes: int
    crc32c: int


def locate_record(shard: str, offset: int, data: bytes) -> Location:
    """Tell where a record and its image lie.

    Args:
        shard: Key of the shard.
        offset: Where the record starts.
        data: Its data, a `tf.train.Example`.

    Raises:
        CorruptDataError: If it is no Example with an image.
    """
    places = locate_features(data)
    if PAYLOAD not in places:
        raise CorruptDataError(f"A record has no '{PAYLOAD}'.", "Only images can be loaded.")
    start, length = places[PAYLOAD]
    return Location(
        shard=shard,
        offset_bytes=offset,
        length_bytes=len(data) + FRAME_BYTES,
        payload_offset_bytes=offset + HEADER_BYTES + start,
        payload_length_bytes=length,
        crc32c=checksum(data),
    )


def sample_example(
    sample_id: str,
    encoded: bytes,
    *,
    image_format: str,
    height_px: int,
    width_px: int,
    channels: int,
    bands: Mapping[str, bytes] | None = None,
) -> dict[str, Feature]:
    """Lay out a sample as `tf.train.Example` features, with TensorFlow's usual names.

    Args:
        sample_id: `<frame id>/<region>`.
        encoded: The first band (or the fused picture) as JPEG or PNG; TIFF where it is float32.
        image_format: `jpeg`, `png` or `tiff`, of `encoded`.
        height_px: Height of all bands.
        width_px: Width of all bands.
        channels: Channels of all bands together.
        bands: Further bands by name as PNG, or TIFF where they are float32, in the order of their
            channels.
    """
    bands = bands or {}
    example: dict[str, Feature] = {
        "image/filename": sample_id,
        "image/format": image_format,
        "image/height": height_px,
        "image/width": width_px,
        "image/channels": channels,
        "image/key/sha256": hashlib.sha256(encoded).hexdigest(),
    }
    if bands:
        example[BANDS] = list(bands)
    example[PAYLOAD] = encoded
    return example | {f"{PAYLOAD}/{name}": data for name, data in bands.items()}


class ShardWriter:
    """Stream samples into one new shard.

    The shard appears in the storage when the `with` block ends well and every record, read
    back, has the checksum it was written with; after an error nothing appears.

    >>> import tempfile
    >>> from besana.storage import open_storage
    >>> with ShardWriter(open_storage(tempfile.mkdtemp()), "a.tfrecord") as writer:
    ...     place = writer.add({"image/encoded": b"...", "image/format": "jpeg"})
    >>> place.offset_bytes, place.payload_length_bytes
    (0, 3)
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self.name = name
        self._stack = contextlib.ExitStack()
        self._records: RecordWriter | None = None
        self._checksums: list[int] = []

    @property
    def size_bytes(self) -> int:
        """Tell how long the shard is so far, to start another one in time."""
        return self._records.size_bytes if self._records else 0

    @property
    def count(self) -> int:
        """Tell how many samples the shard holds so far."""
        return len(self._checksums)

    def __enter__(self) -> Self:
        self._stream = self._stack.enter_context(self._storage.open_writer(self.name))
        self._records = RecordWriter(self._stream)
        return self

    def add(self, example: Mapping[str, Feature]) -> Location:
        """Write one sample; it must have `image/encoded`.

        Raises:
            ConfigError: If it has no image, or a feature of no known kind.
        """
        if self._records is None:
            raise ConfigError(f"Shard '{self.name}' is not open.", "Use it in a with block.")
        data, places = encode_example(example)
        if PAYLOAD not in places:
            raise ConfigError(f"A sample for shard '{self.name}' has no '{PAYLOAD}'.")
        payload_offset, payload_length = places[PAYLOAD]
        offset = self._records.size_bytes
        crc = self._records.write(data)
        self._checksums.append(crc)
        return Location(
            shard=self.name,
            offset_bytes=offset,
            length_bytes=self._records.size_bytes - offset,
            payload_offset_bytes=offset + HEADER_BYTES + payload_offset,
            payload_length_bytes=payload_length,
            crc32c=crc,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        with self._stack:  # publishes when this block ends well
            self._verify()

    def _verify(self) -> None:
        with _reopened(self._stream) as stream:
            found = [checksum(data) for _, data in read_records(stream, name=self.name)]
        if found != self._checksums:
            raise CorruptDataError(
                f"Shard '{self.name}' did not read back as it was written.",
                "Check disk and memory of this machine, then run the command again.",
            )


@contextlib.contextmanager
def _reopened(written: BinaryIO) -> Iterator[BinaryIO]:
    """Read an unpublished file from its start, and leave it ready to be published."""
    written.flush()
    if written.readable():
        written.seek(0)
        yield written
        written.seek(0, 2)
    else:
        with open(written.name, "rb") as stream:
            yield stream
