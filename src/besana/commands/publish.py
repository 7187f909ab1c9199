"""Publish the catalog as Delta Lake tables for Spark, Trino, Athena and DuckDB.

Reads: every table of the catalog
Writes: lake/<table>, lake/datasets.jsonl
"""

from __future__ import annotations

from pydantic import Field

from besana.config import Settings
from besana.console import plain_console
from besana.lake import Change, compact, publish, published_tables, remember
from besana.progress import track
from besana.workspace import Workspace

EXAMPLE = "besana publish farm"


class Config(Settings):
    """Where the tables go."""

    lake: str = Field(
        default="", description="Folder or bucket of the tables; empty: lake in the workspace."
    )
    compact: bool = Field(
        default=False,
        description="Afterwards put the small files of each table together; its versions stay.",
    )


def run(workspace: Workspace, config: Config) -> dict[str, Change]:
    """Bring every Delta table to what the catalog says; what did not change is left alone.

    Raises:
        MissingExtraError: If deltalake is not installed.
        StorageError: If disk or bucket refused.
        CorruptDataError: If what was read back is not what was written.
    """
    say = plain_console().print
    place = (config.lake or lake_of(workspace)).rstrip("/")
    changes = {}
    published = published_tables()
    with track("publish", len(published)) as advance:
        for table in published:
            url = f"{place}/{table.name}"
            changes[table.name] = publish(workspace.catalog, table, url)
            if config.compact and (files := compact(table, url)):
                say(f"{table.name}: {files:,} files put together")
            advance(1)
    versions = {name: change.version for name, change in changes.items()}
    remember(workspace.catalog, place, versions)
    for name, change in changes.items():
        say(
            f"{name}: version {change.version}, {change.rows:,} rows;"
            f" {change.inserted:,} new, {change.updated:,} changed, {change.deleted:,} gone"
        )
    say(f"Published to {place}")
    return changes


def lake_of(workspace: Workspace) -> str:
    """Say where the lake lies: beside the other heavy folders."""
    store = str(workspace.tables.get("store", ""))
    return f"{store.rstrip('/')}/lake" if "://" in store else str(workspace.path / store / "lake")
