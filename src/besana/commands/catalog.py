"""Move the catalog between SQLite and PostgreSQL, verified by counts and hashes.

Reads: every table of the catalog
Writes: every table of the other database; the first one stays as it is
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from pydantic import Field

from besana.catalog import Catalog
from besana.catalog.move import TableState, move, moved_tables, rows_of
from besana.config import Settings
from besana.console import plain_console
from besana.progress import track
from besana.workspace import CATALOG_FILE, Workspace

EXAMPLE = "besana catalog move farm --to postgresql://besana@db/farm"
ARGUMENTS = ("action", "farm")


class Config(Settings):
    """Where the rows go."""

    action: Literal["move"] = Field(description="move: copy all rows and compare both sides.")
    to: str = Field(
        description="The other database: postgresql://user@host/database or sqlite:///path."
    )


def run(workspace: Workspace, config: Config) -> dict[str, TableState]:
    """Copy all rows, compare, and say which line of `besana.toml` to change.

    Raises:
        ConfigError: If the other database holds another farm, or nobody knows such a URL.
        CorruptDataError: If a table differs afterwards.
        StorageError: If a database refused.
    """
    say = plain_console().print
    target = Catalog(config.to)
    try:
        rows = rows_of(workspace.catalog, moved_tables(workspace.catalog))
        with track("rows", rows) as advance:
            states = move(workspace.catalog, target, advance)
    finally:
        target.close()
    for name, found in states.items():
        say(f"{name}: {found.rows:,} rows, hash {found.digest:032x}")
    shown = sa.make_url(config.to).render_as_string(hide_password=True)
    own = str(workspace.path / CATALOG_FILE)
    line = "take the line away" if shown == f"sqlite:///{own}" else f'catalog = "{shown}"'
    say(f"Both sides are the same. Now write in besana.toml: {line}")
    return states
