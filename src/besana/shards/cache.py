"""A cache on disk for what is read from a bucket: capped to the byte, shared without locks.

Several processes may use one folder. Pieces are files named by version, offset and length, that
appear by rename, each with a CRC32C behind its bytes. Whatever is wrong with a piece or with the
disk, the bytes come from the bucket instead.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import os
import secrets
import struct
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from crc32c import crc32c

_CRC = struct.Struct("<I")
_ENTRY = struct.Struct("<8sqq")
_LEDGER = "ledger"
_PART = ".part-"
_STALE_S = 3600.0
_RESCAN_S = 60.0
_LARGEST = 1 << 62
_OVERLAPS = 8  # pieces that begin before a place, among which the one that reaches farthest counts


class CacheCounts(NamedTuple):
    """What a cache did.

    Attributes:
        hits: Ranges that came from the disk.
        hit_bytes: Their bytes.
        errors: Pieces that were damaged or could not be read or written; all were read through.
    """

    hits: int
    hit_bytes: int
    errors: int


class BlockCache:
    """Keep ranges of objects on a disk, never more than `cap_bytes` of them.

    When it is full, what no process used for an hour and this one never makes room; else new
    ranges are not kept: who goes through the same data again and again gains most from what is
    there already.

    Args:
        folder: Where pieces lie; made when it is not there.
        cap_bytes: Most bytes of all pieces, of all processes that name the same cap.
    """

    def __init__(self, folder: str | Path, cap_bytes: int) -> None:
        self.folder = Path(folder).absolute()
        self.cap_bytes = cap_bytes
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None
        self._pieces: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._own: set[str] = set()
        self._stale: list[tuple[float, str, int]] = []
        self._scanned_at = -_RESCAN_S
        self._hits = self._hit_bytes = self._errors = 0
        with contextlib.suppress(OSError):
            self._open()

    @property
    def counts(self) -> CacheCounts:
        """Tell what the cache did so far."""
        return CacheCounts(self._hits, self._hit_bytes, self._errors)

    def get(self, version: str, offset: int, length: int) -> bytes | None:
        """Read a range, put together from pieces that lie side by side or overlap.

        Args:
            version: What names the object and its bytes: address and ETag.
            offset: Where the range starts.
            length: How many bytes it has.

        Returns:
            None when any byte of it is not there.
        """
        name = _digest(version)
        with self._lock:
            self._own.add(name)
            pieces = _cover(self._pieces.get(name, []), offset, length)
        if pieces is None:
            return None
        parts = []
        at, end = offset, offset + length
        for start, size in pieces:
            data = self._read_piece(name, start, size)
            if data is None:
                return None
            stop = min(start + size, end)
            parts.append(memoryview(data)[at - start : stop - start])
            at = stop
        with self._lock:
            self._hits += 1
            self._hit_bytes += length
        return b"".join(parts)

    def put(self, version: str, offset: int, data: bytes) -> None:
        """Keep a range if there is room; any error of the disk is counted and forgotten."""
        name = _digest(version)
        try:
            with self._lock:
                self._own.add(name)
                known = _cover(self._pieces.get(name, []), offset, len(data))
                ledger = self._opened()
                if known is not None or not self._room(ledger, len(data) + _CRC.size):
                    return
            kept = self._write_piece(ledger, name, offset, data)
        except OSError:
            with self._lock:
                self._errors += 1
            return
        if kept:
            with self._lock:
                bisect.insort(self._pieces[name], (offset, len(data)))

    def drop(self, version: str, offset: int, length: int) -> None:
        """Forget every piece that holds any byte of a range, because the range is damaged."""
        name = _digest(version)
        with self._lock:
            known = self._pieces.get(name, [])
            bad = [p for p in known if p[0] < offset + length and sum(p) > offset]
        for piece in bad:
            self._forget(name, *piece)

    def close(self) -> None:
        """Let go of the files; the pieces stay."""
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None

    def _opened(self) -> Ledger:
        if self._ledger is None or self._ledger.is_gone:
            self._open()
        assert self._ledger is not None
        return self._ledger

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._ledger is not None:
            self._ledger.close()
        self._ledger = Ledger(self.folder / _LEDGER, self.cap_bytes)
        self._pieces.clear()
        for entry in self._entries():
            name, offset, length = entry
            self._pieces[name].append((offset, length))
        for pieces in self._pieces.values():
            pieces.sort()
        self._clear_parts(self._ledger)

    def _entries(self) -> list[tuple[str, int, int]]:
        found = []
        for name in os.listdir(self.folder):
            version, _, rest = name.partition("-")
            offset, _, length = rest.partition("-")
            if not name.startswith(_PART) and offset.isdigit() and length.isdigit():
                found.append((version, int(offset), int(length)))
        return found

    def _clear_parts(self, ledger: Ledger) -> None:
        """Remove what killed processes left half-written, and give its bytes back."""
        for name in os.listdir(self.folder):
            token, _, size = name.removeprefix(_PART).partition("-")
            path = self.folder / name
            if name.startswith(_PART) and size.isdigit() and _age_s(path) > _STALE_S:
                self._remove(ledger, path, int(size) if token in ledger.granted else 0)
        ledger.granted.clear()

    def _room(self, ledger: Ledger, size: int) -> bool:
        """Find room before a piece is written; the part that takes it gets it again below."""
        if ledger.total() + size <= self.cap_bytes:
            return True
        if not self._stale and time.monotonic() - self._scanned_at > _RESCAN_S:
            self._scanned_at = time.monotonic()
            self._stale = self._find_stale()
        while self._stale and ledger.total() + size > self.cap_bytes:
            _, name, length = self._stale.pop()
            self._remove(ledger, self.folder / name, length)
        return ledger.total() + size <= self.cap_bytes

    def _find_stale(self) -> list[tuple[float, str, int]]:
        """List pieces that nobody used for long, the oldest last."""
        found = []
        for version, offset, length in self._entries():
            name = f"{version}-{offset}-{length}"
            age = _age_s(self.folder / name)
            if version not in self._own and age > _STALE_S:
                found.append((age, name, length + _CRC.size))
        return sorted(found)

    def _remove(self, ledger: Ledger, path: Path, size: int) -> None:
        # Of several processes that remove a piece only one succeeds and gives its bytes back.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            ledger.give(size)

    def _read_piece(self, name: str, offset: int, length: int) -> bytes | None:
        path = self.folder / f"{name}-{offset}-{length}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with open(descriptor, "rb", buffering=0) as file:
                data = file.read(length + _CRC.size + 1)
            if _is_whole(data, length):
                os.utime(path)
                return data
        except OSError:
            pass
        self._forget(name, offset, length)
        return None

    def _forget(self, name: str, offset: int, length: int) -> None:
        path = self.folder / f"{name}-{offset}-{length}"
        with self._lock:
            self._errors += 1
            with contextlib.suppress(ValueError):
                self._pieces[name].remove((offset, length))
            with contextlib.suppress(OSError):
                self._remove(self._opened(), path, length + _CRC.size)

    def _write_piece(self, ledger: Ledger, name: str, offset: int, data: bytes) -> bool:
        """Write a piece; False when another process took the room."""
        token, size = secrets.token_bytes(8), len(data) + _CRC.size
        part = self.folder / f"{_PART}{token.hex()}-{size}"
        target = self.folder / f"{name}-{offset}-{len(data)}"
        taken = done = False
        try:
            with part.open("xb", buffering=0) as file:
                taken = ledger.take(token, size)
                if taken and not target.exists():
                    _write_all(file.fileno(), data)
                    _write_all(file.fileno(), _CRC.pack(crc32c(data)))
                    part.rename(target)
                    done = True
        finally:
            if not done:
                self._remove(ledger, part, size if taken else 0)
        return taken


class Ledger:
    """Share out a number of bytes between processes that append to one file.

    Every process reads the same entries in the same order, and so knows which of them found
    room. An append of few bytes is whole and in one place on a local disk.

    Args:
        path: The file.
        cap_bytes: Most bytes to give out.

    Attributes:
        granted: Tokens of the entries that found room, since the set was last cleared.
    """

    def __init__(self, path: Path, cap_bytes: int) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)
        self._cap_bytes = cap_bytes
        self._read_bytes = self._total = 0
        self._lock = threading.Lock()
        self.granted: set[str] = set()
        self.total()

    @property
    def is_gone(self) -> bool:
        """Tell whether somebody deleted the file."""
        return os.fstat(self._file).st_nlink == 0

    def total(self) -> int:
        """Tell how many bytes are taken now."""
        with self._lock:
            self._catch_up()
            return self._total

    def take(self, token: bytes, count: int) -> bool:
        """Ask for bytes; False when there is no room.

        Args:
            token: Eight bytes that nobody used before.
            count: How many bytes.
        """
        with self._lock:
            _write_all(self._file, _ENTRY.pack(token, count, self._cap_bytes))
            self._catch_up()
            found = token.hex() in self.granted
            self.granted.clear()
            return found

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            _write_all(self._file, _ENTRY.pack(bytes(8), -count, self._cap_bytes))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _catch_up(self) -> None:
        while data := os.pread(self._file, 1 << 20, self._read_bytes):
            whole = len(data) // _ENTRY.size * _ENTRY.size
            for token, count, cap_bytes in _ENTRY.iter_unpack(data[:whole]):
                if count < 0 or self._total + count <= cap_bytes:
                    self._total += count
                    self.granted.add(token.hex())
            self._read_bytes += whole
            if not whole:
                return


def _cover(pieces: list[tuple[int, int]], offset: int, length: int) -> list[tuple[int, int]] | None:
    """Choose pieces that hold every byte of a range, in order; None when some byte is missing."""
    at, end, chosen = offset, offset + length, []
    while at < end:
        place = bisect.bisect_right(pieces, (at, _LARGEST)) - 1
        near = pieces[max(0, place - _OVERLAPS) : place + 1]
        best = max(near, key=sum, default=(0, 0))
        if sum(best) <= at:
            return None
        chosen.append(best)
        at = sum(best)
    return chosen


def _is_whole(data: bytes, length: int) -> bool:
    if len(data) != length + _CRC.size:
        return False
    return bool(crc32c(memoryview(data)[:length]) == _CRC.unpack_from(data, length)[0])


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _digest(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()[:24]
