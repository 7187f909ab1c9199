"""A folder into a bucket: in parallel, never twice, never over something else, checked there."""

from __future__ import annotations

import collections
import hashlib
import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import override

from besana.buckets.listing import Listed
from besana.errors import NotFoundError, StorageError
from besana.storage import Bucket, Folder

Advance = Callable[[int, int], None]

TEMPORARY = ".besana-part-"
_WINDOW = 4  # files in hand for each that is under way
_MOST_NAMED = 10


class CheckedBucket(Listed):
    """A bucket that gets a SHA-256 with each object and refuses one that does not match it."""

    @override
    @cached_property
    def _store(self) -> Any:
        from obstore.store import from_url

        allow_http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        options: dict[str, Any] = {"client_options": {"allow_http": allow_http}}
        if self.url.startswith("s3://"):
            options["checksum_algorithm"] = "SHA256"
        return from_url(self.url, **options)


@dataclass
class Uploaded:
    """What an upload did.

    Attributes:
        files: Files by outcome: `uploaded`, `there_already`, `different`, `vanished`.
        bytes_sent: Bytes of those that were uploaded.
        seconds: How long it took.
        different: The first keys under which something else lies; they were left as they are.
    """

    files: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    seconds: float = 0.0
    different: list[str] = field(default_factory=list)

    def count(self, outcome: str, sent_bytes: int, advance: Advance) -> None:
        """Count one file."""
        self.files[outcome] += 1
        self.bytes_sent += sent_bytes
        advance(1, sent_bytes)


def upload(
    folder: Path,
    url: str,
    *,
    threads: int = 16,
    advance: Advance = lambda _files, _bytes: None,
) -> Uploaded:
    """Upload every file below a folder that the bucket does not have.

    Files and listing are walked in the same order, so what is there is known at a request for
    each 1,000 objects, and a run that was killed just begins again. An object that is there is
    never replaced: of the same size it is taken for the same, because besana's files are named
    by their content or never change.

    Args:
        folder: What to upload; the keys are paths below it.
        url: Where to, as `s3://bucket/prefix`.
        threads: Files at the same time; memory holds that many.
        advance: Told files and bytes as they are done.

    Raises:
        StorageError: If disk or bucket refused.
    """
    source, target = Folder(folder), CheckedBucket(url)
    done, started = Uploaded(), time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[Future[tuple[str, int]]] = collections.deque()
        for key, size_bytes, there_bytes in _side_by_side(folder, target):
            if there_bytes is None:
                waiting.append(pool.submit(_send, source, target, key))
            elif there_bytes == size_bytes:
                done.count("there_already", 0, advance)
            else:
                done.different += [key] if len(done.different) < _MOST_NAMED else []
                done.count("different", 0, advance)
            while len(waiting) > _WINDOW * threads:
                done.count(*waiting.popleft().result(), advance)
        while waiting:
            done.count(*waiting.popleft().result(), advance)
    done.seconds = time.monotonic() - started
    return done


def walk_in_order(folder: Path, below: str = "") -> Iterator[tuple[str, int]]:
    """Walk the files below a folder in the order in which buckets list their keys.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("a/z", "a.txt", "a-b"):
    ...     _ = Folder(root).write(name, b"")
    >>> [key for key, _ in walk_in_order(root)]
    ['a-b', 'a.txt', 'a/z']
    """
    with os.scandir(folder / below) as entries:
        # With its slash a folder stands where the keys below it do.
        found = sorted((f"{entry.name}/" if entry.is_dir() else entry.name) for entry in entries)
    for name in found:
        if name.endswith("/"):
            yield from walk_in_order(folder, f"{below}{name}")
        elif not name.startswith(TEMPORARY):
            yield f"{below}{name}", (folder / below / name).stat().st_size


def _side_by_side(folder: Path, target: Listed) -> Iterator[tuple[str, int, int | None]]:
    """Yield each file with its size and that of the object of the same key, if there is one."""
    objects = (entry for page in target.pages() for entry in page)
    there = next(objects, None)
    for key, size_bytes in walk_in_order(folder):
        while there is not None and there.key < key:
            there = next(objects, None)
        same = there is not None and there.key == key
        yield key, size_bytes, there.size_bytes if same and there is not None else None


def _send(source: Folder, target: Bucket, key: str) -> tuple[str, int]:
    try:
        data = source.read(key)
    except NotFoundError:
        return "vanished", 0
    if not target.write(key, data, replace=False):
        return "there_already", 0  # another machine was faster
    return "uploaded", len(data)


def verify(folder: Path, url: str, sample: int) -> int:
    """Read some objects back and compare them with their files, byte by byte.

    Args:
        folder: What was uploaded.
        url: Where to.
        sample: How many to compare: those whose name's hash is lowest.

    Returns:
        How many were compared.

    Raises:
        StorageError: If one of them differs.
    """
    source, target = Folder(folder), CheckedBucket(url)
    hashes = ((hashlib.sha256(key.encode()).digest(), key) for key, _ in walk_in_order(folder))
    chosen = heapq.nsmallest(sample, hashes)
    for _, key in chosen:
        if source.read(key) != target.read(key):
            raise StorageError(f"'{key}' in {url} differs from its file.", "Upload it again.")
    return len(chosen)


def size_of(folder: Path) -> tuple[int, int]:
    """Count files and bytes below a folder."""
    files = size_bytes = 0
    for _, each_bytes in walk_in_order(folder):
        files += 1
        size_bytes += each_bytes
    return files, size_bytes
