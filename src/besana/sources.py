"""Where pictures are collected from: folders, buckets, remotes of rclone, checked beforehand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from besana import catalog as tables
from besana.buckets.listing import is_bucket
from besana.buckets.rclone import WORD, is_remote, root_of
from besana.errors import ConfigError, NotFoundError
from besana.images.layouts import Source
from besana.workspace import Workspace

_OWN_FOLDERS = ("frames", "shards", "datasets", "embeddings", "models", "runs", "reports", "lake")


def read_sources(
    workspace: Workspace, texts: Sequence[str], *, in_place: bool = False
) -> list[Source]:
    """Find the sources that somebody named.

    Args:
        workspace: What collects; its own folders are never entered.
        texts: Folders, from here or from the workspace, buckets, or remotes of rclone.
        in_place: Whether the pictures are to stay where they are.

    Raises:
        ConfigError: If none is named at first, or two of them overlap.
        NotFoundError: If a folder is not there.
    """
    if not texts and not workspace.catalog.counted(tables.frames):
        raise ConfigError(
            "Nothing says where the pictures are.",
            f"Run: besana collect {workspace.word} FOLDER",
        )
    roots = dict.fromkeys(_root(workspace, text) for text in texts)
    own = frozenset(os.path.realpath(workspace.path / folder) for folder in _OWN_FOLDERS)
    for root in roots:
        if root in own:
            raise ConfigError(f"'{root}' is besana's own folder.", "Name the pictures' folder.")
    for root, other in itertools.permutations(roots, 2):
        if root.startswith(other.rstrip("/") + "/"):
            raise ConfigError(f"'{root}' lies inside '{other}'.", "Name only one of them.")
    if in_place and any(map(is_remote, roots)):
        raise ConfigError(
            "Pictures on a remote of rclone cannot stay where they are.", "Leave out --in-place."
        )
    bands = workspace.bands
    if len(bands) > 1 and not all("*" in pattern for pattern in bands.values()):
        raise ConfigError(
            "A band in [bands] has a pattern without '*'.", 'Write it as in rgb = "rgb/*".'
        )
    return [Source(root, bands, own) for root in roots]


def _root(workspace: Workspace, text: str) -> str:
    if text.startswith(WORD):
        return _one_band(workspace, root_of(text))
    if is_bucket(text):
        return _bucket(workspace, text.rstrip("/"))
    if "://" in text:
        raise ConfigError(f"'{text}' is not a folder.", "Mount or copy it, then name the folder.")
    for path in (Path(text).expanduser(), workspace.path / text):
        if path.is_dir():
            return os.path.realpath(path)
    raise NotFoundError(f"No folder '{text}'.", "Check the name of the source.")


def _one_band(workspace: Workspace, url: str) -> str:
    if len(workspace.bands) > 1:
        raise ConfigError(
            "Frames of several bands are collected from folders only.", "Copy them first."
        )
    return url


def _bucket(workspace: Workspace, url: str) -> str:
    _one_band(workspace, url)
    store = str(workspace.tables.get("store", "")).rstrip("/")
    if store and (url == store or url.startswith((f"{store}/frames", f"{store}/shards"))):
        raise ConfigError(f"'{url}' is besana's own place.", "Name the pictures' prefix.")
    return url
