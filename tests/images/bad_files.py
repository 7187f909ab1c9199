"""Make the bad pictures of faults.md byte by byte."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIZE = (96, 64)


def scene(size: tuple[int, int] = SIZE, seed: int = 3) -> np.ndarray:
    """(height, width, 3) uint8 with texture that survives JPEG."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, form: str, mode: str | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, form, **options)
    return stream.getvalue()


def jpeg(pixels: np.ndarray | None = None, **options: object) -> bytes:
    return encoded(scene() if pixels is None else pixels, "JPEG", **options)


def png(pixels: np.ndarray | None = None, **options: object) -> bytes:
    return encoded(scene() if pixels is None else pixels, "PNG", **options)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", body)


def one_bit_png(side: int) -> bytes:
    row = b"\0" + b"\0" * ((side + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png_header(side, side, 1, 0) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def png_with_metadata_bomb(kind: bytes, inflated_bytes: int) -> bytes:
    packer = zlib.compressobj(9)
    block = b"\0" * (1 << 20)
    text = b"".join(packer.compress(block) for _ in range(inflated_bytes >> 20)) + packer.flush()
    whole = png()
    return whole[:33] + png_chunk(kind, b"key\0\0" + text) + whole[33:]


def tiff(entries: dict[int, tuple[int, int]], next_offset: int = 0, pixels: bytes = b"") -> bytes:
    """Little-endian TIFF of one directory: tag to (type, value), all inline."""
    body = struct.pack("<H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        body += struct.pack("<HHI", tag, kind, 1)
        body += struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", next_offset) + pixels


def grey_tiff(width: int, height: int, samples: int = 1, next_offset: int = 0) -> bytes:
    start = 8 + 2 + 12 * 8 + 4
    entries = {
        256: (4, width),
        257: (4, height),
        258: (3, 8),
        262: (3, 1),
        273: (4, start),
        277: (3, samples),
        278: (4, height),
        279: (4, min(width * height * samples, 4096)),
    }
    return tiff(entries, next_offset, bytes(4096))


def exif_block(
    orientation: int = 1, moment: bytes = b"", *, gps_denominator: int | None = None
) -> bytes:
    """EXIF block with orientation, DateTime and one GPS latitude."""
    entries = [struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)]
    count = 1 + bool(moment) + (gps_denominator is not None)
    tail_start = 8 + 2 + 12 * count + 4
    tail = b""
    if moment:
        text = moment + b"\0"
        entries.append(struct.pack("<HHII", 0x0132, 2, len(text), tail_start))
        tail += text + b"\0" * (len(text) % 2)
    if gps_denominator is not None:
        place = tail_start + len(tail)
        entries.append(struct.pack("<HHII", 0x8825, 4, 1, place))
        rational = struct.pack("<6I", 39, gps_denominator, 0, gps_denominator, 0, gps_denominator)
        tail += struct.pack("<H", 1) + struct.pack("<HHII", 2, 5, 3, place + 18)
        tail += struct.pack("<I", 0) + rational
    body = struct.pack("<H", count) + b"".join(entries) + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8) + body + tail


def jpeg_with_segments(*segments: tuple[int, bytes]) -> bytes:
    """JPEG of the scene with application segments after its start mark."""
    whole = jpeg()
    extra = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments
    )
    return whole[:2] + extra + whole[2:]
