"""Which of the server's files other users can access, and how to change that."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from api.installation.diagnosis import CheckResult, Verdict
from conf.settings import Settings

_GROUP: Final = stat.S_IRGRP | stat.S_IWGRP | stat.S_IXGRP
_WORLD: Final = stat.S_IRWXO


def open_paths(settings: Settings) -> Iterator[Path]:
    """The server's folders and database files that other users can access."""
    database = settings.database_file
    private = [
        settings.database.folder,
        settings.blobs.folder,
        settings.thumbnails.folder,
        settings.bus_folder,
        settings.logs_folder,
        *(database.with_name(database.name + ending) for ending in ("", "-wal", "-shm")),
    ]
    yield from (path for path in private if is_open(path))
    if is_open(settings.images.folder, is_shared=settings.images.group_readable):
        yield settings.images.folder


def is_open(path: Path, *, is_shared: bool = False) -> bool:
    """Whether anyone but the owner (and the group, if it is shared) has any permission on the path.

    False if the path does not exist or cannot be inspected.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (_WORLD if is_shared else _GROUP | _WORLD))


def privacy(settings: Settings) -> Iterator[CheckResult]:
    """Paths that other users can access, and folders that keep the group from shared images."""
    for path in open_paths(settings):
        yield CheckResult(
            subject="privacy",
            verdict=Verdict.NOTE,
            found=f"{path} is accessible to other users",
            remedy=f"run chmod go= {path}, unless this is intended",
        )
    closed = [path for path in settings.images.folder.parents if not _lets_group_through(path)]
    if settings.images.group_readable and closed:
        names = " ".join(map(str, closed))
        yield CheckResult(
            subject="images.group_readable",
            verdict=Verdict.NOTE,
            found=f"the group cannot enter {names}",
            remedy=f"run chmod g+x {names}",
        )


def _lets_group_through(folder: Path) -> bool:
    """True for a folder that the group or everyone can enter, or that does not exist yet."""
    try:
        return bool(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH))
    except OSError:
        return True
