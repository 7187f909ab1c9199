"""Views and counts inside the catalog: the current label, and rows counted as they come."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import sqlalchemy as sa

# Table -> the column whose values the rows are counted by.
COUNTED = {
    "frames": "camera",
    "quality": "''",
    "issues": "kind",
    "samples": "recipe",
    "labels": "class_name",
    "predictions": "model",
}

# One vote an annotator: the latest event. The class with most votes is the label, a tie is said.
# Who says two things at the same moment votes for both, so that somebody else has to decide.
CURRENT_LABELS = """
CREATE VIEW current_labels AS
WITH latest AS (
    SELECT frame_id, region, class_name, annotator,
        RANK() OVER (PARTITION BY frame_id, region, annotator
                     ORDER BY labelled_at DESC, added_at DESC) AS age,
        ROW_NUMBER() OVER (PARTITION BY frame_id, region, annotator
                           ORDER BY labelled_at DESC, added_at DESC, id DESC) AS word
    FROM labels WHERE holds
), votes AS (
    SELECT frame_id, region, class_name, COUNT(DISTINCT annotator) AS votes,
        SUM(CASE WHEN word = 1 THEN 1 ELSE 0 END) AS voters
    FROM latest WHERE age = 1 GROUP BY frame_id, region, class_name
), placed AS (
    SELECT frame_id, region, class_name, votes,
        SUM(voters) OVER (PARTITION BY frame_id, region) AS voters,
        LEAD(votes) OVER (PARTITION BY frame_id, region
                          ORDER BY votes DESC, class_name) AS next_votes,
        ROW_NUMBER() OVER (PARTITION BY frame_id, region
                           ORDER BY votes DESC, class_name) AS place
    FROM votes
)
SELECT frame_id, region, class_name, votes, CAST(voters AS INTEGER) AS voters,
    COALESCE(next_votes = votes, 1 = 0) AS tied
FROM placed WHERE place = 1
"""

# The same for each class by itself, where several may hold at once.
CURRENT_CLASS_LABELS = """
CREATE VIEW current_class_labels AS
WITH latest AS (
    SELECT frame_id, region, class_name, annotator, holds,
        RANK() OVER (PARTITION BY frame_id, region, class_name, annotator
                     ORDER BY labelled_at DESC, added_at DESC) AS age
    FROM labels
), votes AS (
    SELECT frame_id, region, class_name, COUNT(DISTINCT annotator) AS voters,
        COUNT(DISTINCT CASE WHEN holds THEN annotator END) AS votes,
        COUNT(DISTINCT CASE WHEN holds THEN NULL ELSE annotator END) AS against
    FROM latest WHERE age = 1 GROUP BY frame_id, region, class_name
)
SELECT frame_id, region, class_name, votes > against AS holds,
    CAST(votes AS INTEGER) AS votes, CAST(voters AS INTEGER) AS voters,
    votes = against AS tied
FROM votes
"""

VIEWS = {"current_labels": CURRENT_LABELS, "current_class_labels": CURRENT_CLASS_LABELS}

_PROPERTIES = sa.table("properties", sa.column("key"), sa.column("value"))

_SQLITE_COUNT = """
CREATE TRIGGER count_{table}_{event} AFTER {event} ON {table} BEGIN
    INSERT INTO counts (table_name, part, rows) VALUES ('{table}', {part}, {change})
    ON CONFLICT (table_name, part) DO UPDATE SET rows = rows + ({change});
END
"""

_POSTGRESQL_COUNT = """
CREATE FUNCTION count_{table}_{event}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO counts (table_name, part, rows)
    SELECT '{table}', {part}, {sign} COUNT(*) FROM changed GROUP BY 2 ORDER BY 2
    ON CONFLICT (table_name, part) DO UPDATE SET rows = counts.rows + EXCLUDED.rows;
    RETURN NULL;
END $$;
CREATE TRIGGER count_{table}_{event} AFTER {event} ON {table}
REFERENCING {side} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_{table}_{event}()
"""


# A row whose part changed leaves one count and joins another.
_SQLITE_MOVE = """
CREATE TRIGGER count_{table}_update AFTER UPDATE OF {part} ON {table}
WHEN OLD.{part} <> NEW.{part} BEGIN
    UPDATE counts SET rows = rows - 1 WHERE table_name = '{table}' AND part = OLD.{part};
    INSERT INTO counts (table_name, part, rows) VALUES ('{table}', NEW.{part}, 1)
    ON CONFLICT (table_name, part) DO UPDATE SET rows = rows + 1;
END
"""

_POSTGRESQL_MOVE = """
CREATE FUNCTION count_{table}_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO counts (table_name, part, rows)
    SELECT '{table}', part, SUM(change) FROM (
        SELECT {part} AS part, -1 AS change FROM old_rows
        UNION ALL SELECT {part}, 1 FROM new_rows
    ) AS moves GROUP BY part HAVING SUM(change) <> 0 ORDER BY part
    ON CONFLICT (table_name, part) DO UPDATE SET rows = counts.rows + EXCLUDED.rows;
    RETURN NULL;
END $$;
CREATE TRIGGER count_{table}_update AFTER UPDATE ON {table}
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_{table}_update()
"""


def views_are_current(connection: sa.Connection, views: Mapping[str, str]) -> bool:
    """Tell whether views say what this version of besana means by them.

    Args:
        connection: One of the catalog.
        views: Name -> the statement that creates it.
    """
    kept = _PROPERTIES.c
    select = sa.select(kept.key, kept.value).where(kept.key.in_([_key(name) for name in views]))
    found = {row.key: row.value for row in connection.execute(select)}
    return found == {_key(name): _digest(statement) for name, statement in views.items()}


def renew_views(connection: sa.Connection, views: Mapping[str, str]) -> None:
    """Create views, or put them in the place of those that another version of besana made.

    Their columns belong to the schema's version: PostgreSQL replaces a view only by one with the
    same columns.
    """
    for name, statement in views.items():
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
        else:  # What others have built on a view keeps it from being dropped.
            statement = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
        connection.exec_driver_sql(statement)
        key, value = _key(name), _digest(views[name])
        connection.execute(sa.delete(_PROPERTIES).where(_PROPERTIES.c.key == key))
        connection.execute(sa.insert(_PROPERTIES).values(key=key, value=value))


def _key(view: str) -> str:
    return f"view {view}"


def _digest(statement: str) -> str:
    return hashlib.sha256(statement.encode()).hexdigest()[:16]


def create_counts(connection: sa.Connection) -> None:
    """Create the counting triggers."""
    for table, column in COUNTED.items():
        for event in ("insert", "delete"):
            connection.exec_driver_sql(_trigger(connection.dialect.name, table, column, event))
        if not column.startswith("'"):
            moved = {"sqlite": _SQLITE_MOVE, "postgresql": _POSTGRESQL_MOVE}
            statement = moved[connection.dialect.name].format(table=table, part=column)
            connection.exec_driver_sql(statement)


def _trigger(dialect: str, table: str, column: str, event: str) -> str:
    adds = event == "insert"
    if dialect == "sqlite":
        row = "NEW" if adds else "OLD"
        part = column if column.startswith("'") else f"{row}.{column}"
        change = "1" if adds else "-1"
        return _SQLITE_COUNT.format(table=table, event=event, part=part, change=change)
    return _POSTGRESQL_COUNT.format(
        table=table,
        event=event,
        part=column,
        sign="" if adds else "-",
        side="NEW" if adds else "OLD",
    )
