"""A copy of the database at one moment, whether a Manager uses it or not."""

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
    """A connection that can change nothing.

    Raises: DatabaseUnusable, if there is none, or whatever is asked of it fails.
    """
    if not database.is_file():
        raise DatabaseUnusable(f"there is no database at {database}: name its configuration with --config")
    try:
        with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            connection.set_busy_timeout(_BUSY_MS)
            yield connection
    except apsw.Error as error:
        raise DatabaseUnusable(f"{database} cannot be read: {error}") from error


def back_up(database: Path, destination: Path) -> int:
    """Copy the database under a temporary name, check the copy, and give it its own name.

    Returns: the size of the copy in bytes.
    Raises: DatabaseUnusable, if there is none or the copy is not sound; Conflict, if the destination exists.
    """
    if destination.exists():
        raise Conflict(f"{destination} is there already: choose another name")
    if not destination.parent.is_dir():
        raise Conflict(f"{destination.parent} is no folder: make it first")
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        with read_only(database) as source:
            try:
                # SQLite takes the file as it is: nobody else may read it from its first byte on.
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
            # All pages in one step are one read transaction: in WAL mode the writer is not held up, and
            # its commits cannot make the copy begin again, as they would between two steps.
            backup.step(-1)
        # One plain file, without the -wal that the original's header asks for.
        copy.pragma("journal_mode", "delete")
        if (verdict := copy.pragma("quick_check")) != "ok":
            raise DatabaseUnusable(f"the copy is not sound: {verdict}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
