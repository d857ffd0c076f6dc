"""What of the server's own can be read by others than its user, and how to change that."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from api.admin.diagnosis import Finding, Verdict
from conf.settings import Settings

_GROUP: Final = stat.S_IRGRP | stat.S_IWGRP | stat.S_IXGRP
_WORLD: Final = stat.S_IRWXO


def open_paths(settings: Settings) -> Iterator[Path]:
    """The server's folders, and its database with what lies beside it, that others may enter or read."""
    database = settings.database_file
    private = [
        settings.database.folder,
        settings.blobs.folder,
        settings.bus_folder,
        settings.database.folder / "logs",
        *(database.with_name(database.name + ending) for ending in ("", "-wal", "-shm")),
    ]
    yield from (path for path in private if is_open(path))
    if is_open(settings.images.folder, is_shared=settings.images.group_readable):
        yield settings.images.folder


def is_open(path: Path, *, is_shared: bool = False) -> bool:
    """May others than its user do anything with it, or than its group, if it is shared?

    What is not there is open to nobody, nor is what cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (_WORLD if is_shared else _GROUP | _WORLD))


def privacy(settings: Settings) -> Iterator[Finding]:
    """What others can read, and whether those who are to read the pictures can."""
    for path in open_paths(settings):
        yield Finding(
            subject="privacy",
            verdict=Verdict.NOTE,
            found=f"{path} is open to other users of this machine",
            remedy=f"chmod go= {path}, unless that is what you want",
        )
    closed = [path for path in settings.images.folder.parents if not _lets_group_through(path)]
    if settings.images.group_readable and closed:
        names = " ".join(map(str, closed))
        yield Finding(
            subject="images.group_readable",
            verdict=Verdict.NOTE,
            found=f"the group cannot pass through {names}",
            remedy=f"chmod g+x {names}",
        )


def _lets_group_through(folder: Path) -> bool:
    """A folder that is not there yet, or that all may enter, is in nobody's way."""
    try:
        return bool(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH))
    except OSError:
        return True
