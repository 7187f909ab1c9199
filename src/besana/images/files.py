"""Read picture files from outside safely, and write their names down so that they can be shown."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

from besana.errors import CorruptDataError

IMAGE_SUFFIXES = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "webp"}
    | {"bmp", "gif", "ico", "psd", "heic", "heif", "avif", "jp2", "dng", "nef", "cr2", "arw"}
)
"""Endings of names that claim to be pictures, also of formats that are then refused by name."""

_ATTEMPTS = 3
_REFUSALS = {
    errno.ENOENT: ("is not there any more", "vanished"),
    errno.EACCES: ("may not be read", "no_permission"),
    errno.EPERM: ("may not be read", "no_permission"),
    errno.ELOOP: ("is a link, not a file", "not_a_file"),
    errno.ENOTDIR: ("lies behind a link", "not_a_file"),
    errno.ENXIO: ("is not a regular file", "not_a_file"),
}
_UNSAFE_IN_ID = re.compile(r"[^\w.\-]")
_LONGEST_ID_PART = 80


@dataclass(frozen=True, slots=True)
class FileBytes:
    """What one file held while it did not change.

    Attributes:
        data: All of its bytes.
        modified_ns: Its modification time in nanoseconds since 1970.
    """

    data: bytes
    modified_ns: int


def read_stable(root: str, relative: str, *, limit_bytes: int, settle_s: float) -> FileBytes:
    """Read a regular file below a folder, once it has stopped changing.

    No link is followed on the way, a pipe or device is never waited for, and a file above the
    limit is refused before a byte of it is read.

    Args:
        root: The folder.
        relative: The file's path below it.
        limit_bytes: Most bytes a file may have.
        settle_s: Seconds since its last change after which a file counts as complete.

    Raises:
        CorruptDataError: With reason `not_a_file`, `too_large`, `still_changing`, `vanished`,
            `no_permission` or `unreadable`.
    """
    with _opened_below(root, relative) as descriptor:
        for _ in range(_ATTEMPTS):
            before = os.fstat(descriptor)
            _check_size_and_kind(before, relative, limit_bytes)
            age_s = time.time() - before.st_mtime
            if 0 <= age_s < settle_s:
                time.sleep(settle_s - age_s)
            os.lseek(descriptor, 0, os.SEEK_SET)
            data = _read(descriptor, relative, before.st_size + 1)
            after = os.fstat(descriptor)
            if len(data) == before.st_size and _state(after) == _state(before):
                return FileBytes(data, after.st_mtime_ns)
    raise _refused(relative, "is still being written", "still_changing")


def is_image_name(name: str) -> bool:
    """Tell whether a file's name claims a picture; hidden files never do.

    >>> is_image_name("DSC_0001.JPG"), is_image_name("._DSC_0001.JPG"), is_image_name("README")
    (True, False, False)
    """
    ending = name.rpartition(".")[2].lower()
    return ending in IMAGE_SUFFIXES and not name.startswith(".")


def escape_name(name: str) -> str:
    r"""Write a file name so that every character of it can be seen.

    Bytes that are not UTF-8, control characters, invisible and direction-changing ones and the
    backslash itself become backslash escapes; everything else stays.

    Args:
        name: The name as `os.fsdecode` gives it.

    >>> escape_name("cow\n\udcff.jpg")
    'cow\\x0a\\xff.jpg'
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(_escaped(character) for character in name)


def id_part(text: str) -> str:
    """Write a text as part of a frame id: letters, digits, `_`, `-` and `.`, at most 80.

    >>> id_part("Pen A/1"), id_part("..")
    ('Pen_A_1', '_')
    """
    return _UNSAFE_IN_ID.sub("_", text)[:_LONGEST_ID_PART].lstrip(".") or "_"


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, see PEP 383
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@contextlib.contextmanager
def _opened_below(root: str, relative: str) -> Iterator[int]:
    *folders, name = relative.split("/")
    folder_flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    with contextlib.ExitStack() as stack:
        try:
            folder = os.open(root, folder_flags)
            stack.callback(os.close, folder)
            for part in folders:
                folder = os.open(part, folder_flags | os.O_NOFOLLOW, dir_fd=folder)
                stack.callback(os.close, folder)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
            stack.callback(os.close, descriptor)
        except OSError as error:
            raise _not_opened(relative, error) from None
        yield descriptor


def _not_opened(relative: str, error: OSError) -> CorruptDataError:
    problem, reason = _REFUSALS.get(error.errno or 0, (f"is unreadable: {error}", "unreadable"))
    return _refused(relative, problem, reason)


def _check_size_and_kind(state: os.stat_result, relative: str, limit_bytes: int) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise _refused(relative, "is not a regular file", "not_a_file")
    if state.st_size > limit_bytes:
        has = f"has {state.st_size} bytes, more than max_file_bytes = {limit_bytes}"
        raise _refused(relative, has, "too_large")


def _read(descriptor: int, relative: str, most_bytes: int) -> bytes:
    parts = []
    try:
        while most_bytes > 0 and (part := os.read(descriptor, most_bytes)):
            parts.append(part)
            most_bytes -= len(part)
    except OSError as error:
        raise _refused(relative, f"cannot be read: {error.strerror}", "unreadable") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _state(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def _refused(relative: str, problem: str, reason: str) -> CorruptDataError:
    return CorruptDataError(f"'{escape_name(relative)}' {problem}.", reason=reason)
