"""A QR code of a short address, drawn with characters in a terminal (ISO/IEC 18004, level L)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Version -> codewords of data, codewords of error correction, centre of the alignment pattern.
_VERSIONS = {1: (19, 7, 0), 2: (34, 10, 18), 3: (55, 15, 22), 4: (80, 20, 26), 5: (108, 26, 30)}
_BORDER = 2
# Level L with mask 0, bits of BCH(15, 5) and the fixed mask: 111011111000100.
_FORMAT = 0b111011111000100

Modules = NDArray[np.bool_]


def qr_text(text: str) -> str:
    """Draw a text of at most 106 bytes, two rows of modules a line; empty when it is longer."""
    data = text.encode()
    version = next((v for v, (size, _, _) in _VERSIONS.items() if len(data) + 2 <= size), 0)
    if not version:
        return ""
    modules = np.pad(qr_modules(data, version), _BORDER)
    if len(modules) % 2:
        modules = np.pad(modules, ((0, 1), (0, 0)))
    # Light modules are drawn, as a terminal is mostly dark.
    shapes = {(0, 0): "█", (1, 0): "▄", (0, 1): "▀", (1, 1): " "}
    rows = zip(modules[::2], modules[1::2], strict=True)
    return "\n".join(
        "".join(shapes[int(a), int(b)] for a, b in zip(top, low, strict=True)) for top, low in rows
    )


def qr_modules(data: bytes, version: int) -> Modules:
    """Give the dark modules of a code, (side, side), without its border."""
    side = 17 + 4 * version
    dark, fixed = np.zeros((side, side), np.bool_), np.zeros((side, side), np.bool_)
    _draw_patterns(dark, fixed, version)
    bits = np.unpackbits(np.frombuffer(_codewords(data, version), np.uint8))
    _fill(dark, fixed, bits)
    return dark


def _codewords(data: bytes, version: int) -> bytes:
    size, correction, _ = _VERSIONS[version]
    bits = f"0100{len(data):08b}" + "".join(f"{byte:08b}" for byte in data) + "0000"
    message = [int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)][:size]
    message += [(236, 17)[i % 2] for i in range(size - len(message))]
    return bytes(message + _remainder(message, correction))


def _remainder(message: list[int], count: int) -> list[int]:
    """Divide by the generator of Reed and Solomon's code over GF(256) with 0x11d."""
    powers, logs = [1], {1: 0}
    for exponent in range(1, 255):
        value = powers[-1] << 1
        powers.append(value ^ 0x11D if value & 0x100 else value)
        logs[powers[-1]] = exponent

    def times(a: int, b: int) -> int:
        return powers[(logs[a] + logs[b]) % 255] if a and b else 0

    generator = [1]
    for exponent in range(count):
        shifted = [*generator, 0]
        for place, value in enumerate(generator):
            shifted[place + 1] ^= times(value, powers[exponent])
        generator = shifted
    rest = [*message, *([0] * count)]
    for place in range(len(message)):
        factor = rest[place]
        for offset, value in enumerate(generator):
            rest[place + offset] ^= times(value, factor)
    return rest[len(message) :]


def _draw_patterns(dark: Modules, fixed: Modules, version: int) -> None:
    side = len(dark)
    for top, left in ((0, 0), (0, side - 7), (side - 7, 0)):
        fixed[max(0, top - 1) : top + 8, max(0, left - 1) : left + 8] = True
        _square(dark, top, left, 7)
    dark[6, 8 : side - 8 : 2] = dark[8 : side - 8 : 2, 6] = True
    fixed[6, :] = fixed[:, 6] = True
    centre = _VERSIONS[version][2]
    if centre:
        fixed[centre - 2 : centre + 3, centre - 2 : centre + 3] = True
        _square(dark, centre - 2, centre - 2, 5)
    fixed[8, :9] = fixed[:9, 8] = fixed[8, side - 8 :] = fixed[side - 8 :, 8] = True
    dark[side - 8, 8] = True
    bits = [bool(_FORMAT >> place & 1) for place in range(14, -1, -1)]
    around = [*((8, c) for c in (0, 1, 2, 3, 4, 5, 7, 8)), *((r, 8) for r in (7, 5, 4, 3, 2, 1, 0))]
    beside = [*((side - 1 - i, 8) for i in range(7)), *((8, side - 8 + i) for i in range(8))]
    for bit, one, other in zip(bits, around, beside, strict=True):
        dark[one] = dark[other] = bit


def _square(dark: Modules, top: int, left: int, side: int) -> None:
    dark[top : top + side, left : left + side] = True
    dark[top + 1 : top + side - 1, left + 1 : left + side - 1] = False
    dark[top + 2 : top + side - 2, left + 2 : left + side - 2] = True


def _fill(dark: Modules, fixed: Modules, bits: NDArray[np.uint8]) -> None:
    """Lay the bits in columns of two, upwards and downwards in turn, under mask 0."""
    side, place, upwards = len(dark), 0, True
    columns = [*range(side - 1, 6, -2), *range(5, 0, -2)]
    for right in columns:
        rows = range(side - 1, -1, -1) if upwards else range(side)
        for row in rows:
            for column in (right, right - 1):
                if fixed[row, column]:
                    continue
                bit = bool(bits[place]) if place < len(bits) else False
                dark[row, column] = bit ^ ((row + column) % 2 == 0)
                place += 1
        upwards = not upwards
