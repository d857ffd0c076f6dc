"""A consistent copy of the database, whether or not a Manager is using it."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from kernel.protocol.errors import Conflict, DatabaseUnusable

_BUSY_MS: Final = 5_000
_PRIVATE: Final = 0o600


@contextmanager
def read_only(database: Path) -> Iterator[apsw.Connection]:
    """A read-only connection.

    Raises: DatabaseUnusable, if there is no database or a query fails.
    """
    if not database.is_file():
        raise DatabaseUnusable(f"no database at {database}; pass the server's configuration with --config")
    try:
        with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            connection.set_busy_timeout(_BUSY_MS)
            yield connection
    except apsw.Error as error:
        raise DatabaseUnusable(f"{database} cannot be read: {error}") from error


def back_up(database: Path, destination: Path) -> int:
    """Copy the database to a temporary name, check the copy, and rename it.

    Returns: the size of the copy in bytes.
    Raises: DatabaseUnusable, if there is no database or the copy is damaged; Conflict, if the destination
    exists.
    """
    if destination.exists():
        raise Conflict(f"{destination} already exists; choose another name")
    if not destination.parent.is_dir():
        raise Conflict(f"folder {destination.parent} does not exist")
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        with read_only(database) as source:
            try:
                # SQLite keeps the mode of an existing file, so no other user can read it at any time.
                os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
                _copy(source, partial)
            except (apsw.Error, OSError) as error:
                raise DatabaseUnusable(f"{destination} cannot be written: {error}") from error
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.rename(destination)
        _sync_folder(destination.parent)
    finally:
        partial.unlink(missing_ok=True)
    return destination.stat().st_size


def _copy(source: apsw.Connection, partial: Path) -> None:
    with closing(apsw.Connection(str(partial))) as copy:
        with copy.backup("main", source, "main") as backup:
            # All pages in one step are one read transaction: in WAL mode this does not block the writer, and
            # its commits cannot restart the copy, as they would between two steps.
            backup.step(-1)
        # One plain file, without the -wal that the original's header asks for.
        copy.pragma("journal_mode", "delete")
        if (verdict := copy.pragma("quick_check")) != "ok":
            raise DatabaseUnusable(f"the backup failed its integrity check: {verdict}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
