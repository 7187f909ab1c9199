"""Read what a picture file says about itself, without decoding it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from besana.config import Settings
from besana.errors import CorruptDataError
from besana.images.exif import Exif, TiffReader, exif_of, read_exif

Format = Literal["jpeg", "png", "webp", "tiff"]

_KNOWN_BUT_REFUSED = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"8BPS", "PSD"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
)
_HINT = "besana reads JPEG, PNG, WebP and TIFF; convert the file."
_INFLATED_METADATA_BYTES = 4 << 20
_JPEG_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_JPEG_OTHER_SIZES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
_NO_EXIF = Exif()
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


class Limits(Settings):
    """Bounds that a picture file must keep before any of it is decoded."""

    file_bytes: int = Field(default=50_000_000, ge=1, description="Largest file in bytes.")
    pixels: int = Field(default=40_000_000, ge=1, description="Most pixels, width times height.")
    pixel_bytes: int = Field(
        default=8, ge=1, description="Bytes a pixel at which the largest picture is still decoded."
    )
    side_px: int = Field(default=8, ge=1, description="Shortest side in pixels.")
    aspect: float = Field(default=50.0, ge=1, description="Largest ratio of the sides.")
    header_bytes: int = Field(
        default=16 << 20, ge=1, description="Bytes of metadata before the pixels."
    )
    allow_missing_eoi: bool = Field(
        default=False, description="Accept JPEG files that lack only their last two bytes."
    )


@dataclass(frozen=True)
class Header:
    """What a file says about its first picture.

    Attributes:
        format: `jpeg`, `png`, `webp` or `tiff`.
        width_px: Columns as stored, before the orientation is applied.
        height_px: Rows as stored.
        channels: Samples a pixel as stored (palette: 3).
        bits: Bits a sample.
        frames: Pictures in the file; besana reads the first.
        exif: Orientation, time and camera.
        flags: `exif_invalid` when metadata was dropped.
        is_cut_short: Whether the file ends before its own structure does.
    """

    format: Format
    width_px: int
    height_px: int
    channels: int
    bits: int
    frames: int = 1
    exif: Exif = _NO_EXIF
    is_cut_short: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Remarks that do not keep the picture out."""
        return () if self.exif.is_valid else ("exif_invalid",)


def probe(data: bytes, limits: Limits | None = None) -> Header:
    """Read a picture's header and refuse what must not be decoded.

    Costs well under 10 ms whatever the file claims: sizes are read, nothing is decoded.

    Raises:
        CorruptDataError: With reason `not_an_image`, `unsupported_format`, `truncated`,
            `damaged`, `too_large`, `metadata_bomb` or `degenerate`.
    """
    limits = limits or Limits()
    if len(data) > limits.file_bytes:
        raise refusal("too_large", f"{len(data):,} bytes, above {limits.file_bytes:,} bytes")
    kind = _format_of(data)
    try:
        header = _READERS[kind](data, limits)
    except (ValueError, struct.error, IndexError) as error:
        if isinstance(error, CorruptDataError):
            raise
        raise refusal("damaged", f"{kind} header: {error}") from None
    _check_size(header, limits)
    return header


def refusal(reason: str, what: str, hint: str = "") -> CorruptDataError:
    """Return the error for one picture; `reason` becomes the kind of its issue."""
    return CorruptDataError(f"Not usable ({reason}): {what}.", hint, reason)


def _format_of(data: bytes) -> Format:
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    name = next((name for magic, name in _KNOWN_BUT_REFUSED if data.startswith(magic)), "")
    if not name and data[4:8] == b"ftyp":
        name = "HEIC, AVIF or video"
    if name:
        raise refusal("unsupported_format", f"a file of format {name}", _HINT)
    raise refusal("not_an_image", f"{len(data):,} bytes of something else", _HINT)


def _check_size(header: Header, limits: Limits) -> None:
    width, height = header.width_px, header.height_px
    if width < 1 or height < 1:
        raise refusal("damaged", f"size {width} x {height} px")
    if width * height > limits.pixels:
        raise refusal("too_large", f"{width} x {height} px, above {limits.pixels:,} pixels")
    stored = width * height * header.channels * max(header.bits, 8) // 8
    if header.channels > 16 or stored > limits.pixels * limits.pixel_bytes:
        raise refusal("too_large", f"{header.channels} channels, {stored:,} bytes when decoded")
    if min(width, height) < limits.side_px or max(width, height) > limits.aspect * min(
        width, height
    ):
        raise refusal("degenerate", f"size {width} x {height} px")


def _probe_jpeg(data: bytes, limits: Limits) -> Header:
    exif, frames = _NO_EXIF, 1
    for marker, segment in _jpeg_segments(data, limits):
        if marker in _JPEG_SIZES and len(segment) >= 6:
            bits, height, width, channels = struct.unpack_from(">BHHB", segment)
            if bits != 8:
                raise refusal("unsupported_format", f"a JPEG of {bits} bits", _HINT)
            return Header("jpeg", width, height, channels, 8, frames=frames, exif=exif)
        if marker in _JPEG_OTHER_SIZES:
            raise refusal("unsupported_format", "a lossless or hierarchical JPEG", _HINT)
        if marker == 0xE1 and _starts(segment, b"Exif\0\0"):
            exif = read_exif(segment[6:])
        elif marker == 0xE2 and _starts(segment, b"MPF\0"):
            frames = _pictures_in_mpo(segment[4:])
    raise ValueError("no picture size")


