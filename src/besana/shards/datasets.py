"""Frozen datasets: which there are, what is in one, and how a new one appears."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.errors import CorruptDataError, NotFoundError, NotReadyError, StorageError
from besana.statistics.groups import group_names
from besana.statistics.splits import SPLITS
from besana.storage import Storage
from besana.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from besana.shards.manifest import Manifest

Kind = Literal["single", "multi"]

# What makes a dataset this dataset; where its samples lie does not.
_CONTENT = (
    *("frame_id", "region", "crc32c", "label", "labels", "split", "fold", "group", "camera"),
    *("captured_at", "light"),
)


@dataclass(frozen=True)
class Dataset:
    """One version of a dataset, as `dataset.json` beside its manifest says.

    Attributes:
        name: Name of the dataset.
        version: Its number, from 1.
        hash: SHA-256 of its content: samples, pixels, labels, splits, folds and groups, but not
            where in which shard they lie.
        kind: `single` when each sample has one class, `multi` when each class may hold.
        classes: Class names in the order of the labels.
        samples: How many samples it has.
        groups: How many groups they form.
        folds: How many folds the samples outside test are in; 0 without.
        counts: Split to class to samples.
        leaked_by_random_split: What a random split of the same shares would have done:
            `test_samples`, `leaked`, `leaked_share`.
        recipe: How the samples were prepared.
        channels: Channels of every sample.
        size_px: Width and height of most samples.
        settings: The settings of `split` that made it, with the method it chose.
        fingerprint: The manifest's own, which also covers where the samples lie.
        created_at: When it was made, ISO 8601, UTC.
    """

    name: str
    version: int
    hash: str
    kind: Kind
    classes: tuple[str, ...]
    samples: int
    groups: int
    folds: int
    counts: Mapping[str, Mapping[str, int]]
    leaked_by_random_split: Mapping[str, float]
    recipe: str
    channels: int
    size_px: tuple[int, int]
    settings: Mapping[str, Any]
    fingerprint: str
    created_at: str
    storage: Storage = field(compare=False, repr=False)

    @property
    def place(self) -> str:
        """Name and version, as `default/3`."""
        return f"{self.name}/{self.version}"

    def manifest(self) -> Manifest:
        """Read the manifest, the loader's index.

        Raises:
            CorruptDataError: If it is not the one that belongs to this dataset.
        """
        from besana.shards.manifest import open_manifest

        manifest = open_manifest(self.storage, f"{self.place}/manifest.parquet")
        if manifest.fingerprint != self.fingerprint:
            raise CorruptDataError(
                f"The manifest of dataset {self.place} is not the one it was made with.",
                "Run: besana split",
            )
        return manifest

    def record(self) -> dict[str, Any]:
        """Give what `dataset.json` holds."""
        values = {key: value for key, value in vars(self).items() if key != "storage"}
        return {**values, "classes": list(self.classes), "size_px": list(self.size_px)}


def open_dataset(
    workspace: Workspace, name: str = "default", version: int | None = None
) -> Dataset:
    """Open a version of a dataset.

    Args:
        workspace: Where it lies.
        name: Name of the dataset.
        version: Which version; None for the last one.

    Raises:
        NotReadyError: If there is no such dataset.
        CorruptDataError: If its description cannot be read.
    """
    last = last_version(workspace, name)
    if not last or (version is not None and not 1 <= version <= last):
        wanted = name if version is None else f"{name}/{version}"
        hint = f"It has versions 1 to {last}." if last else f"Run: besana split {workspace.word}"
        raise NotReadyError(f"No dataset '{wanted}' in '{workspace.name}'.", hint)
    place = f"{name}/{version or last}"
    try:
        record = json.loads(workspace.datasets.read(f"{place}/dataset.json"))
        record["classes"], record["size_px"] = tuple(record["classes"]), tuple(record["size_px"])
        return Dataset(**record, storage=workspace.datasets)
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(
            f"dataset.json of dataset {place} cannot be read: {error}.",
            "Restore it from a copy, or run besana split for a new version.",
        ) from None


def last_version(workspace: Workspace, name: str) -> int:
    """Give the number of the last version of a dataset; 0 when there is none."""
    d = tables.datasets.c
    found = workspace.catalog.scalar(sa.select(sa.func.max(d.version)).where(d.name == name))
    return int(found or 0)


@dataclass(frozen=True)
class Settled:
    """Where the groups of an earlier version are.

    Attributes:
        group: (groups,) names of the groups, rising.
        split: (groups,) number of each group's split.
        fold: (groups,) its fold, -1 for none.
    """

    group: NDArray[np.int64]
    split: NDArray[np.int8]
    fold: NDArray[np.int8]

    def splits(self, keys: NDArray[np.uint64]) -> NDArray[np.int8]:
        """Give the split of each group by its key, -1 for a new one."""
        return self._looked_up(keys, self.split)

    def folds(self, keys: NDArray[np.uint64]) -> NDArray[np.int8]:
        """Give the fold of each group by its key, -1 for a new one or none."""
        return self._looked_up(keys, self.fold)

    def _looked_up(self, keys: NDArray[np.uint64], values: NDArray[np.int8]) -> NDArray[np.int8]:
        names = group_names(keys)
        place = np.searchsorted(self.group, names).clip(max=len(self.group) - 1)
        return np.where(self.group[place] == names, values[place], -1).astype(np.int8)


def settled_groups(workspace: Workspace, name: str, settings: Mapping[str, Any]) -> Settled | None:
    """Read where the groups of the last version are, if it was made with the same settings.

    Returns:
        None when there is no such version, or its files cannot be read any more.
    """
    from besana.shards.manifest import Coded

    try:
        dataset = open_dataset(workspace, name)
        if dict(dataset.settings) != dict(settings):
            return None
        manifest = dataset.manifest()
    except (NotReadyError, NotFoundError, CorruptDataError):
        return None
    column = manifest.column("group")
    assert not isinstance(column, Coded)
    group, first = np.unique(column, return_index=True)
    if not len(group):
        return None
    numbers = np.array([SPLITS.index(split) for split in manifest.splits], dtype=np.int8)
    return Settled(group, numbers[manifest.split[first]], manifest.fold[first])


def freeze(
    workspace: Workspace,
    name: str,
    rows: Iterable[pa.Table],
    *,
    kind: Kind,
    classes: Sequence[str],
    facts: Mapping[str, Any],
) -> tuple[Dataset, bool]:
    """Make the next version of a dataset, unless the last one has the same content.

    When only the places of the samples changed, because shards were written anew, the last
    version gets a manifest with the new places and keeps its number.

    Args:
        workspace: Where it goes.
        name: Name of the dataset.
        rows: Rows with the manifest's columns, a batch at a time.
        kind: Whether several classes may hold.
        classes: Class names in the order of the labels.
        facts: The other attributes of `Dataset`.

    Returns:
        The version with this content, and whether it is new.
    """
    import pyarrow as pa

    from besana.shards.manifest_writer import ColumnDigests, ManifestWriter, conform

    digests = ColumnDigests(_CONTENT)
    with tempfile.TemporaryDirectory(dir=workspace.temporary) as folder:
        path = Path(folder) / "manifest.parquet"
        with ManifestWriter(path, classes=classes) as writer:
            for table in rows:
                conformed = conform(table)
                digests.update(conformed)
                writer.write(conformed)
                # Arrow's pool keeps freed pages, some MB more with every row group.
                pa.default_memory_pool().release_unused()
        digest = digests.fingerprint(classes)
        last = last_version(workspace, name)
        before = open_dataset(workspace, name) if last else None
        known = before if before and before.hash == digest else None
        if known and known.fingerprint == writer.fingerprint:
            return known, False
        dataset = Dataset(
            name=name,
            version=known.version if known else last + 1,
            hash=digest,
            kind=kind,
            classes=tuple(classes),
            fingerprint=writer.fingerprint,
            created_at=known.created_at if known else dt.datetime.now(dt.UTC).isoformat(),
            storage=workspace.datasets,
            **facts,
        )
        _publish(workspace, dataset, path)
    return dataset, known is None


def _publish(workspace: Workspace, dataset: Dataset, manifest: Path) -> None:
    """Make a dataset appear: manifest, then description, then its row in the catalog.

    Each step is durable before the next begins, so that a kill between them leaves files that
    nobody refers to, and the next run writes over them.

    Args:
        workspace: Where it goes.
        dataset: What `dataset.json` shall say.
        manifest: The file that holds the manifest now.

    Raises:
        StorageError: If another process made this version in the meantime.
    """
    with (
        manifest.open("rb") as source,
        workspace.datasets.open_writer(f"{dataset.place}/manifest.parquet") as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)
    text = json.dumps(dataset.record(), indent=1, ensure_ascii=False)
    workspace.datasets.write(f"{dataset.place}/dataset.json", text.encode())
    added = workspace.catalog.insert(tables.datasets, [_row(dataset)])
    if not added and dataset.version > last_version(workspace, dataset.name):
        raise StorageError(f"Dataset {dataset.place} was not added.", "Run besana split again.")


def _row(dataset: Dataset) -> dict[str, Any]:
    columns = {column.name for column in tables.datasets.c}
    row = {key: value for key, value in dataset.record().items() if key in columns}
    return {**row, "created_at": dt.datetime.fromisoformat(dataset.created_at)}
