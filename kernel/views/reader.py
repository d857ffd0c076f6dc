"""Read-only connections to the Manager's database, one for each concurrent reader; rows are frozen
dataclasses."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import apsw
import msgspec

from kernel.protocol.errors import DatabaseUnusable
from kernel.protocol.type_info import analyzed
from kernel.views.named_sql import load_list_queries

SqlValue = str | int | float | bytes | None
Row = TypeVar("Row")

FILES: Final = (
    "models.sql",
    "engines.sql",
    "jobs.sql",
    "images.sql",
    "search.sql",
    "blobs.sql",
    "events.sql",
    "counts.sql",
    "keys.sql",
    "worker_tokens.sql",
    "webhooks.sql",
    "presets.sql",
)
BUSY_TIMEOUT_MS: Final = 5_000
MOST_IDLE: Final = 4
"""Idle connections that are kept for the next readers."""
CACHE_KIB: Final = 512
"""Page cache of each connection; the system caches the file as well."""
JSON_COLUMNS: Final = frozenset(
    {
        "spec",
        "tags",
        "trigger_words",
        "found_words",
        "memory",
        "preparation",
        "image_ids",
        "warnings",
        "absent",
        "limits",
        "events",
    }
)
"""Columns with JSON text, which is decoded before the row is converted."""


class Reader:
    """Runs the named queries of `kernel/views/sql`. Thread-safe.

    A connection is opened when a query finds none idle, so a Reader can be built before the database exists.
    A connection for each thread would cost each its cache: 64 threads took 130 MB.
    """

    def __init__(self, database_file: Path) -> None:
        self._file = database_file
        self._sql = {
            name: text for file in FILES for name, text in load_list_queries("kernel.views", file).items()
        }
        self._idle: deque[apsw.Connection] = deque()
        """A stack, so that the same few connections are used."""

    def all(self, query: str, row_type: type[Row], values: Mapping[str, SqlValue]) -> list[Row]:
        """Every row of a named query.

        Raises: DatabaseUnusable, if the database cannot be opened or read now.
        """
        try:
            return [msgspec.convert(row, analyzed(row_type)) for row in self._rows(query, values)]
        except apsw.Error as error:
            raise DatabaseUnusable(f"cannot read the database: {error}") from error

    def one(self, query: str, row_type: type[Row], values: Mapping[str, SqlValue]) -> Row | None:
        """The only row of a named query, or None.

        Raises: DatabaseUnusable, if the database cannot be opened or read now.
        """
        rows = self.all(query, row_type, values)
        return rows[0] if rows else None

    def close(self) -> None:
        """Close the idle connections; no query may be running."""
        while self._idle:
            self._idle.pop().close()

    def _rows(self, query: str, values: Mapping[str, SqlValue]) -> Iterator[dict[str, object]]:
        with self.connection() as connection:
            cursor = connection.execute(self._sql[query], values)
            names: list[str] | None = None
            for row in cursor:
                if names is None:
                    names = [column[0] for column in cursor.get_description()]
                yield {name: _read(name, value) for name, value in zip(names, row, strict=True)}

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """A connection for exclusive use. One on which a query failed is not used again."""
        try:
            found = self._idle.pop()
        except IndexError:
            found = self._opened()
        try:
            yield found
        except BaseException:
            found.close(True)
            raise
        if len(self._idle) < MOST_IDLE:
            self._idle.append(found)
        else:
            found.close()

    def _opened(self) -> apsw.Connection:
        found = apsw.Connection(str(self._file), flags=apsw.SQLITE_OPEN_READONLY)
        found.set_busy_timeout(BUSY_TIMEOUT_MS)
        found.pragma("cache_size", -CACHE_KIB)
        return found


def _read(name: str, value: SqlValue) -> object:
    if name in JSON_COLUMNS and isinstance(value, str):
        return msgspec.json.decode(value)
    return value