def _jpeg_segments(data: bytes, limits: Limits) -> Iterator[tuple[int, memoryview]]:
    """Yield marker and content of each segment before the pixels."""
    position = 2
    while True:
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        if position + 4 > len(data):
            raise refusal("truncated", "a JPEG that ends inside its header")
        if position > limits.header_bytes:
            raise refusal("metadata_bomb", f"more than {limits.header_bytes:,} bytes of metadata")
        marker = data[position + 1]
        if data[position] != 0xFF:
            raise ValueError("no marker where one must be")
        if marker in (0xD9, 0xDA):
            return
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, memoryview(data)[position + 4 : position + 2 + length]
        position += 2 + length


def _starts(block: memoryview, mark: bytes) -> bool:
    return bytes(block[: len(mark)]) == mark


def _pictures_in_mpo(block: memoryview) -> int:
    """Read NumberOfImages (CIPA DC-007, tag 0xB001)."""
    try:
        reader = TiffReader(block)
        return max(1, reader.directory(reader.first_offset).number(0xB001, 1))
    except ValueError:
        return 1


def _probe_png(data: bytes, limits: Limits) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR" or colour not in _PNG_CHANNELS:
        raise ValueError("no IHDR chunk")
    header = Header("png", width, height, _PNG_CHANNELS[colour], bits)
    _check_size(header, limits)
    exif, frames, position, seen_end = _NO_EXIF, 1, 8, False
    while position + 12 <= len(data) and not seen_end:
        length, kind = struct.unpack_from(">I4s", data, position)
        body = memoryview(data)[position + 8 : position + 8 + length]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            _refuse_inflating(kind, bytes(body))
        elif kind == b"eXIf":
            exif = read_exif(body)
        elif kind == b"acTL" and length >= 4:
            frames = max(1, int.from_bytes(body[:4], "big"))
        seen_end = kind == b"IEND"
        position += 12 + length
    is_cut_short = position > len(data) or not seen_end
    return Header("png", width, height, header.channels, bits, frames, exif, is_cut_short)


def _refuse_inflating(kind: bytes, body: bytes) -> None:
    start = body.find(b"\x78")  # the first byte of any zlib stream that PNG writers make
    if start < 0:
        return
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(body[start:], _INFLATED_METADATA_BYTES)
    except zlib.error:
        return
    if inflater.unconsumed_tail:
        name = kind.decode("ascii")
        raise refusal("metadata_bomb", f"a {name} chunk above {_INFLATED_METADATA_BYTES:,} bytes")


def _probe_webp(data: bytes, limits: Limits) -> Header:
    del limits
    end = 8 + int.from_bytes(data[4:8], "little")
    size: tuple[int, ...] = (0, 0)
    exif, frames, alpha, position = _NO_EXIF, 0, False, 12
    while position + 8 <= min(end, len(data)):
        kind, length = struct.unpack_from("<4sI", data, position)
        body = memoryview(data)[position + 8 : position + 8 + length]
        if kind == b"VP8X":
            alpha = bool(body[0] & 0x10)
            size = tuple(1 + int.from_bytes(body[i : i + 3], "little") for i in (4, 7))
        elif kind == b"VP8 " and size == (0, 0):
            size = tuple(side & 0x3FFF for side in struct.unpack_from("<HH", body, 6))
        elif kind == b"VP8L" and size == (0, 0):
            packed = int.from_bytes(body[1:5], "little")
            size = ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
            alpha = bool(packed >> 28 & 1)
        elif kind == b"EXIF":
            exif = read_exif(body[6:] if _starts(body, b"Exif\0\0") else body)
        frames += kind == b"ANMF"
        position += 8 + length + (length & 1)
    if size == (0, 0):
        raise ValueError("no picture inside")
    return Header(
        "webp", size[0], size[1], 4 if alpha else 3, 8, max(1, frames), exif, end > len(data)
    )


def _probe_tiff(data: bytes, limits: Limits) -> Header:
    reader = TiffReader(data)
    main = reader.directory(reader.first_offset)
    bits = max(main.numbers(258), default=1)
    header = Header(
        "tiff",
        width_px=main.number(256, 0),
        height_px=main.number(257, 0),
        channels=3 if main.number(262, 1) == 3 else main.number(277, 1),
        bits=bits,
        exif=exif_of(reader, main),
        is_cut_short=any(
            start + length > len(data)
            for starts, lengths in ((273, 279), (324, 325))
            for start, length in zip(main.numbers(starts), main.numbers(lengths), strict=False)
        ),
    )
    _check_size(header, limits)
    return replace(header, frames=reader.page_count())


_READERS = {"jpeg": _probe_jpeg, "png": _probe_png, "webp": _probe_webp, "tiff": _probe_tiff}
