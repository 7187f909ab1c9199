"""Find the frames in a folder: plain, by class, by band, or in Agriculture-Vision's layout."""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from besana.images.camera import Camera
from besana.images.files import IMAGE_SUFFIXES, is_image_name
from besana.images.times import parse_time

Layout = Literal["folder", "classes", "bands", "agriculture_vision"]

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
BAND_FOLDERS = {"rgb": "rgb/*", "nir": "nir/*"}
"""Bands that are found without settings, with the pattern of their files."""

_LOOKED_AT = 200
_AV_IMAGES = "field_images"


@dataclass(frozen=True, slots=True)
class FoundFrame:
    """One frame that lies in a source folder, not read yet.

    Paths are relative to the source folder, as `os.fsdecode` gives them.

    Attributes:
        root: Absolute path of the source folder.
        files: Band and path; the first band's file names the frame.
        size_bytes: Size of the first file.
        modified_ns: Modification time of the first file in nanoseconds since 1970.
        folder: Name of the folder it belongs to by its place, as a camera's; may be empty.
        class_name: Class by its folder, None without one.
        split: `train`, `val` or `test` by its folder, empty without one.
        class_masks: Class and path of the mask that shows where it holds.
        valid_masks: Paths of masks that show which pixels count.
        missing_bands: Bands that should be there and are not.
    """

    root: str
    files: tuple[tuple[str, str], ...]
    size_bytes: int
    modified_ns: int
    folder: str = ""
    class_name: str | None = None
    split: str = ""
    class_masks: tuple[tuple[str, str], ...] = ()
    valid_masks: tuple[str, ...] = ()
    missing_bands: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Path of the first file below the source folder."""
        return self.files[0][1]


@dataclass(frozen=True, slots=True)
class Passed:
    """A directory entry that is no frame.

    Attributes:
        name: Path below the source folder.
        reason: `ignored` when its name claims no picture, else why it cannot be a frame.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """A folder to collect from.

    Attributes:
        root: Absolute path.
        bands: Band and pattern of its files, as in `nir/*`; the first band is the main one. An
            empty pattern is every file.
        excluded: Absolute paths of folders that are not entered.
    """

    root: str
    bands: Mapping[str, str] = field(default_factory=lambda: {"rgb": ""})
    excluded: frozenset[str] = frozenset()


def find_frames(source: Source, layout: Layout) -> Iterator[FoundFrame | Passed]:
    """Walk a source and yield every frame and everything passed over, in no certain order.

    Memory holds the names of folders still to enter, never a list of files.
    """
    if layout == "agriculture_vision":
        return itertools.chain.from_iterable(
            _agriculture_vision(source, base) for base in _agriculture_vision_bases(source.root)
        )
    if layout == "bands":
        return _band_sets(source)
    if layout == "classes":
        return _by_class(source)
    return _plain(source)


def detect_layout(source: Source, cameras: Mapping[str, Camera]) -> Layout:
    """Tell how a source is laid out, from its folders and the first files in them.

    Folders that are cameras, by the settings or because their files are named by nothing but a
    time, are not classes.
    """
    if _agriculture_vision_bases(source.root):
        return "agriculture_vision"
    if len(source.bands) > 1 or all(
        os.path.isdir(os.path.join(source.root, name)) for name in BAND_FOLDERS
    ):
        return "bands"
    return "classes" if _has_class_folders(source.root, cameras) else "folder"


def camera_of(found: FoundFrame, cameras: Mapping[str, Camera]) -> str | None:
    """Name the camera whose `files` pattern fits, the first one in the settings' order."""
    for name, camera in cameras.items():
        if camera.files and fnmatch.fnmatchcase(found.name, camera.files):
            return name
    return None


def walk(source: Source, start: str = "") -> Iterator[tuple[str, os.stat_result] | Passed]:
    """Yield path and state of every regular file below a folder that claims a picture."""
    folders = [start]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(source.root, folder)) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if not entry.is_dir(follow_symlinks=False):
                        yield _file(entry, path)
                    elif entry.path in source.excluded or entry.name.startswith("."):
                        yield Passed(path, "ignored")
                    else:
                        folders.append(path)
        except OSError:
            yield Passed(folder, "unreadable_folder")


