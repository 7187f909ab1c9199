"""Copies of what cannot be made again: the catalog, people, trainings, settings, dataset lists.

A backup is a folder named by its moment. Its last file, `backup.json`, names all others with their
sizes and SHA-256; without it a folder is no backup. Databases are packed with gzip.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import sqlalchemy as sa
from pydantic import Field

from besana import __version__
from besana.catalog import Catalog, properties
from besana.catalog.database import copy_sqlite, insert
from besana.catalog.move import move, moved_tables, rows_of
from besana.config import Settings
from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.storage import Folder, Storage, open_storage, sync_folder
from besana.workspace import CATALOG_FILE, SETTINGS_FILE, Workspace

LIST = "backup.json"
_CATALOG = f"{CATALOG_FILE}.gz"
_DATABASES = {"web.db.gz": "web.db", "mlflow.db.gz": "runs/mlflow.db"}
_DATASETS = "datasets/"
_SCRATCH = "backup-"
_SECRET = 0o600
_CHUNK_BYTES = 4_000_000
_MADE_AT = "backup_made_at"
_MOMENT = "%Y-%m-%dT%H-%M-%S-%fZ"
_GIVEN_UP = dt.timedelta(days=1)


class BackupSettings(Settings):
    """The `[backup]` table: copies of the catalog and of what else cannot be made again."""

    to: str = Field(
        default="backups",
        description="Folder or bucket for the backups of this workspace alone; better on another"
        " disk.",
    )
    keep: int = Field(default=14, ge=1, description="How many are kept; older ones are deleted.")
    hours: float = Field(
        default=24,
        ge=0,
        description="Age of the last one at which `besana web` makes another; 0: it makes none.",
    )


@dataclass(frozen=True)
class Packed:
    """One file of a backup, as it lies there."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Backup:
    """One backup.

    Attributes:
        name: Its folder.
        made_at: When, as ISO 8601 text in UTC.
        files: Its files, with what they have to be.
        rows: Rows of the catalog by table.
        besana: Which version made it.
    """

    name: str
    made_at: str
    files: dict[str, Packed]
    rows: dict[str, int]
    besana: str = __version__

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files.values())


def place_of(workspace: Workspace, settings: BackupSettings) -> str:
    """Say where the backups of a workspace lie: a folder's path or a bucket's address."""
    return settings.to if "://" in settings.to else str(workspace.path / settings.to)


def back_up(workspace: Workspace, settings: BackupSettings, now: dt.datetime) -> Backup:
    """Make a backup while others go on working, read it back, and delete those that are too old.

    SQLite's writers wait for the seconds that the copy takes; PostgreSQL's do not.

    Args:
        workspace: What to copy.
        settings: Where to, and how many to keep.
        now: With a time zone.

    Raises:
        CorruptDataError: If a database is damaged, or what was written reads differently.
        StorageError: If disk or bucket refused.
    """
    place = open_storage(place_of(workspace, settings))
    moment = now.astimezone(dt.UTC)
    name = moment.strftime(_MOMENT)
    with contextlib.ExitStack() as on_error:
        on_error.callback(_discard, place, name)
        made = _write(workspace, place, name, moment)
        on_error.pop_all()
    _remember(workspace.catalog, made.made_at)
    _prune(place, settings.keep, now)
    return made


def _write(workspace: Workspace, place: Storage, name: str, moment: dt.datetime) -> Backup:
    """Write all files, read them back, then the list."""
    files: dict[str, Packed] = {}
    rows: dict[str, int] = {}
    _clear(workspace.temporary)
    with tempfile.TemporaryDirectory(dir=workspace.temporary, prefix=_SCRATCH) as scratch:
        for key, path in _copied(workspace, Path(scratch)):
            if key == _CATALOG:
                rows = _rows(path)
            files[key] = _pack(path, place, f"{name}/{key}")
            path.unlink()
    for key, source in _plain_files(workspace):
        with _hashed(place, f"{name}/{key}") as target:
            for data in _chunks(source, key.removeprefix(_DATASETS)):
                target.write(data)
        files[key] = target.packed
    for key, packed in files.items():
        _check(place, f"{name}/{key}", packed)
    made = Backup(name, moment.isoformat(timespec="seconds"), files, rows)
    place.write(f"{name}/{LIST}", json.dumps(asdict(made), indent=1).encode())
    return made


