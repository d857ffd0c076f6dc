"""Read-only connections to the Manager's database: one per thread, rows as frozen dataclasses."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import apsw
import msgspec

from kernel.protocol.errors import DatabaseUnusable
from kernel.views.named_sql import load_queries

SqlValue = str | int | float | bytes | None
Row = TypeVar("Row")

FILES: Final = (
    "models.sql",
    "engines.sql",
    "jobs.sql",
    "images.sql",
    "blobs.sql",
    "events.sql",
    "counts.sql",
)
BUSY_TIMEOUT_MS: Final = 5_000
JSON_COLUMNS: Final = frozenset(
    {"spec", "tags", "trigger_words", "found_words", "preparation", "image_ids", "warnings"}
)
"""Columns that hold JSON text: they are read before the row is converted."""


class Reader:
    """Runs the named queries of `kernel/views/sql`. Safe to share among threads.

    A connection is opened at a thread's first query, so a Reader can be built before the database exists.
    """

    def __init__(self, database_file: Path) -> None:
        self._file = database_file
        self._sql = {
            name: text for file in FILES for name, text in load_queries("kernel.views", file).items()
        }
        self._of_thread = threading.local()
        self._lock = threading.Lock()
        self._open: list[apsw.Connection] = []

    def all(self, query: str, row_type: type[Row], values: Mapping[str, SqlValue]) -> list[Row]:
        """Every row of a named query.

        Raises: DatabaseUnusable, if the database cannot be opened or read now.
        """
        try:
            return [msgspec.convert(row, row_type) for row in self._rows(query, values)]
        except apsw.Error as error:
            raise DatabaseUnusable(f"the database cannot be read: {error}") from error

    def one(self, query: str, row_type: type[Row], values: Mapping[str, SqlValue]) -> Row | None:
        """The only row of a named query, or None.

        Raises: DatabaseUnusable, if the database cannot be opened or read now.
        """
        rows = self.all(query, row_type, values)
        return rows[0] if rows else None

    def close(self) -> None:
        """Close the connections of all threads; none of them may be reading."""
        with self._lock:
            while self._open:
                self._open.pop().close()
            self._of_thread = threading.local()

    def _rows(self, query: str, values: Mapping[str, SqlValue]) -> Iterator[dict[str, object]]:
        cursor = self._connection().execute(self._sql[query], values)
        names: list[str] | None = None
        for row in cursor:
            if names is None:
                names = [column[0] for column in cursor.get_description()]
            yield {name: _read(name, value) for name, value in zip(names, row, strict=True)}

    def _connection(self) -> apsw.Connection:
        found: apsw.Connection | None = getattr(self._of_thread, "connection", None)
        if found is None:
            found = apsw.Connection(str(self._file), flags=apsw.SQLITE_OPEN_READONLY)
            found.set_busy_timeout(BUSY_TIMEOUT_MS)
            self._of_thread.connection = found
            with self._lock:
                self._open.append(found)
        return found


def _read(name: str, value: SqlValue) -> object:
    if name in JSON_COLUMNS and isinstance(value, str):
        return msgspec.json.decode(value)
    return value
