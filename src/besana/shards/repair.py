"""What `prepare` does again: originals that are back, samples that were lost or damaged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.errors import CorruptDataError, NotFoundError
from besana.shards.tfrecord import open_record
from besana.storage import Storage
from besana.workspace import Workspace

_AT_ONCE = 16
_PAGE_ROWS = 500


def retry_missing(catalog: Catalog) -> None:
    """Forget that originals were missing: they may be back."""
    issues = tables.issues.c
    if not catalog.counted(tables.issues).get("missing"):
        return
    with catalog.transaction() as connection:
        connection.execute(
            sa.delete(tables.issues).where(issues.kind == "missing", issues.stage == "prepare")
        )


def forget_damaged(workspace: Workspace, advance: Callable[[int], None]) -> int:
    """Read every sample; forget all samples of a frame of which one is lost or damaged.

    Labels belong to frame and region and stay. Memory: some records at a time.

    Args:
        workspace: Where samples and shards are.
        advance: Told how many samples were read.

    Returns:
        How many samples were lost or damaged.

    Raises:
        StorageError: If a disk or bucket refused; then nobody knows what is lost.
    """
    s, damaged = tables.samples.c, 0
    pages = workspace.catalog.pages(sa.select(tables.samples), [s.frame_id, s.region], _PAGE_ROWS)
    with ThreadPoolExecutor(_AT_ONCE) as readers:
        for page in pages:
            whole = readers.map(partial(_is_whole, workspace.shards), page)
            frames = [row.frame_id for row, good in zip(page, whole, strict=True) if not good]
            if frames:
                with workspace.catalog.transaction() as connection:
                    connection.execute(sa.delete(tables.samples).where(s.frame_id.in_(frames)))
            damaged += len(frames)
            advance(len(page))
    return damaged


def _is_whole(shards: Storage, row: sa.Row[Any]) -> bool:
    try:
        record = shards.read_range(row.shard, row.offset_bytes, row.length_bytes)
        open_record(memoryview(record), crc=row.crc32c)
    except (CorruptDataError, NotFoundError):
        return False
    return True