def _file(entry: os.DirEntry[str], path: str) -> tuple[str, os.stat_result] | Passed:
    if not is_image_name(entry.name):
        return Passed(path, "ignored")
    try:
        if entry.is_file(follow_symlinks=False):
            return path, entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return Passed(path, "vanished")
    return Passed(path, "not_a_file")


def _pictures(source: Source) -> Iterator[tuple[str, os.stat_result] | Passed]:
    """Walk a source of one band; files that do not fit its pattern are ignored."""
    pattern = next(iter(source.bands.values()))
    wanted = _pattern(pattern) if "*" in pattern else None
    for item in walk(source):
        if wanted and not isinstance(item, Passed) and not wanted.fullmatch(item[0]):
            yield Passed(item[0], "ignored")
        else:
            yield item


def _plain(source: Source) -> Iterator[FoundFrame | Passed]:
    band = next(iter(source.bands))
    for item in _pictures(source):
        if isinstance(item, Passed):
            yield item
            continue
        path, state = item
        folder = os.path.basename(os.path.dirname(os.path.join(source.root, path)))
        yield _found(source, ((band, path),), state, folder=folder)


def _by_class(source: Source) -> Iterator[FoundFrame | Passed]:
    band = next(iter(source.bands))
    for item in _pictures(source):
        if isinstance(item, Passed):
            yield item
            continue
        path, state = item
        split, class_name = class_of(path)
        yield _found(source, ((band, path),), state, split=split, class_name=class_name)


def class_of(path: str) -> tuple[str, str | None]:
    """Read split and class from a path below a folder of class folders.

    >>> class_of("train/maize/1.png"), class_of("cow/1.png"), class_of("1.png")
    (('train', 'maize'), ('', 'cow'), ('', None))
    """
    folders = path.split("/")[:-1]
    split = folders.pop(0) if folders and folders[0].lower() in SPLITS else ""
    return split, folders[0] if folders else None


def _band_sets(source: Source) -> Iterator[FoundFrame | Passed]:
    bands = source.bands if len(source.bands) > 1 else BAND_FOLDERS
    patterns = {band: _pattern(pattern) for band, pattern in bands.items()}
    first, *others = patterns
    for item in walk(source):
        if isinstance(item, Passed):
            yield item
            continue
        path, state = item
        if match := patterns[first].fullmatch(path):
            before, stem = match["before"], match["stem"]
            paths = {
                band: _existing(source.root, before + bands[band].replace("*", stem, 1))
                for band in others
            }
            files = ((first, path), *((b, p) for b, p in paths.items() if p is not None))
            missing = tuple(band for band, found in paths.items() if found is None)
            folder = os.path.basename(before.rstrip("/"))
            yield _found(source, files, state, folder=folder, missing_bands=missing)
        elif not _has_first_band(source.root, path, patterns, bands[first]):
            yield Passed(path, "no_first_band")


def _has_first_band(
    root: str, path: str, patterns: Mapping[str, re.Pattern[str]], first: str
) -> bool:
    matches = (pattern.fullmatch(path) for pattern in patterns.values())
    return any(
        _existing(root, match["before"] + first.replace("*", match["stem"], 1)) is not None
        for match in matches
        if match
    )


def _pattern(pattern: str) -> re.Pattern[str]:
    """Turn `rgb/*.jpg` into an expression with the folders `before` it and the common `stem`."""
    start, _, end = pattern.partition("*")
    # Without an ending in the pattern, the bands may have different ones.
    ending = re.escape(end) if "." in end else re.escape(end) + r"\.[^./]+"
    return re.compile(rf"(?P<before>(?:.*/)?){re.escape(start)}(?P<stem>[^/]+){ending}", re.DOTALL)


def _existing(root: str, path: str) -> str | None:
    """Return the path of a file that is there, with any ending when the path has none."""
    if "." in os.path.basename(path) and os.path.lexists(os.path.join(root, path)):
        return path
    candidates = (f"{path}.{ending}" for ending in _endings())
    return next((p for p in candidates if os.path.lexists(os.path.join(root, p))), None)


