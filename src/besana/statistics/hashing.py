"""Numbers from names that stay the same for years, on every machine and numpy version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15


def text_hash(text: str) -> int:
    """Hash a text to 64 bits (BLAKE2b)."""
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def text_hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Hash many texts to an array of 64-bit numbers."""
    return np.fromiter((text_hash(text) for text in texts), dtype=np.uint64)


def mix(values: NDArray[np.uint64], seed: int = 0) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers so that every bit depends on every bit and on the seed.

    SplitMix64's finaliser (Steele, Lea and Flood, 2014): a pure function, unlike a random
    stream, so the number drawn for one item does not depend on which other items there are.
    """
    with np.errstate(over="ignore"):
        mixed = values + np.uint64((seed + 1) * _GOLDEN % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
