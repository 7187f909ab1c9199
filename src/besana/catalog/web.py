"""Rows that only the pages write: labels taken back, and pictures that somebody skipped.

They lie in the catalog, so that a label and its undoing are one transaction; they are made when
the pages first start, and count for no dataset.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Table

from besana.catalog import METADATA, Catalog, UtcDateTime, labels

_TEXT = sa.Text()

undone_labels = Table(
    "undone_labels",
    METADATA,
    *(Column(c.name, c.type, primary_key=c.primary_key, nullable=False) for c in labels.columns),
    Column("undone_at", UtcDateTime, nullable=False),
    sa.Index("undone_labels_of_sample", "frame_id", "region"),
)

skips = Table(
    "skips",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("frame_id", _TEXT, nullable=False),
    Column("region", _TEXT, nullable=False),
    Column("annotator", _TEXT, nullable=False),
    Column("reason", _TEXT, nullable=False),
    Column("note", _TEXT, nullable=False),
    Column("skipped_at", UtcDateTime, nullable=False),
    Column("undone_at", UtcDateTime),
    sa.Index("skips_of_sample", "frame_id", "region"),
)


def create_tables(catalog: Catalog) -> None:
    """Make the tables of the pages where they are missing."""
    with catalog.transaction() as connection:
        METADATA.create_all(connection, tables=[undone_labels, skips])
