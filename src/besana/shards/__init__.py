"""Samples in TFRecord shards: format, writer, manifest, order and the loader that trains stream.

The names below are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from besana.shards.augment import Augment
    from besana.shards.batch_augment import BatchAugment
    from besana.shards.indexing import index
    from besana.shards.loader import Batch, Loader
    from besana.shards.manifest import MANIFEST_SCHEMA, Manifest, ManifestWriter, open_manifest
    from besana.shards.packing import pack
    from besana.shards.writer import Location, ShardWriter

__all__ = [
    "MANIFEST_SCHEMA",
    "Augment",
    "Batch",
    "BatchAugment",
    "Loader",
    "Location",
    "Manifest",
    "ManifestWriter",
    "ShardWriter",
    "index",
    "open_manifest",
    "pack",
]

_MODULES = {
    "MANIFEST_SCHEMA": "manifest",
    "Augment": "augment",
    "Batch": "loader",
    "BatchAugment": "batch_augment",
    "Loader": "loader",
    "Location": "writer",
    "Manifest": "manifest",
    "ManifestWriter": "manifest",
    "ShardWriter": "writer",
    "index": "indexing",
    "open_manifest": "manifest",
    "pack": "packing",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'besana.shards' has no attribute '{name}'")
    return getattr(importlib.import_module(f"besana.shards.{_MODULES[name]}"), name)
