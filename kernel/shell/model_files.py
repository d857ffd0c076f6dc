"""The models folder: stored models, downloads in progress, uploads and leftovers.

files/<sha256>.safetensors   a model of one file          incoming/<model_id>/  a download in progress
trees/<sha256>/              a model of several files     uploads/<id>          an upload through the API
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.core.events import KeptModel
from kernel.protocol.enums import ModelState
from kernel.protocol.errors import unusable_folder
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import incoming_name, is_stored_name, local_path, upload_of, uploaded_name
from kernel.shell.fs_ops import FileSystem, sync_folder

READY_NAME: Final = "ready"
"""The name that a fetch worker gives to a complete file or folder."""
PRIVATE: Final = 0o700
OLD_S: Final = 3600.0
"""An upload is registered within moments; one that is unregistered for this long is a leftover."""


@dataclass(frozen=True, slots=True)
class Move:
    """A downloaded model, and its future name in the models folder."""

    model_id: ModelId
    file_name: str


def move_model(folder: Path, move: Move, disk: FileSystem) -> bool:
    """Move a downloaded model to its place, atomically and durably.

    The place is named by the content, so a file that is already there is the same. It may be there since a
    run that ended before its name was durable. Other downloaded files stay, for the trash.

    Returns: False, if the model is in neither place.
    Raises: OSError; then the download is where it was, if the disk allows it.
    """
    gathered, place = folder / incoming_name(move.model_id), folder / move.file_name
    if place.exists():
        sync_folder(place.parent, disk)
    elif (gathered / READY_NAME).exists():
        _put(gathered / READY_NAME, place, disk)
    else:
        return False
    return True


def _put(ready: Path, place: Path, disk: FileSystem) -> None:
    """Make it durable first: not every tool that a fetch worker uses does that."""
    _sync_all(ready, disk)
    disk.rename(ready, place)
    try:
        sync_folder(place.parent, disk)
    except OSError:
        with suppress(OSError):
            disk.rename(place, ready)
        raise


def _sync_all(path: Path, disk: FileSystem) -> None:
    """Make a file durable, or a folder with all its contents."""
    if path.is_dir():
        for inside in sorted(path.iterdir()):
            _sync_all(inside, disk)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path, disk: FileSystem) -> None:
    """Remove a file or a folder, if it exists.

    Raises: OSError.
    """
    if path.is_dir() and not path.is_symlink():
        disk.remove_tree(path)
    else:
        disk.unlink(path)


def is_there(folder: Path, row: ModelRow) -> bool:
    """True if a model's files are in the models folder or at its own path.

    A path that cannot be read counts as present; loading it will report the reason.
    """
    place = folder / row.stored if row.stored is not None else local_path(row.uri)
    try:
        return place is None or place.exists()
    except OSError:
        return True


def kept_models(folder: Path) -> tuple[KeptModel, ...]:
    """Models in the models folder under names of our own; other files are ignored, and so are those that are
    being removed or cannot be read."""
    found = []
    for kind in ("files", "trees"):
        with suppress(OSError):
            for entry in sorted((folder / kind).iterdir()):
                name = f"{kind}/{entry.name}"
                if is_stored_name(name):
                    with suppress(OSError):
                        found.append(KeptModel(name, _size_bytes(entry)))
    return tuple(found)


def _size_bytes(path: Path) -> int:
    """Raises: OSError."""
    return sum(one.lstat().st_size for one in (path, *path.rglob("*")) if not one.is_dir())


def prepare_models(folder: Path, models: Sequence[ModelRow], now_s: float, disk: FileSystem) -> None:
    """Create the folders, and remove files that belong to no model. Units: `now_s` is Unix time.

    Raises: BadConfiguration, if the folders cannot be created or read.
    """
    unready = [row for row in models if row.status is not ModelState.READY]
    uploads = {uploaded_name(upload) for row in unready if (upload := upload_of(row.uri)) is not None}
    try:
        for name in ("files", "trees", "incoming", "uploads"):
            (folder / name).mkdir(mode=PRIVATE, exist_ok=True)
        _sweep(folder / "incoming", {incoming_name(row.model_id) for row in unready}, disk)
        _sweep(folder / "uploads", uploads, disk, before_s=now_s - OLD_S)
    except OSError as error:
        raise unusable_folder(folder, error) from error


def _sweep(folder: Path, kept: set[str], disk: FileSystem, before_s: float | None = None) -> None:
    for entry in list(os.scandir(folder)):
        is_old = before_s is None or entry.stat(follow_symlinks=False).st_mtime < before_s
        if is_old and f"{folder.name}/{entry.name}" not in kept:
            with suppress(OSError):  # a leftover must not fail the start
                remove(Path(entry.path), disk)
