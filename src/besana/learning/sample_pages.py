"""Samples of the catalog, a page at a time, as small manifests that the loader reads."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest

_PAGE_ROWS = 4096

#: What a manifest takes from the catalog's samples as it is.
PLACE = (
    *("frame_id", "region", "shard", "offset_bytes", "length_bytes", "payload_offset_bytes"),
    *("payload_length_bytes", "crc32c", "height_px", "width_px", "channels"),
)


def usable_samples() -> sa.Select[Any]:
    """Select where each sample lies whose frame is not kept out by an issue."""
    samples, issues = tables.samples.c, tables.issues.c
    kept_out = sa.exists().where(issues.frame_id == samples.frame_id, issues.blocks)
    return sa.select(*(samples[name] for name in PLACE)).where(~kept_out)


def sample_pages(
    workspace: Workspace, select: sa.Select[Any], rows: int = _PAGE_ROWS
) -> Iterator[list[dict[str, Any]]]:
    """Walk over samples in pages; the caller may write between two of them.

    Args:
        workspace: Whose samples.
        select: `usable_samples()`, perhaps with more conditions.
        rows: Samples a page.
    """
    key = [tables.samples.c.frame_id, tables.samples.c.region]
    for page in workspace.catalog.pages(select, key, rows):
        yield [dict(row._mapping) for row in page]


@contextlib.contextmanager
def manifest_of(rows: Sequence[Mapping[str, Any]], temporary: Path) -> Iterator[Manifest]:
    """Make a manifest of some rows that is gone after the block.

    Args:
        rows: With the keys of `PLACE`.
        temporary: Folder for its file.
    """
    from besana.shards.manifest import open_manifest
    from besana.shards.manifest_writer import ManifestWriter

    with tempfile.TemporaryDirectory(dir=temporary) as folder:
        path = Path(folder) / "manifest.parquet"
        with ManifestWriter(path) as writer:
            writer.write([{name: row[name] for name in PLACE} for row in rows])
        yield open_manifest(path)