def backup_names(place: Storage) -> list[str]:
    """List the backups that came to their end, the oldest first."""
    keys = (key.split("/") for key in place.list())
    named = sorted(key[0] for key in keys if len(key) == 2 and key[1] == LIST)
    return [name for name in named if _moment(name)]


def last_backup_at(catalog: Catalog) -> dt.datetime | None:
    """Tell when the last backup was made; None when never."""
    select = sa.select(properties.c.value).where(properties.c.key == _MADE_AT)
    found = catalog.scalar(select)
    return None if found is None else dt.datetime.fromisoformat(found)


def restore(path: Path, source: str, name: str = "") -> Backup:
    """Make a workspace of a backup; original pictures, shards and models are not in one.

    The workspace appears whole, at the end; what a kill left behind is cleared by the next try.

    Args:
        path: Where to; nothing lies there yet.
        source: Folder or bucket of the backups.
        name: Which one; empty: the last.

    Raises:
        ConfigError: If something lies there already, or the PostgreSQL catalog that the settings
            name has rows.
        CorruptDataError: If a file of the backup is not what it was.
        NotFoundError: If there is no such backup.
    """
    path = path.absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"Something lies in {path}.", "Restore into a new folder.")
    place = open_storage(source)
    chosen = _chosen(place, source, name)
    half = path.with_name(f".{path.name}.restoring")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    with contextlib.ExitStack() as on_error:
        on_error.callback(shutil.rmtree, half, ignore_errors=True)
        fetched = Folder(half)
        for key, packed in chosen.files.items():
            if not key.startswith(_DATASETS):
                _fetch(place, chosen.name, key, packed, fetched, key)
        for key, file in {_CATALOG: CATALOG_FILE, **_DATABASES}.items():
            if key in chosen.files:
                _unpack(half / key, half / file)
        _put_back(Workspace(half), place, chosen)
        half.rename(path)
        on_error.pop_all()
    sync_folder(path.parent)
    return chosen


@dataclass
class _Hashing:
    """A file that knows what was written into it."""

    file: BinaryIO
    size_bytes: int = 0
    _sha: Any = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> int:
        self._sha.update(data)
        self.size_bytes += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Leave flushing to the file's own end."""

    @property
    def packed(self) -> Packed:
        return Packed(self.size_bytes, self._sha.hexdigest())


@contextlib.contextmanager
def _hashed(place: Storage, key: str) -> Iterator[_Hashing]:
    with place.open_writer(key) as file:
        yield _Hashing(file)


