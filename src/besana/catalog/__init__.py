"""The rows of a workspace, in SQLite or PostgreSQL."""

from besana.catalog.database import UtcDateTime, insert
from besana.catalog.rows import Catalog
from besana.catalog.tables import (
    METADATA,
    counts,
    current_class_labels,
    current_labels,
    datasets,
    frames,
    issues,
    labels,
    predictions,
    properties,
    quality,
    samples,
)

__all__ = [
    "METADATA",
    "Catalog",
    "UtcDateTime",
    "counts",
    "current_class_labels",
    "current_labels",
    "datasets",
    "frames",
    "insert",
    "issues",
    "labels",
    "predictions",
    "properties",
    "quality",
    "samples",
]
