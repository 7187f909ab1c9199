"""Loose files against shards: what the same training asks of a bucket either way."""

from __future__ import annotations

import math
from collections.abc import Iterator

from besana.costs.prices import PriceBook
from besana.traffic import PAGE_KEYS, PART_BYTES, Traffic

SHARD_BYTES = 64_000_000
BLOCK_BYTES = 2 << 20


def loose_files(samples: int, sample_bytes: int, epochs: int) -> Traffic:
    """Count requests when each sample is a file: written, listed each epoch, read each epoch.

    >>> loose_files(100_000, 10**9, epochs=10).gets
    1000000
    """
    pages = max(math.ceil(samples / PAGE_KEYS), 1)
    return Traffic(
        puts=samples,
        lists=pages * epochs,
        gets=samples * epochs,
        read_bytes=sample_bytes * epochs,
        written_bytes=sample_bytes,
    )


def in_shards(samples: int, sample_bytes: int, epochs: int) -> Traffic:
    """Count requests when samples lie in shards that are read by blocks of 2 MB.

    >>> found = in_shards(100_000, 10**9, epochs=10)
    >>> found.puts, found.lists, found.gets
    (223, 0, 4770)
    """
    shards = max(math.ceil(sample_bytes / SHARD_BYTES), 1)
    parts = math.ceil(sample_bytes / PART_BYTES)
    blocks = max(math.ceil(sample_bytes / BLOCK_BYTES), 1)
    return Traffic(
        puts=parts + 2 * shards,
        gets=blocks * epochs,
        read_bytes=sample_bytes * epochs,
        written_bytes=sample_bytes,
    )


def compare(
    book: PriceBook, samples: int, sample_bytes: int, epochs: int
) -> Iterator[tuple[str, str, int, int, int, float]]:
    """Price both ways in each cloud: cloud, layout, PUT, LIST, GET requests, money."""
    ways = {
        "loose_files": loose_files(samples, sample_bytes, epochs),
        "shards": in_shards(samples, sample_bytes, epochs),
    }
    for cloud in book.clouds.values():
        for layout, traffic in ways.items():
            money = cloud.requests(traffic)
            yield cloud.title, layout, traffic.puts, traffic.lists, traffic.gets, money
