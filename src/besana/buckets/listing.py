"""Pictures that lie in a bucket: found by a listing, an inventory or a table, read as they are."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_plus, urlsplit

from besana import traffic
from besana.errors import ConfigError, CorruptDataError, NotFoundError, StorageError
from besana.images.files import FileBytes, escape_name, is_image_name
from besana.images.layouts import FoundFrame, Passed, class_of
from besana.storage import BUCKETS, Bucket, check_key, open_storage

_DONE = '"done"'


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a bucket.

    Attributes:
        key: Its path below the bucket's prefix.
        size_bytes: Its size.
        modified_ns: When it was written, in nanoseconds since 1970.
    """

    key: str
    size_bytes: int
    modified_ns: int


class Listed(Bucket):
    """A bucket whose objects are listed with size and time."""

    def pages(self, after: str = "") -> Iterator[list[Entry]]:
        """List the objects behind a key, one page of a request at a time.

        Raises:
            StorageError: If the bucket refused.
        """
        with self._refusals("all", writes=True):
            for page in traffic.list_objects(self._store, None, after or None):
                yield [
                    Entry(str(item["path"]), int(item["size"]), _ns(item["last_modified"]))
                    for item in page
                ]

    def entry(self, key: str) -> Entry:
        """Ask for one object's size and time."""
        with self._refusals(key):
            item = traffic.head(self._store, key)
        return Entry(key, int(item["size"]), _ns(item["last_modified"]))


def is_bucket(root: str) -> bool:
    """Tell whether a source is a bucket.

    >>> is_bucket("s3://farms/2026"), is_bucket("/media/card")
    (True, False)
    """
    return urlsplit(root).scheme in BUCKETS and "://" in root


def list_bucket(root: str, kept: Path) -> Iterator[Entry]:
    """List a bucket once, also when the run is killed: what came is kept beside and read again.

    A listing that was interrupted goes on behind its last key. One that came to its end and
    whose entries were all taken is forgotten, so that the next run sees what is new.

    Args:
        root: The bucket and prefix.
        kept: Folder for the kept listing.

    Raises:
        StorageError: If the bucket refused.
    """
    path = kept / f"listing-{hashlib.sha256(root.encode()).hexdigest()[:16]}.jsonl"
    last, done = "", False
    if path.exists():
        _cut_torn_line(path)
        with path.open("r", encoding="utf-8") as file:
            for line in file:
                done = line.strip() == _DONE
                if not done:
                    entry = Entry(**json.loads(line))
                    last = entry.key
                    yield entry
    if not done:
        with path.open("a", encoding="utf-8") as file:
            for page in Listed(root).pages(last):
                file.writelines(json.dumps(asdict(entry)) + "\n" for entry in page)
                file.flush()
                yield from page
            file.write(_DONE + "\n")
    path.unlink()


def read_listing(root: str, address: str) -> Iterator[Entry]:
    """Read which objects there are from an S3 inventory or a CSV table.

    Args:
        root: The bucket and prefix that the keys are of.
        address: A path or URL of an inventory's `manifest.json`, or of a CSV with a column `key`
            and perhaps `size` and `last_modified`; each key without a size costs one request.

    Raises:
        NotFoundError: If it is not there.
        ConfigError: If it is neither.
    """
    prefix = urlsplit(root).path.strip("/")
    rows = _inventory(root, address) if address.endswith(".json") else _table(address)
    bucket = Listed(root)
    for row in rows:
        key = row["key"]
        if prefix and not key.startswith(f"{prefix}/"):
            continue
        below = key[len(prefix) + 1 :] if prefix else key
        if row.get("size") and row.get("last_modified"):
            modified = _ns(dt.datetime.fromisoformat(row["last_modified"]))
            yield Entry(below, int(row["size"]), modified)
        else:
            yield bucket.entry(below)


def find_in_bucket(
    root: str, band: str, layout: str, entries: Iterator[Entry]
) -> Iterator[FoundFrame | Passed]:
    """Turn a bucket's objects into frames: a folder is a camera, or a class.

    Args:
        root: The bucket and prefix.
        band: Name of the band.
        layout: `folder` or `classes`.
        entries: Its objects.
    """
    for entry in entries:
        folders, _, name = entry.key.rpartition("/")
        if not is_image_name(name):
            yield Passed(entry.key, "ignored")
            continue
        split, class_name = class_of(entry.key) if layout == "classes" else ("", None)
        yield FoundFrame(
            root=root,
            files=((band, entry.key),),
            size_bytes=entry.size_bytes,
            modified_ns=entry.modified_ns,
            folder="" if layout == "classes" else folders.rpartition("/")[2],
            class_name=class_name,
            split=split,
        )


