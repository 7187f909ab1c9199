"""Read an object of a bucket as if it were a file."""

from __future__ import annotations

import io
from typing import Any

from typing_extensions import override

from besana.storage import Storage


class RangeFile(io.RawIOBase):
    """Read an object of a bucket by ranges, as a file."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage, self._key = storage, key
        self._size = storage.size(key) or 0
        self._at = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._at

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    @override
    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        data = self._storage.read_range(self._key, self._at, length)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
