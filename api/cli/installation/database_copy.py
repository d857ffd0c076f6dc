"""A consistent copy of the database, whether or not a Manager is using it; and back from such a copy."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Final

import apsw

from kernel.process.lock import FolderLock
from kernel.protocol.errors import Conflict, DatabaseUnusable

_BUSY_MS: Final = 5_000
_PRIVATE: Final = 0o600
_MINUTE_S: Final = 60
_TABLES: Final = frozenset({"model", "engine", "job", "image"})


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
    with _written_aside(destination) as partial, read_only(database) as source, _writing(destination):
        _copy(source, partial)
    return destination.stat().st_size


@contextmanager
def restoring(database: Path, backup: Path) -> Iterator[Path]:
    """A copy of a backup, which takes the place of the database at the end, unless there is an error.

    Until then no Manager can start.

    Raises: AlreadyRunning, if one runs; DatabaseUnusable, if the backup is not a database of this software,
    is damaged, or is of a later version.
    """
    lock = FolderLock(database.parent)
    try:
        with _written_aside(database) as partial:
            with read_only(backup) as source:
                _check(source, backup)
                with _writing(database):
                    _copy(source, partial)
            yield partial
            with _writing(database):
                _raise_epoch(partial)
                _keep_owner(database, partial)
                set_aside(database)
    finally:
        lock.release()


def aside_of(database: Path) -> Path:
    """The name that a replaced database gets: the first that no file has."""
    names = (database.with_name(f"{database.name}.old{number or ''}") for number in count())
    return next(name for name in names if not os.path.lexists(name))


def set_aside(database: Path) -> None:
    """Give the database, if there is one, a second name, after it has taken in its write-ahead log.

    The log of a damaged database gets the new name as well: beside another one it would be taken for its log.
    """
    if not database.exists():
        return
    aside = aside_of(database)
    if _is_sound(database):
        with closing(apsw.Connection(str(database))) as connection:
            connection.pragma("wal_checkpoint", "truncate")
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            database.with_name(database.name + ending).rename(aside.with_name(aside.name + ending))
    os.link(database, aside)


def _is_sound(database: Path) -> bool:
    try:
        with read_only(database) as connection:
            return bool(connection.pragma("quick_check") == "ok")
    except DatabaseUnusable:
        return False


def newest_schema() -> int:
    """The number of the newest schema that this version knows."""
    steps = resources.files("kernel").joinpath("shell", "migrations").iterdir()
    return max(int(step.name[:4]) for step in steps if step.name.endswith(".sql"))


def _check(source: apsw.Connection, file: Path) -> None:
    """Raises: DatabaseUnusable, if it is no sound database of this version or an earlier one."""
    tables = {str(name) for (name,) in source.execute("SELECT name FROM sqlite_schema")}
    if not tables >= _TABLES:
        raise DatabaseUnusable(f"{file} is not a backup of automatic-spoon")
    schema, newest = int(source.pragma("user_version")), newest_schema()
    if schema > newest:
        raise DatabaseUnusable(
            f"{file} has schema {schema}, but this version supports {newest}: upgrade, or restore another one"
        )
    if (verdict := source.pragma("integrity_check", 1)) != "ok":
        raise DatabaseUnusable(f"{file} is damaged: {verdict}")


def _raise_epoch(partial: Path) -> None:
    """Have the next Manager count from the minutes since 1970 on.

    The number of its predecessor's last start may be above that in the backup, and workers that still know it
    must not take the two for one (adr/0004). No Manager has been started once a minute since then.
    """
    with closing(apsw.Connection(str(partial))) as restored:
        restored.execute(
            "UPDATE meta SET value = max(value, ?) WHERE name = 'epoch'", (int(time.time()) // _MINUTE_S,)
        )


def _keep_owner(database: Path, partial: Path) -> None:
    """So that root can restore the database of the server's user."""
    before = (database if database.exists() else database.parent).stat()
    os.chown(partial, before.st_uid, before.st_gid)


@contextmanager
def _written_aside(destination: Path) -> Iterator[Path]:
    """An empty file that only its owner can read, and that gets its name when it is complete."""
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        with _writing(destination):
            # SQLite keeps the mode of an existing file, so no other user can read it at any time.
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
        yield partial
        with _writing(destination):
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(destination)
            _sync_folder(destination.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _writing(destination: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise DatabaseUnusable(f"{destination} cannot be written: {error}") from error


def _copy(source: apsw.Connection, partial: Path) -> None:
    with closing(apsw.Connection(str(partial))) as copy:
        with copy.backup("main", source, "main") as backup:
            # All pages in one step are one read transaction: in WAL mode this does not block the writer, and
            # its commits cannot restart the copy, as they would between two steps.
            backup.step(-1)
        # One plain file, without the -wal that the original's header asks for.
        copy.pragma("journal_mode", "delete")
        if (verdict := copy.pragma("quick_check")) != "ok":
            raise DatabaseUnusable(f"the copy failed its integrity check: {verdict}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