def _copied(workspace: Workspace, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Copy each database, as it is at one moment, and say under which key it goes."""
    catalog, copy = workspace.catalog, scratch / "copy.db"
    if catalog.url.startswith("sqlite"):
        copy_sqlite(Path(str(sa.make_url(catalog.url).database)), copy)
    else:
        with (
            catalog.at_one_moment() as still,
            contextlib.closing(Catalog(f"sqlite:///{copy}")) as target,
        ):
            move(still, target)
    yield _CATALOG, copy
    for key, name in _DATABASES.items():
        if (workspace.path / name).exists():
            copy_sqlite(workspace.path / name, copy)
            yield key, copy


def _clear(temporary: Path) -> None:
    """Delete the scratch space of backups that were killed."""
    for path in temporary.glob(f"{_SCRATCH}*"):
        if time.time() - path.stat().st_mtime > _GIVEN_UP.total_seconds():
            shutil.rmtree(path, ignore_errors=True)


def _rows(path: Path) -> dict[str, int]:
    with contextlib.closing(Catalog(f"sqlite:///{path}")) as catalog:
        return {table.name: rows_of(catalog, [table]) for table in moved_tables(catalog)}


def _pack(path: Path, place: Storage, key: str) -> Packed:
    with _hashed(place, key) as target, path.open("rb") as file:
        raw = cast("BinaryIO", target)
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as packing:
            shutil.copyfileobj(file, packing, _CHUNK_BYTES)
    return target.packed


def _plain_files(workspace: Workspace) -> Iterator[tuple[str, Storage]]:
    """List settings, calibration files inside the workspace, and dataset files."""
    own = Folder(workspace.path)
    cameras: dict[str, dict[str, Any]] = workspace.tables.get("cameras", {})
    lenses = [camera.get("lens", {}).get("file", "") for camera in cameras.values()]
    for name in sorted({SETTINGS_FILE, *filter(None, lenses)}):
        path = os.path.normpath(name)
        if not (os.path.isabs(path) or path.startswith("..")):
            yield path, own
    for key in workspace.datasets.list():
        yield f"{_DATASETS}{key}", workspace.datasets


def _chunks(source: Storage, key: str) -> Iterator[bytes]:
    """Read an object piece by piece."""
    offset = 0
    while data := source.read_range(key, offset, _CHUNK_BYTES):
        yield data
        offset += len(data)
        if len(data) < _CHUNK_BYTES:
            return


def _check(place: Storage, key: str, packed: Packed) -> None:
    sha, size_bytes = hashlib.sha256(), 0
    for data in _chunks(place, key):
        sha.update(data)
        size_bytes += len(data)
    if Packed(size_bytes, sha.hexdigest()) != packed:
        raise CorruptDataError(
            f"{place.url}/{key} reads differently from what was written.", "Check that disk."
        )


def _remember(catalog: Catalog, made_at: str) -> None:
    with catalog.transaction() as connection:
        connection.execute(sa.delete(properties).where(properties.c.key == _MADE_AT))
        insert(connection, properties, [{"key": _MADE_AT, "value": made_at}])


def _prune(place: Storage, keep: int, now: dt.datetime) -> None:
    """Delete what is older than those to keep, and what somebody began and never ended."""
    whole = backup_names(place)
    for name in {key.partition("/")[0] for key in place.list()}:
        begun = _moment(name)
        given_up = begun is not None and name not in whole and now - begun > _GIVEN_UP
        if given_up or name in whole[:-keep]:
            _discard(place, name)


def _discard(place: Storage, name: str) -> None:
    """Delete a backup, first of all its list."""
    for key in sorted(place.list(f"{name}/"), key=lambda key: not key.endswith(LIST)):
        place.delete(key)
    if (folder := place.local_path(name)) is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _moment(name: str) -> dt.datetime | None:
    with contextlib.suppress(ValueError):
        return dt.datetime.strptime(name, _MOMENT).replace(tzinfo=dt.UTC)
    return None


def _read(place: Storage, key: str) -> Backup:
    try:
        found = json.loads(place.read(key))
        files = {name: Packed(**each) for name, each in found.pop("files").items()}
        return Backup(**found, files=files)
    except (ValueError, KeyError, TypeError):
        raise CorruptDataError(
            f"{place.url}/{key} is not the list of a backup.", "Delete that backup."
        ) from None


def _chosen(place: Storage, source: str, name: str) -> Backup:
    names = backup_names(place)
    if name and name not in names:
        raise NotFoundError(f"No backup '{name}' in {source}.", "Take one of its folders.")
    if not names:
        raise NotFoundError(f"No backup in {source}.", "Name the folder that holds them.")
    return _read(place, f"{name or names[-1]}/{LIST}")


def _fetch(
    place: Storage, name: str, key: str, packed: Packed, target: Storage, target_key: str
) -> None:
    """Copy one file out of a backup; it appears only if it is what it was."""
    with _hashed(target, target_key) as written:
        for data in _chunks(place, f"{name}/{key}"):
            written.write(data)
        if written.packed != packed:
            raise CorruptDataError(
                f"'{key}' of the backup {name} is damaged.", "Take an older one with --name."
            )


def _unpack(packed: Path, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with gzip.open(packed) as source, path.open("xb") as target:
        path.chmod(_SECRET)
        shutil.copyfileobj(source, target, _CHUNK_BYTES)
        target.flush()
        os.fsync(target.fileno())
    packed.unlink()


def _put_back(workspace: Workspace, place: Storage, chosen: Backup) -> None:
    """Bring the rows into PostgreSQL and dataset files into the store, where these are used."""
    own = f"sqlite:///{workspace.path / CATALOG_FILE}"
    with contextlib.closing(workspace.catalog) as catalog:
        if catalog.url != own:
            with contextlib.closing(Catalog(own)) as copy:
                move(copy, catalog)
            (workspace.path / CATALOG_FILE).unlink()
    for key, packed in chosen.files.items():
        if key.startswith(_DATASETS):
            rest = key.removeprefix(_DATASETS)
            if workspace.datasets.size(rest) is None:
                _fetch(place, chosen.name, key, packed, workspace.datasets, rest)
