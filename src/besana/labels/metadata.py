"""Look up the columns that a CSV keeps about files, by file name, without holding it in memory."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from besana.errors import ConfigError
from besana.images.files import escape_name
from besana.labels.tables import read_header, read_rows

NAME_COLUMNS = ("file", "frame", "image", "filename", "file_name", "name", "path")
"""Columns taken for the file name when the settings name none, the first one that is there."""

_LONGEST_ROW = 1 << 20


class MetadataTable:
    """The rows of one CSV by file name.

    Args:
        connection: Holds the rows; on disk, so memory does not grow with the file.
        columns: The columns beside the file name.
        rows: How many rows there are.
    """

    def __init__(self, connection: sqlite3.Connection, columns: list[str], rows: int) -> None:
        self._connection = connection
        self.columns = columns
        self.rows = rows

    def find(self, name: str, camera: str) -> dict[str, str] | None:
        """Find the columns of a file: by its path, else by its name alone.

        Args:
            name: Escaped path below the source folder.
            camera: Its camera, which decides between files of the same name in a table with a
                `camera` column.

        Returns:
            The columns; None when no row or no single row belongs to the file.
        """
        for key in dict.fromkeys((name, name.rpartition("/")[2])):
            query = "SELECT cells FROM rows WHERE name = ? LIMIT 1000"
            rows: list[dict[str, str]] = [
                json.loads(cells) for (cells,) in self._connection.execute(query, (key,))
            ]
            if len(rows) > 1:
                rows = [row for row in rows if row.get("camera") == camera]
            if rows:
                return rows[0] if len(rows) == 1 else None
        return None


@contextlib.contextmanager
def open_metadata(path: Path, name_column: str, temporary: Path) -> Iterator[MetadataTable]:
    """Read a CSV of metadata, for the time of the block.

    Args:
        path: The CSV.
        name_column: Its column of file names; empty for the first of `NAME_COLUMNS` in it.
        temporary: A folder for the rows on disk.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it has no column of file names, or a row cannot be used.
    """
    columns = read_header(path)
    name_column = name_column or next((name for name in NAME_COLUMNS if name in columns), "")
    if name_column not in columns:
        raise ConfigError(
            f"'{path}' has no column '{name_column or 'file'}' of file names.",
            f"Set metadata_name to one of: {', '.join(columns)}.",
        )
    file = temporary / "metadata.sqlite"
    file.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        # Scratch data: nothing is lost when it is torn.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE rows (name TEXT, cells TEXT)")
        rows = _keyed(path, name_column)
        count = connection.executemany("INSERT INTO rows VALUES (?, ?)", rows).rowcount
        connection.execute("CREATE INDEX by_name ON rows (name)")
        connection.commit()
        others = [column for column in columns if column != name_column]
        try:
            yield MetadataTable(connection, others, count)
        finally:
            file.unlink(missing_ok=True)


def _keyed(path: Path, name_column: str) -> Iterable[tuple[str, str]]:
    for row in read_rows(path):
        if row.error:
            raise ConfigError(f"'{path}', {row.error}.", "Correct that row.")
        cells: Mapping[str, str] = row.cells
        others = json.dumps({key: cell for key, cell in cells.items() if key != name_column})
        if len(others) > _LONGEST_ROW:
            raise ConfigError(f"'{path}', row {row.number} is longer than 1 MB.", "Shorten it.")
        yield escape_name(cells[name_column].strip().replace("\\", "/")), others
