"""Files, written, moved and removed by a thread of their own, so that the broker never waits for a disk."""

import hashlib
import os
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Final

from kernel.core.events import ModelMoved, ModelNotMoved, PictureNotStored, PictureStored
from kernel.protocol.codec import Frame
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import ImageId
from kernel.shell.model_files import Move, move_model, remove

PART_ENDING: Final = ".part"
INSTALLATION_FILE: Final = ".spoon-installation"
_OWN_NAME: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(png|jpg|webp)(\.part)?")
"""A UUID and the ending of its picture, as kernel.core.pictures names them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a picture, and what they should be."""

    image_id: ImageId
    file_name: str
    sha256: str
    data: Frame


@dataclass(frozen=True, slots=True)
class Removed:
    """These files are no more; named as the trash names them, `folder/name`."""

    file_names: tuple[str, ...]


Outcome = PictureStored | PictureNotStored | ModelMoved | ModelNotMoved | Removed


class FileThread:
    """Takes pictures to write, models to move and files to remove, and does so in that very order; `outcomes`
    fills up, and `fileno` becomes readable."""

    def __init__(self, folders: dict[str, Path]) -> None:
        """`folders` exist, and have the names that the trash knows them by: `images`, `blobs`, `models`."""
        self._folders = folders
        self._tasks: SimpleQueue[Picture | Move | tuple[str, ...] | None] = SimpleQueue()
        self._outcomes: deque[Outcome] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = Thread(target=self._run, name="files", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._wake

    def store(self, picture: Picture) -> None:
        self._tasks.put(picture)

    def move_model(self, move: Move) -> None:
        self._tasks.put(move)

    def remove(self, file_names: Sequence[str]) -> None:
        self._tasks.put(tuple(file_names))

    def take_outcomes(self) -> list[Outcome]:
        """What has been done since the last call."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return []
        return [self._outcomes.popleft() for _ in range(len(self._outcomes))]

    def close(self) -> None:
        """Finish what was asked for, then end the thread."""
        self._tasks.put(None)
        self._thread.join()
        os.close(self._wake)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._outcomes.append(self._do(task))
            os.eventfd_write(self._wake, 1)

    def _do(self, task: Picture | Move | tuple[str, ...]) -> Outcome:
        match task:
            case Picture():
                return self._write(task)
            case Move():
                return self._move(task)
            case file_names:
                return self._remove(file_names)

    def _write(self, picture: Picture) -> Outcome:
        if hashlib.sha256(picture.data).hexdigest() != picture.sha256:
            return PictureNotStored(picture.image_id, "its bytes are not those that the worker sent")
        try:
            write_durably(self._folders["images"], picture.file_name, picture.data)
        except OSError as error:
            return PictureNotStored(picture.image_id, error.strerror or str(error))
        return PictureStored(picture.image_id)

    def _move(self, move: Move) -> Outcome:
        try:
            is_there = move_model(self._folders["models"], move)
        except OSError as error:
            return ModelNotMoved(move.model_id, error.strerror or str(error))
        return ModelMoved(move.model_id) if is_there else ModelNotMoved(move.model_id)

    def _remove(self, file_names: tuple[str, ...]) -> Outcome:
        removed = []
        for file_name in file_names:
            folder, _, name = file_name.partition("/")
            try:
                if folder == "models":
                    remove(self._folders[folder] / name)
                else:
                    (self._folders[folder] / name).unlink(missing_ok=True)
            except OSError:
                continue  # it stays in the trash, and is tried again
            removed.append(file_name)
        return Removed(tuple(removed))


def write_durably(folder: Path, name: str, data: Frame) -> None:
    """Write a file so that it is there wholly or not at all, also after a power cut.

    Raises: OSError; then nothing of it is left, not even the temporary file.
    """
    part = folder / (name + PART_ENDING)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / name)
        sync_folder(folder)
    except OSError:
        for left in (part, folder / name):
            left.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Source: fsync(2), NOTES."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def claim_folder(folder: Path, installation: int) -> None:
    """Make a folder this installation's own: two of them would sweep away each other's pictures.

    Raises: BadConfiguration, if the folder cannot be made or written, or belongs to another installation.
    """
    mark = folder / INSTALLATION_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            write_durably(folder, INSTALLATION_FILE, f"{installation:x}\n".encode())
        owner = mark.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise BadConfiguration(f"{folder} cannot be used: {error.strerror}") from error
    if owner != f"{installation:x}":
        raise BadConfiguration(
            f"{folder} holds the files of another database: configure another folder, "
            f"or delete {mark} if that database is no more"
        )


def sweep(folder: Path, kept: set[str]) -> int:
    """Remove the pictures that belong to nothing: half-written ones, and those whose row was never saved.

    Only names that this software gives are touched, so that a folder which also holds a person's own
    pictures keeps them.

    Returns: how many.
    """
    strays = [
        entry
        for entry in os.scandir(folder)
        if _OWN_NAME.fullmatch(entry.name) and entry.name not in kept and entry.is_file(follow_symlinks=False)
    ]
    for entry in strays:
        Path(entry.path).unlink()
    return len(strays)
