"""Requests to buckets: made by obstore, and counted as their owners bill them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, BinaryIO

PAGE_KEYS = 1000
"""Keys that one LIST request returns at most."""

PART_BYTES = 5 << 20
"""An object above this size is uploaded in parts of it."""


@dataclass(frozen=True)
class Traffic:
    """Requests and bytes, by the classes in which clouds bill them.

    Attributes:
        gets: GET and HEAD requests.
        puts: PUT requests, and the POST requests that begin and end an upload in parts.
        lists: LIST requests, of at most 1,000 keys each.
        deletes: DELETE requests, which are free everywhere.
        read_bytes: Bytes of objects that came from a bucket.
        written_bytes: Bytes of objects that went to a bucket.
    """

    gets: int = 0
    puts: int = 0
    lists: int = 0
    deletes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def requests(self) -> int:
        """Requests of all kinds."""
        return self.gets + self.puts + self.lists + self.deletes

    def record(self) -> dict[str, int]:
        """Give the counts by name, for JSON."""
        return asdict(self)

    @staticmethod
    def of(record: Mapping[str, Any]) -> Traffic:
        """Read what `record` gave; a count that is not there is 0."""
        return Traffic(**{name: int(record.get(name, 0)) for name in Traffic.__annotations__})


class Meter:
    """Add up the traffic of this process and of workers that hand theirs over.

    Attributes:
        watch: Called with the total after each addition; it may raise to stop the spending.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = Traffic()
        self._taken = Traffic()
        self.watch: Callable[[Traffic], None] | None = None

    @property
    def total(self) -> Traffic:
        """Everything so far."""
        with self._lock:
            return self._total

    def add(self, traffic: Traffic) -> None:
        """Count some traffic.

        Raises:
            BesanaError: If the one who watches says that it was too much.
        """
        with self._lock:
            self._total += traffic
            total = self._total
        if self.watch is not None:
            self.watch(total)

    def take(self) -> Traffic:
        """Give what came since the last call, for a worker to hand over."""
        with self._lock:
            taken, self._taken = self._total - self._taken, self._total
            return taken


METER = Meter()


# A request is counted before its answer: refused ones are billed as well.


def get(store: Any, key: str) -> bytes:
    """Read an object whole."""
    import obstore

    METER.add(Traffic(gets=1))
    data = bytes(obstore.get(store, key).bytes())
    METER.add(Traffic(read_bytes=len(data)))
    return data


def get_range(store: Any, key: str, start: int, length: int) -> bytes:
    """Read `length` bytes of an object from `start` on."""
    import obstore

    METER.add(Traffic(gets=1))
    data = bytes(obstore.get_range(store, key, start=start, length=length))
    METER.add(Traffic(read_bytes=len(data)))
    return data


def get_version(store: Any, key: str, start: int, length: int, tag: str) -> tuple[bytes, str]:
    """Read part of an object and its tag; nothing but the tag when the length is 0.

    Args:
        store: The bucket.
        key: The object.
        start: Where the part starts.
        length: How many bytes it has.
        tag: What the object's tag must be; empty for any.

    Raises:
        PreconditionError: If it has another one.
    """
    import obstore

    if length < 1:
        return b"", str(head(store, key)["e_tag"] or "")
    METER.add(Traffic(gets=1))
    options: Any = {"range": (start, start + length)} | ({"if_match": tag} if tag else {})
    answer = obstore.get(store, key, options=options)
    data = bytes(answer.bytes())
    METER.add(Traffic(read_bytes=len(data)))
    return data, str(answer.meta["e_tag"] or "")


def head(store: Any, key: str) -> Mapping[str, Any]:
    """Ask for an object's size, time and tag."""
    import obstore

    METER.add(Traffic(gets=1))
    answer: Mapping[str, Any] = obstore.head(store, key)
    return answer


def put(store: Any, key: str, data: bytes, *, replace: bool) -> bool:
    """Write an object in one request; False if it is there and must not be replaced."""
    import obstore
    from obstore.exceptions import AlreadyExistsError

    METER.add(Traffic(puts=1, written_bytes=len(data)))
    try:
        mode: Any = "overwrite" if replace else "create"
        obstore.put(store, key, data, mode=mode, use_multipart=False)
    except AlreadyExistsError:
        return False
    return True


def put_file(store: Any, key: str, file: BinaryIO) -> None:
    """Write an object from a file, in parts when it is large."""
    import obstore

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    parts = -(-size // PART_BYTES)
    METER.add(Traffic(puts=parts + 2 if size > PART_BYTES else 1, written_bytes=size))
    obstore.put(store, key, file, chunk_size=PART_BYTES)


def delete(store: Any, key: str) -> None:
    """Remove an object."""
    import obstore

    METER.add(Traffic(deletes=1))
    obstore.delete(store, key)


def list_objects(
    store: Any, prefix: str | None, start_after: str | None = None
) -> Iterator[Sequence[Mapping[str, Any]]]:
    """List objects with path, size, time and tag, a page of one request at a time.

    Args:
        store: The bucket.
        prefix: A folder in it; None for all.
        start_after: Path after which the listing begins.
    """
    import obstore

    METER.add(Traffic(lists=1))  # also of what turns out to be empty
    pages = obstore.list(store, prefix, offset=start_after, chunk_size=PAGE_KEYS)
    for number, page in enumerate(pages):
        if number:
            METER.add(Traffic(lists=1))
        yield page
