"""Where bytes lie: a folder, or a bucket of S3, Google Cloud, Azure (obstore behind it)."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from typing_extensions import override

from besana import traffic
from besana.errors import ConfigError, NotFoundError, StorageError

BUCKETS = ("s3", "gs", "az")
_TEMPORARY = ".besana-part-"


class Storage(ABC):
    """Keep bytes under keys like `ab/abc.jpg`; small and picklable, so that workers open it too.

    Every write is durable when it returns, and whole or not there at all.
    """

    url: str

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Read everything under a key.

        Raises:
            NotFoundError: If there is nothing under the key.
            StorageError: If the disk or bucket refused.
        """

    @abstractmethod
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset` on; fewer when the object ends before."""

    def read_version(self, key: str, offset: int, length: int, tag: str) -> tuple[bytes, str]:
        """Read a range of the version with a tag (any when empty), and tell its tag if it has one.

        Raises:
            StorageError: If it was replaced since.
        """
        return self.read_range(key, offset, length), ""

    @abstractmethod
    def write(self, key: str, data: bytes | memoryview, *, replace: bool = True) -> bool:
        """Write bytes under a key, whole or not at all, durable on return.

        Returns:
            False if `replace` is False and something was there already.

        Raises:
            StorageError: If the disk or bucket refused.
        """

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Tell how many bytes lie under a key; None when there is nothing."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key; nothing happens when it is not there."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """List the keys below a prefix, sorted in a folder, as the service sorts in a bucket."""

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """Give the path of a key on this machine's disk; None in a bucket."""

    @abstractmethod
    @contextlib.contextmanager
    def open_writer(self, key: str) -> Iterator[BinaryIO]:
        """Write a large object piece by piece; it appears, durable, when the block ends well."""
        yield NotImplemented

    def below(self, prefix: str) -> Storage:
        """Open the part of this storage that lies below a prefix."""
        return open_storage(f"{self.url.rstrip('/')}/{prefix}")


def check_key(key: str) -> None:
    """Refuse a key that would leave its storage or lie at two places.

    Raises:
        StorageError: If a part of it is empty, `.` or `..`.
    """
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise StorageError(f"{key!r} is not a key.", "A key is a relative path without '..'.")


def open_storage(url: str | Path) -> Storage:
    """Open a folder or a bucket.

    Args:
        url: A path, `file:///...`, or `s3://bucket/prefix`, `gs://`, `az://`.

    Raises:
        ConfigError: If nobody knows such a URL.
    """
    scheme = urlsplit(text := str(url)).scheme
    if scheme in ("", "file"):
        return Folder(unquote(urlsplit(text).path) if scheme else text)
    if scheme in BUCKETS:
        return Bucket(text)
    raise ConfigError(f"Unknown storage '{text}'.", "Use a folder, s3://, gs:// or az://.")


_opened = lru_cache(8)(open_storage)


def read_original(frames: Storage, key: str) -> bytes:
    """Read a frame's original bytes, from the workspace or where they were left in place.

    Args:
        frames: Where a key without a scheme, `file://` or `s3://`, is read.
        key: As a frame's row has it.

    Raises:
        NotFoundError: If it is not there any more.
    """
    scheme, bucket, path = urlsplit(key)[:3]
    if scheme == "file":  # names on a disk are bytes, not always UTF-8
        return read_regular(unquote_to_bytes(path))
    root = f"{scheme}://{bucket}"
    return _opened(root).read(unquote(path[1:])) if scheme in BUCKETS else frames.read(key)


def read_regular(path: Path | bytes, *, limit_bytes: int | None = None) -> bytes:
    """Read a regular file, never a link, pipe or device.

    Raises:
        NotFoundError: If it is not there.
        StorageError: If it is not a regular file, is too large, or the disk refused.
    """
    shown = os.fsdecode(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(f"No file {shown!r}.", "It was moved or deleted.") from None
    except OSError as error:
        raise _storage_error(shown, error) from None
    with open(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise StorageError(f"{shown!r} is not a regular file.", "Only files are read.")
        if limit_bytes is not None and state.st_size > limit_bytes:
            problem = f"{shown!r} has {state.st_size} bytes, more than {limit_bytes}."
            raise StorageError(problem, "Raise the limit if this is right.")
        return file.read(-1 if limit_bytes is None else limit_bytes + 1)


class Folder(Storage):
    """Keep bytes in a folder of this machine."""

    def __init__(self, path: str | Path) -> None:
        self.root = Path(path).absolute()
        self.url = str(self.root)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self.root / key

    @override
    def local_path(self, key: str) -> Path:
        return self._path(key)

    @override
    def read(self, key: str) -> bytes:
        with self._opened(key) as file:
            return file.read()

    @override
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        with self._opened(key) as file:
            return os.pread(file.fileno(), length, offset)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        try:
            with path.open("rb", buffering=0) as file:
                yield file
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"No '{key}' in {self.url}.", "Restore a copy of it.") from None
        except OSError as error:
            raise _storage_error(f"{self.url}/{key}", error) from None

    @override
    def write(self, key: str, data: bytes | memoryview, *, replace: bool = True) -> bool:
        path = self._path(key)
        if not replace and path.exists():
            return False
        try:
            with _part_of(path, publish=Path.replace if replace else _link) as file:
                file.write(data)
        except _TakenError:
            return False
        return True

    @override
    @contextlib.contextmanager
    def open_writer(self, key: str) -> Iterator[BinaryIO]:
        with _part_of(self._path(key)) as file:
            yield file

    @override
    def size(self, key: str) -> int | None:
        path = self._path(key)
        try:
            state = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return state.st_size if stat.S_ISREG(state.st_mode) else None

    @override
    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
        except OSError as error:
            raise _storage_error(f"{self.url}/{key}", error) from None

    @override
    def list(self, prefix: str = "") -> Iterator[str]:
        folder = prefix.rpartition("/")[0]
        start = self._path(folder) if folder else self.root
        for path, folders, files in os.walk(start):
            folders.sort()
            for name in sorted(files):
                key = os.path.relpath(os.path.join(path, name), self.root)
                if key.startswith(prefix) and not name.startswith(_TEMPORARY):
                    yield key


class _TakenError(Exception):
    """Somebody else published under that name first."""


def _link(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename it refuses what is there already
    except FileExistsError:
        raise _TakenError from None


@contextlib.contextmanager
def _part_of(
    path: Path, *, publish: Callable[[Path, Path], object] = Path.replace
) -> Iterator[BinaryIO]:
    """Write beside a path; publish durably when the block ends well, leave nothing when not."""
    part = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    try:
        _make_folder(path.parent)
        with part.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(part, path)
        sync_folder(path.parent)
    except StorageError:
        raise
    except OSError as error:
        raise _storage_error(str(path), error) from None
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            part.unlink()


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, durably."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


class Bucket(Storage):
    """Keep bytes in a bucket below a prefix; credentials come from the environment."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __reduce__(self) -> tuple[type[Bucket], tuple[str]]:
        return Bucket, (self.url,)

    @cached_property
    def _store(self) -> Any:
        from obstore.store import from_url

        allow_http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return from_url(self.url, client_options={"allow_http": allow_http})

    @override
    def local_path(self, key: str) -> None:
        return None

    @override
    def read(self, key: str) -> bytes:
        with self._refusals(key):
            return traffic.get(self._store, key)

    @override
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        if length < 1:
            return b""
        try:
            with self._refusals(key):
                return traffic.get_range(self._store, key, offset, length)
        except StorageError:
            if offset >= (self.size(key) or 0):
                return b""  # the service refuses a range that begins behind the end
            raise

    @override
    def read_version(self, key: str, offset: int, length: int, tag: str) -> tuple[bytes, str]:
        with self._refusals(key):
            return traffic.get_version(self._store, key, offset, length, tag)

    @override
    def write(self, key: str, data: bytes | memoryview, *, replace: bool = True) -> bool:
        with self._refusals(key, writes=True):
            return traffic.put(self._store, key, bytes(data), replace=replace)

    @override
    @contextlib.contextmanager
    def open_writer(self, key: str) -> Iterator[BinaryIO]:
        check_key(key)
        with tempfile.TemporaryFile() as file:
            yield file
            with self._refusals(key, writes=True):
                traffic.put_file(self._store, key, file)

    @override
    def size(self, key: str) -> int | None:
        try:
            with self._refusals(key):
                return int(traffic.head(self._store, key)["size"])
        except NotFoundError:
            return None

    @override
    def delete(self, key: str) -> None:
        with contextlib.suppress(NotFoundError), self._refusals(key):
            traffic.delete(self._store, key)

    @override
    def list(self, prefix: str = "") -> Iterator[str]:
        folder = prefix.rpartition("/")[0]
        with self._refusals(folder or "all", writes=True):
            for page in traffic.list_objects(self._store, folder or None):
                names = (str(item["path"]) for item in page)
                yield from (name for name in names if name.startswith(prefix))

    @contextlib.contextmanager
    def _refusals(self, key: str, *, writes: bool = False) -> Iterator[None]:
        from obstore.exceptions import BaseError, PreconditionError

        check_key(key)
        try:
            yield
        except (FileNotFoundError, BaseError) as error:
            if isinstance(error, FileNotFoundError) and not writes:
                raise NotFoundError(f"No '{key}' in {self.url}.", "Restore a copy of it.") from None
            if isinstance(error, PreconditionError):
                raise StorageError(f"'{key}' in {self.url} was replaced.", "Start again.") from None
            problem = f"{self.url}/{key}: {str(error).splitlines()[0]}"
            raise StorageError(problem, "Check address, credentials and rights.") from None


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, as far as the system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Tell how many bytes are free on the disk that holds a path."""
    return shutil.disk_usage(path).free


def _storage_error(name: str, error: OSError) -> StorageError:
    return StorageError(f"{name}: {error.strerror or error}.", "Check the disk and its rights.")
