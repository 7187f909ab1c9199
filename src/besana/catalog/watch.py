"""Rows of the watch: drift, samples that a model wishes labelled, retrainings, what was served.

They are made when the watch or a server first writes; besana's other rows know nothing of them.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Table

from besana.catalog import METADATA, Catalog, UtcDateTime
from besana.catalog.views import renew_views, views_are_current

_TEXT = sa.Text()

drift = Table(
    "drift",
    METADATA,
    Column("model", _TEXT, primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    Column("camera", _TEXT, primary_key=True),
    Column("region", _TEXT, primary_key=True),
    Column("signal", _TEXT, primary_key=True),
    Column("window_end", UtcDateTime, primary_key=True),
    Column("window_start", UtcDateTime, nullable=False),
    Column("samples", sa.BigInteger, nullable=False),
    Column("value", sa.Float),
    Column("expected", sa.Float),
    Column("low", sa.Float),
    Column("high", sa.Float),
    Column("score", sa.Float),
    Column("score_limit", sa.Float),
    Column("state", _TEXT, nullable=False),
    Column("alerted", sa.Boolean, nullable=False),
    Column("looked_at", UtcDateTime, nullable=False),
)

wishes = Table(
    "wishes",
    METADATA,
    Column("frame_id", _TEXT, primary_key=True),
    Column("region", _TEXT, primary_key=True),
    Column("retraining", sa.Integer, primary_key=True),
    Column("rank", sa.Integer, nullable=False),
    Column("reason", _TEXT, nullable=False),
    Column("wished_at", UtcDateTime, nullable=False),
)

retrainings = Table(
    "retrainings",
    METADATA,
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    Column("model", _TEXT, nullable=False),
    Column("reason", _TEXT, nullable=False),
    Column("state", _TEXT, nullable=False),
    Column("facts", sa.JSON, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

model_versions = Table(
    "model_versions",
    METADATA,
    Column("model", _TEXT, primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    Column("run", _TEXT, nullable=False),
    Column("dataset", _TEXT, nullable=False),
    Column("dataset_version", sa.Integer, nullable=False),
    Column("dataset_hash", _TEXT, nullable=False),
    Column("noted_at", UtcDateTime, nullable=False),
)

dataset_samples = Table(
    "dataset_samples",
    METADATA,
    Column("dataset", _TEXT, primary_key=True),
    Column("dataset_version", sa.Integer, primary_key=True),
    Column("frame_id", _TEXT, primary_key=True),
    Column("region", _TEXT, primary_key=True),
    Column("split", _TEXT, nullable=False),
)

served = Table(
    "served",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("region", _TEXT, primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    Column("model", _TEXT, nullable=False),
    Column("role", _TEXT, nullable=False),
    Column("camera", _TEXT, nullable=False),
    Column("served_at", UtcDateTime, nullable=False, index=True),
    Column("class_name", _TEXT, nullable=False),
    Column("probability", sa.Float, nullable=False),
    Column("probabilities", sa.JSON, nullable=False),
    Column("sha256", _TEXT, nullable=False),
    Column("quality", sa.JSON, nullable=False),
    Column("embedding", sa.LargeBinary),
    Column("kept_share", sa.Float),
)

WISHED = """
CREATE VIEW wished AS
SELECT w.frame_id, w.region, w.retraining, w.rank, w.reason FROM wishes AS w
WHERE NOT EXISTS (
    SELECT 1 FROM labels AS l
    WHERE l.frame_id = w.frame_id AND l.region = w.region AND l.added_at >= w.wished_at)
"""

# One row for each label event behind a model version, from the version to the frame's file.
LINEAGE = """
CREATE VIEW lineage AS
SELECT v.model, v.version, v.run, v.dataset, v.dataset_version, v.dataset_hash, s.split,
    s.frame_id, s.region, l.class_name, l.holds, l.annotator, l.labelled_at,
    f.camera, f.captured_at, f.name AS frame_name, f.sha256
FROM model_versions AS v
JOIN datasets AS d ON d.name = v.dataset AND d.version = v.dataset_version
JOIN dataset_samples AS s ON s.dataset = v.dataset AND s.dataset_version = v.dataset_version
JOIN labels AS l ON l.frame_id = s.frame_id AND l.region = s.region
    AND l.added_at <= d.created_at
JOIN frames AS f ON f.id = s.frame_id
"""

TABLES = (drift, wishes, retrainings, model_versions, dataset_samples)
_VIEWS = {"wished": WISHED, "lineage": LINEAGE}


def create_tables(catalog: Catalog) -> None:
    """Make the tables and views of the watch where they are missing."""
    with catalog.transaction() as connection:
        METADATA.create_all(connection, tables=list(TABLES))
        if not views_are_current(connection, _VIEWS):
            renew_views(connection, _VIEWS)


def has_tables(catalog: Catalog) -> bool:
    """Tell whether the watch has written here before; asking makes nothing."""
    with catalog.transaction() as connection:
        return bool(sa.inspect(connection).has_table(retrainings.name))


def create_served(catalog: Catalog) -> None:
    """Make the table `served` where it is missing, and the column that older ones lack."""
    with catalog.transaction() as connection:
        served.create(connection, checkfirst=True)
        columns = {one["name"] for one in sa.inspect(connection).get_columns(served.name)}
        if served.c.kept_share.name not in columns:
            connection.exec_driver_sql("ALTER TABLE served ADD COLUMN kept_share FLOAT")


def has_served(catalog: Catalog) -> bool:
    """Tell whether this workspace has ever served; asking makes nothing."""
    with catalog.transaction() as connection:
        return bool(sa.inspect(connection).has_table(served.name))
