"""The tables of a catalog, and the views that queries join."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Table

from besana.catalog.database import UtcDateTime

METADATA = sa.MetaData()
_TEXT = sa.Text()

frames = Table(
    "frames",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("camera", _TEXT, nullable=False),
    Column("captured_at", UtcDateTime),
    Column("time_source", _TEXT, nullable=False),
    Column("name", _TEXT, nullable=False, index=True),
    Column("source", _TEXT, nullable=False),
    Column("source_size_bytes", sa.BigInteger, nullable=False),
    Column("source_modified_ns", sa.BigInteger, nullable=False),
    Column("bands", sa.JSON, nullable=False),
    Column("sha256", _TEXT, nullable=False),
    Column("size_bytes", sa.BigInteger, nullable=False),
    Column("width_px", sa.Integer),
    Column("height_px", sa.Integer),
    Column("metadata", sa.JSON, nullable=False),
    Column("collected_at", UtcDateTime, nullable=False),
)

quality = Table(
    "quality",
    METADATA,
    Column("frame_id", _TEXT, primary_key=True),
    Column("width_px", sa.Integer, nullable=False),
    Column("height_px", sa.Integer, nullable=False),
    Column("channels", sa.Integer, nullable=False),
    Column("brightness", sa.Float, nullable=False),
    Column("dark_share", sa.Float, nullable=False),
    Column("bright_share", sa.Float, nullable=False),
    Column("contrast", sa.Float, nullable=False),
    Column("sharpness", sa.Float, nullable=False),
    Column("entropy_bits", sa.Float, nullable=False),
    Column("perceptual_hash", sa.BigInteger, nullable=False),
    Column("light", _TEXT, nullable=False),
    Column("shift_x_px", sa.Float),
    Column("shift_y_px", sa.Float),
    Column("thumbnail", sa.LargeBinary),
)

issues = Table(
    "issues",
    METADATA,
    Column("frame_id", _TEXT, primary_key=True),
    Column("kind", _TEXT, primary_key=True),
    Column("stage", _TEXT, nullable=False),
    Column("blocks", sa.Boolean, nullable=False),
    Column("score", sa.Float),
    Column("detail", _TEXT),
    Column("found_at", UtcDateTime, nullable=False),
)

samples = Table(
    "samples",
    METADATA,
    Column("frame_id", _TEXT, primary_key=True),
    Column("region", _TEXT, primary_key=True),
    Column("recipe", _TEXT, nullable=False),
    Column("shard", _TEXT, nullable=False),
    Column("offset_bytes", sa.BigInteger, nullable=False),
    Column("length_bytes", sa.BigInteger, nullable=False),
    Column("payload_offset_bytes", sa.BigInteger, nullable=False),
    Column("payload_length_bytes", sa.BigInteger, nullable=False),
    Column("crc32c", sa.BigInteger, nullable=False),
    Column("width_px", sa.Integer, nullable=False),
    Column("height_px", sa.Integer, nullable=False),
    Column("channels", sa.Integer, nullable=False),
    Column("prepared_at", UtcDateTime, nullable=False),
)

labels = Table(
    "labels",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("frame_id", _TEXT, nullable=False),
    Column("region", _TEXT, nullable=False),
    Column("class_name", _TEXT, nullable=False),
    Column("holds", sa.Boolean, nullable=False),
    Column("annotator", _TEXT, nullable=False),
    Column("source", _TEXT, nullable=False),
    Column("labelled_at", UtcDateTime, nullable=False),
    Column("note", _TEXT, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    sa.Index("labels_of_sample", "frame_id", "region"),
)

datasets = Table(
    "datasets",
    METADATA,
    Column("name", _TEXT, primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    Column("hash", _TEXT, nullable=False),
    Column("kind", _TEXT, nullable=False),
    Column("classes", sa.JSON, nullable=False),
    Column("samples", sa.BigInteger, nullable=False),
    Column("settings", sa.JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

predictions = Table(
    "predictions",
    METADATA,
    Column("frame_id", _TEXT, primary_key=True),
    Column("region", _TEXT, primary_key=True),
    Column("model", _TEXT, primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    Column("class_name", _TEXT, nullable=False),
    Column("probability", sa.Float, nullable=False),
    Column("probabilities", sa.JSON, nullable=False),
    Column("predicted_at", UtcDateTime, nullable=False),
)

counts = Table(
    "counts",
    METADATA,
    Column("table_name", _TEXT, primary_key=True),
    Column("part", _TEXT, primary_key=True),
    Column("rows", sa.BigInteger, nullable=False),
)

properties = Table(
    "properties",
    METADATA,
    Column("key", _TEXT, primary_key=True),
    Column("value", _TEXT, nullable=False),
)

current_labels = sa.table(
    "current_labels",
    *(sa.column(name, _TEXT) for name in ("frame_id", "region", "class_name")),
    *(sa.column(name, sa.Integer) for name in ("votes", "voters")),
    sa.column("tied", sa.Boolean),
)

current_class_labels = sa.table(
    "current_class_labels",
    *(sa.column(name, _TEXT) for name in ("frame_id", "region", "class_name")),
    *(sa.column(name, sa.Integer) for name in ("votes", "voters")),
    *(sa.column(name, sa.Boolean) for name in ("holds", "tied")),
)
