"""List the pictures of class folders: their splits, classes and an order to pack them in."""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from besana.errors import ConfigError, NotFoundError
from besana.images.files import escape_name
from besana.images.layouts import FoundFrame, Passed, Source, class_of, find_frames

SPLITS = ("train", "validation", "test")
_SPLIT_OF_FOLDER = {
    **dict.fromkeys(("", "train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LEAST_SHARDS, _LEAST_PICTURES = 8, 64


class Job(NamedTuple):
    """One picture to pack.

    Attributes:
        shard: Key of the shard that it belongs to, without ending.
        number: Its place among the pictures of that shard.
        path: Its file below the folder, as `os.fsdecode` gives it.
        label: Its class, -1 for none.
    """

    shard: str
    number: int
    path: str
    label: int


class FileList:
    """Pictures below a folder, in an order that depends on their names alone.

    Paths lie in a file without a name, so that a picture takes 17 bytes of memory.

    Args:
        root: Absolute path of the folder.

    Attributes:
        passed: Entries that are no pictures, by reason; those whose names claim none left out.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.passed: Counter[str] = Counter()
        self._names = tempfile.TemporaryFile()  # noqa: SIM115  closed by close
        self._ends, self._keys, self._splits = array("Q", [0]), array("Q"), array("B")
        self._labels: dict[str, int] = {}
        self._state = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of class folders in the order of the labels."""
        return tuple(map(escape_name, self._labels))

    @property
    def fingerprint(self) -> str:
        """Hash of all names, sizes and times, whatever their order."""
        return f"{self._state:032x}"

    def __len__(self) -> int:
        return len(self._keys)

    def close(self) -> None:
        """Give the file of names back."""
        self._names.close()

    def some(self, count: int) -> list[str]:
        """Give a few paths from all over."""
        return [self._path(number) for number in np.argsort(self._keys)[:count].tolist()]

    def shards(self, shard_bytes: int, picture_bytes: float) -> Iterator[list[Job]]:
        """Cut the splits into shards of about equally many pictures, shuffled.

        Args:
            shard_bytes: About how large a shard gets.
            picture_bytes: About how large a picture gets.
        """
        keys, splits = np.frombuffer(self._keys, np.uint64), np.frombuffer(self._splits, np.uint8)
        for number, split in enumerate(SPLITS):
            members = np.flatnonzero(splits == number)
            members = members[np.argsort(keys[members])]
            by_bytes = round(len(members) * picture_bytes / shard_bytes)
            at_least = min(_LEAST_SHARDS, len(members) // _LEAST_PICTURES)
            count = max(1, by_bytes, at_least)
            for place, part in enumerate(np.array_split(members, count) if len(members) else []):
                key = f"{split}-{place:05d}-of-{count:05d}"
                yield [self._job(key, *item) for item in enumerate(part.tolist())]

    def _job(self, shard: str, place: int, number: int) -> Job:
        path = self._path(number)
        name = class_of(path)[1]
        return Job(shard, place, path, -1 if name is None else self._labels[name])

    def _path(self, number: int) -> str:
        start, end = self._ends[number], self._ends[number + 1]
        self._names.seek(start)
        return os.fsdecode(self._names.read(end - start))

    def add(self, found: FoundFrame, validation_share: float) -> None:
        """Add a picture."""
        name = os.fsencode(found.name)
        digest = hashlib.blake2b(name, digest_size=16).digest()
        split = SPLITS.index(_SPLIT_OF_FOLDER[found.split.lower()])
        if not split and int.from_bytes(digest[8:], "big") < validation_share * 2.0**64:
            split = 1
        self._names.write(name)
        self._ends.append(self._ends[-1] + len(name))
        self._keys.append(int.from_bytes(digest[:8], "big"))
        self._splits.append(split)
        state = b"%s\0%d\0%d" % (name, found.size_bytes, found.modified_ns)
        self._state += int.from_bytes(hashlib.blake2b(state, digest_size=16).digest(), "big")
        self._state %= 2**128
        if found.class_name is not None:
            self._labels[found.class_name] = -1

    def name_classes(self) -> None:
        """Number the classes by their names, once all pictures are added."""
        self._labels = {name: number for number, name in enumerate(sorted(self._labels))}


def list_files(folder: Path, out: str, validation_share: float) -> FileList:
    """Walk class folders, maybe below folders `train`, `val` and `test`.

    Args:
        folder: The folder.
        out: A folder that is not entered; empty for none.
        validation_share: Share of the training pictures to validate with, chosen by their names.

    Raises:
        NotFoundError: If there is no such folder, or no picture in it.
        ConfigError: If some pictures lie in folders of splits and others do not, or there is a
            share to validate with as well as a folder for it.
    """
    if not folder.is_dir():
        raise NotFoundError(f"No folder '{folder}'.", "Give a folder of class folders.")
    files = FileList(os.path.realpath(folder))
    try:
        _walk(files, os.path.realpath(out) if out else "", validation_share)
    except BaseException:
        files.close()
        raise
    return files


def _walk(files: FileList, out: str, validation_share: float) -> None:
    splits: dict[str, str] = {}
    for item in find_frames(Source(files.root, excluded=frozenset({out})), "classes"):
        if isinstance(item, Passed):
            files.passed.update([] if item.reason == "ignored" else [item.reason])
            continue
        files.add(item, validation_share)
        splits.setdefault(item.split, item.name)
    if not len(files):
        raise NotFoundError(f"No picture in '{files.root}'.", "Give a folder of class folders.")
    _check_splits(splits, validation_share)
    files.name_classes()


def _check_splits(splits: dict[str, str], validation_share: float) -> None:
    if "" in splits and len(splits) > 1:
        beside = " and ".join(sorted(filter(None, splits)))
        raise ConfigError(
            f"'{escape_name(splits[''])}' lies beside the folders of splits ({beside}).",
            "Move it into one of them, or pack those folders one by one.",
        )
    names = {_SPLIT_OF_FOLDER[name.lower()] for name in splits}
    if validation_share and "validation" in names:
        raise ConfigError(
            f"There is a folder to validate with, and a share of {validation_share:g} as well.",
            "Leave one of them out.",
        )