def _endings() -> Iterable[str]:
    common = ("jpg", "png", "tif", "tiff", "jpeg")
    return (*common, *(ending.upper() for ending in common), *sorted(IMAGE_SUFFIXES - {*common}))


def _agriculture_vision_bases(root: str) -> list[str]:
    """List the folders below (or at) a root that hold Agriculture-Vision's `field_images/rgb`."""
    if os.path.isdir(os.path.join(root, _AV_IMAGES, "rgb")):
        return [""]
    names = sorted(name for name in _folders(root) if name.lower() in SPLITS)
    return [name for name in names if os.path.isdir(os.path.join(root, name, _AV_IMAGES, "rgb"))]


def _agriculture_vision(source: Source, base: str) -> Iterator[FoundFrame | Passed]:
    below = f"{base}/" if base else ""
    labels = os.path.join(source.root, below, "field_labels")
    classes = sorted(_folders(labels))
    start = f"{below}{_AV_IMAGES}/rgb"
    for item in walk(source, start):
        if isinstance(item, Passed):
            yield item
            continue
        path, state = item
        stem = os.path.splitext(path.removeprefix(f"{start}/"))[0]
        nir = _existing(source.root, f"{below}{_AV_IMAGES}/nir/{stem}")
        masks = (
            (name, _existing(source.root, f"{below}field_labels/{name}/{stem}")) for name in classes
        )
        valid = (
            _existing(source.root, f"{below}{name}/{stem}")
            for name in ("field_bounds", "field_masks")
        )
        yield _found(
            source,
            (("rgb", path), ("nir", nir)) if nir else (("rgb", path),),
            state,
            split=base,
            class_masks=tuple((name, mask) for name, mask in masks if mask),
            valid_masks=tuple(path for path in valid if path),
            missing_bands=() if nir else ("nir",),
        )


def _found(
    source: Source,
    files: tuple[tuple[str, str], ...],
    state: os.stat_result,
    *,
    folder: str = "",
    class_name: str | None = None,
    split: str = "",
    class_masks: tuple[tuple[str, str], ...] = (),
    valid_masks: tuple[str, ...] = (),
    missing_bands: tuple[str, ...] = (),
) -> FoundFrame:
    return FoundFrame(
        source.root,
        files,
        state.st_size,
        state.st_mtime_ns,
        folder,
        class_name,
        split,
        class_masks,
        valid_masks,
        missing_bands,
    )


def _has_class_folders(root: str, cameras: Mapping[str, Camera]) -> bool:
    tops = _folders(root)
    splits = [name for name in tops if name.lower() in SPLITS]
    bases = [os.path.join(root, name) for name in splits] or [root]
    folders = [os.path.join(base, name) for base in bases for name in _folders(base)]
    if any(_images(base) for base in (root, *bases)) or len(folders) < 2:
        return False
    images = [_images(folder) for folder in folders]
    if not all(images):
        return False
    return bool(splits) or not _are_cameras(root, folders, images, cameras)


def _are_cameras(
    root: str,
    folders: Sequence[str],
    images: Sequence[Sequence[str]],
    cameras: Mapping[str, Camera],
) -> bool:
    names = {os.path.basename(folder) for folder in folders}
    if names & set(cameras):
        return True
    paths = [
        os.path.relpath(os.path.join(folder, name), root)
        for folder, found in zip(folders, images, strict=True)
        for name in found
    ]
    patterns = [camera.files for camera in cameras.values() if camera.files]
    if any(fnmatch.fnmatchcase(path, pattern) for path in paths for pattern in patterns):
        return True
    return all(_is_only_a_time(os.path.splitext(os.path.basename(path))[0]) for path in paths)


def _is_only_a_time(stem: str) -> bool:
    return not re.search(r"[A-SU-Za-su-z_]{2}", stem) and parse_time(stem) is not None


def _folders(path: str) -> list[str]:
    return [name for name, is_folder in _some(path) if is_folder and not name.startswith(".")]


def _images(path: str) -> list[str]:
    return [name for name, is_folder in _some(path) if not is_folder and is_image_name(name)][:20]


def _some(path: str) -> Collection[tuple[str, bool]]:
    try:
        with os.scandir(path) as entries:
            return [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in itertools.islice(entries, _LOOKED_AT)
            ]
    except OSError:
        return []
