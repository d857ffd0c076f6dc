"""File modes of the server's files: private to their owner; with images.group_readable, images are readable
by the group.

New files are private by the umask (kernel/process/startup.py). Files of older versions are tightened once;
changes that a person makes later stay. A folder that existed before this server used it keeps its mode, and
so does every file whose name is not one of ours.
"""

import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.core.ports import Folder
from kernel.process.lock import LOCK_FILE
from kernel.process.log import line
from kernel.shell.files import GROUP_FILE, INSTALLATION_FILE, is_own_name
from kernel.shell.model_files import kept_models
from kernel.shell.store import Store

log = logging.getLogger("manager")

_OTHERS: Final = 0o077
_GROUP_FOLDER: Final = 0o750


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which the server keeps files."""

    folder: Path
    paths: Iterable[Path]
    """The server's own files in it, perhaps with the folder itself."""
    is_shared: bool = False
    """True if the group may read it."""


def database_place(database: Path, logs: Path) -> Place:
    """The database, the files beside it and the logs; the folders only if there was a database before."""
    folder = database.parent
    files = [folder / LOCK_FILE, *(database.with_name(database.name + end) for end in ("", "-wal", "-shm"))]
    return Place(folder, [folder, *files, logs, *logs.glob("*.log")] if database.exists() else [])


def marked(folders: Mapping[Folder, Path]) -> frozenset[Folder]:
    """The folders that an installation has claimed before."""
    return frozenset(name for name, path in folders.items() if (path / INSTALLATION_FILE).exists())


def settle(
    store: Store, folders: Mapping[Folder, Path], were_ours: Set[Folder], *, are_images_shared: bool
) -> None:
    """Set the modes of the files in the folders once, and again when the setting changes."""
    if store.access() == int(are_images_shared):
        return
    for name in (Folder.IMAGES, Folder.BLOBS):
        is_shared = are_images_shared and name is Folder.IMAGES
        if name in were_ours or is_shared:
            tighten(Place(folders[name], _images(folders[name]), is_shared))
    if Folder.MODELS in were_ours:
        tighten(Place(folders[Folder.MODELS], _models(folders[Folder.MODELS])))
    store.remember_access(int(are_images_shared))


def tighten(place: Place) -> None:
    """Set the modes of the server's files in one folder; `spoon doctor` reports those that cannot be
    changed."""
    changed = sum(_set_mode(path, is_shared=place.is_shared) for path in place.paths)
    if changed:
        log.info(line("access_set", folder=place.folder, paths=changed, group=place.is_shared))


def _models(folder: Path) -> Iterator[Path]:
    """Downloaded models. A person may keep models beside them, so the folder itself is left as it is."""
    yield from (folder / name for name in (INSTALLATION_FILE, "files", "trees", "incoming", "uploads"))
    for kept in kept_models(folder):
        place = folder / kept.name
        yield from (place, *place.rglob("*"))


def _images(folder: Path) -> Iterator[Path]:
    yield folder
    with suppress(OSError):  # the storage audit reports it
        for entry in os.scandir(folder):
            if is_own_name(entry.name) or entry.name == INSTALLATION_FILE:
                yield Path(entry.path)


def _set_mode(path: Path, *, is_shared: bool) -> bool:
    """Set a mode; True, if it was changed. Links and files of other users are skipped."""
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
            return False
        mode = stat.S_IMODE(found.st_mode)
        group = _GROUP_FOLDER if stat.S_ISDIR(found.st_mode) else GROUP_FILE
        wanted = mode & ~_OTHERS | (group & _OTHERS if is_shared else 0)
        if wanted != mode:
            path.chmod(wanted)
            return True
    return False