def read_found(found: FoundFrame, path: str, limit_bytes: int) -> FileBytes:
    """Read a found frame's object whole.

    Raises:
        CorruptDataError: With reason `too_large`, `vanished`, `still_changing` or `unreadable`.
    """
    shown = escape_name(path)
    if found.size_bytes > limit_bytes:
        problem = f"'{shown}' has {found.size_bytes} bytes, more than max_file_bytes."
        raise CorruptDataError(problem, reason="too_large")
    try:
        check_key(path)
        data = open_storage(found.root).read(path)
    except NotFoundError:
        raise CorruptDataError(f"'{shown}' is gone.", reason="vanished") from None
    except StorageError as error:
        raise CorruptDataError(f"'{shown}': {error}", reason="unreadable") from None
    if len(data) != found.size_bytes:
        problem = f"'{shown}' has {len(data)} bytes, the listing said {found.size_bytes}."
        raise CorruptDataError(problem, reason="still_changing")
    return FileBytes(data, found.modified_ns)


def _ns(moment: dt.datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return round(aware.timestamp() * 1000) * 1_000_000


def _cut_torn_line(path: Path) -> None:
    """Cut off what a kill left of a last line."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)


def _opened(address: str) -> bytes:
    if not is_bucket(address):
        try:
            return Path(address).expanduser().read_bytes()
        except OSError as error:
            raise NotFoundError(f"No listing '{address}': {error.strerror}.") from None
    folder, _, name = address.rpartition("/")
    return open_storage(folder).read(name)


def _table(address: str) -> Iterator[Mapping[str, str]]:
    data = _opened(address)
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    reader = csv.DictReader(text)
    if "key" not in (reader.fieldnames or ()):
        raise ConfigError(f"'{address}' has no column 'key'.", "Its first line names the columns.")
    yield from reader


def _inventory(root: str, address: str) -> Iterator[Mapping[str, str]]:
    """Read the files of an S3 inventory, CSV or Parquet, as its manifest lists them."""
    try:
        manifest: dict[str, Any] = json.loads(_opened(address))
        files, form = manifest["files"], manifest["fileFormat"]
        schema = [name.strip() for name in manifest["fileSchema"].split(",")]
        place = manifest["destinationBucket"].rpartition(":")[2]
    except (ValueError, KeyError, AttributeError):
        raise ConfigError(f"'{address}' is no S3 inventory.", "Name its manifest.json.") from None
    bucket = open_storage(f"{urlsplit(root).scheme}://{place}")
    for file in files:
        data = bucket.read(file["key"])
        if "MD5checksum" in file and hashlib.md5(data).hexdigest() != file["MD5checksum"]:
            raise CorruptDataError(f"'{file['key']}' does not match its checksum.")
        yield from _parquet_rows(data) if form == "Parquet" else _csv_rows(data, schema)


def _csv_rows(data: bytes, schema: list[str]) -> Iterator[Mapping[str, str]]:
    with gzip.open(io.BytesIO(data), "rt", encoding="utf-8", newline="") as text:
        lines: IO[str] = text
        for values in csv.reader(lines):
            row = dict(zip(schema, values, strict=False))
            if row.get("IsLatest", "true") == "true" and row.get("IsDeleteMarker") != "true":
                # Keys in a CSV inventory are written as in an address.
                yield {
                    "key": unquote_plus(row["Key"]),
                    "size": row.get("Size", ""),
                    "last_modified": row.get("LastModifiedDate", ""),
                }


def _parquet_rows(data: bytes) -> Iterator[Mapping[str, str]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    for batch in file.iter_batches(10_000):
        for row in batch.to_pylist():
            if row.get("is_latest", True) and not row.get("is_delete_marker"):
                modified = row.get("last_modified_date")
                yield {
                    "key": row["key"],
                    "size": str(row.get("size", "")),
                    "last_modified": modified.isoformat() if modified else "",
                }
