"""Reads parts of models for workers of other hosts, on a thread of its own: no image waits behind a model.

A file is opened anew for each part, within the folders that may hold models, and only sent as long as all
files together have the size that was registered. A worker knows files by names of ours: `model.safetensors`
and the like for a model that is one file, the name in its folder for others.
"""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Final

from msgspec import Struct

from kernel.core.actions import ReadModelPart
from kernel.core.events import ModelFilesListed, ModelPartNotRead, WantedPart
from kernel.process.allowed_folders import open_within
from kernel.protocol.sources import STORED_SCHEME, is_inside, is_stored_name, local_path
from kernel.protocol.worker import FileOfModel

STEM: Final = "model"
"""The name of a model that is one file, without its suffix."""
ENDINGS: Final = frozenset({".json", ".txt", ".model", ".safetensors"})
"""Files of a folder that belong to the model, as its inspection counts them."""
MOST_FILES: Final = 500
MOST_BESIDE_BYTES: Final = 1 << 20
"""A file beside a model is a configuration of some kilobytes."""


class PartRead(Struct, frozen=True):
    """The bytes of a part."""

    part: WantedPart
    data: bytes


class Unsendable(Exception):
    """The model's files cannot be sent; the message says why, without a path of this host."""


PartOutcome = PartRead | ModelFilesListed | ModelPartNotRead


class PartReader:
    """Reads one part after the other."""

    def __init__(
        self, models: Path | None, roots: Sequence[Path], put: Callable[[PartOutcome | BaseException], None]
    ) -> None:
        """`models` is the models folder, `roots` the folders that may contain local models."""
        self._models = models
        self._roots = (*roots, *(() if models is None else (models,)))
        self._put = put
        self._tasks: SimpleQueue[ReadModelPart | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="model-parts", daemon=True)
        self._thread.start()

    def read(self, task: ReadModelPart) -> None:
        self._tasks.put(task)

    def close(self) -> None:
        """Finish the pending tasks, then end the thread."""
        self._tasks.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                self._put(self._outcome(task))
        except BaseException as surprise:  # noqa: BLE001  the outermost frame of this thread
            self._put(surprise)

    def _outcome(self, task: ReadModelPart) -> PartOutcome:
        try:
            return self._do(task)
        except Unsendable as why:
            return ModelPartNotRead(task.part, str(why))
        except OSError as error:
            reason = f"the model cannot be read on the Manager's host: {error.strerror or 'unknown error'}"
            return ModelPartNotRead(task.part, reason)

    def _do(self, task: ReadModelPart) -> PartOutcome:
        """Raises: Unsendable, OSError."""
        place = self._place(task)
        is_folder = place.is_dir()
        if task.part.file is None:
            files = _tree(place) if is_folder else self._beside(place, task)
            counted = files if is_folder else files[:1]
            if (
                task.source.size_bytes is not None
                and sum(file.size_bytes for file in counted) != task.source.size_bytes
            ):
                raise Unsendable(_CHANGED)
            return ModelFilesListed(task.part, tuple(files), is_folder)
        return PartRead(task.part, self._read(place, task, is_folder=is_folder))

    def _place(self, task: ReadModelPart) -> Path:
        """Raises: Unsendable."""
        uri = task.source.uri
        name = uri.removeprefix(STORED_SCHEME)
        if uri.startswith(STORED_SCHEME) and is_stored_name(name) and self._models is not None:
            return self._models / name
        if (place := local_path(uri)) is None:
            raise Unsendable("the model has no file on the Manager's host")
        return place

    def _beside(self, place: Path, task: ReadModelPart) -> list[FileOfModel]:
        """A file, and the one beside it that decides its images. Raises: Unsendable, OSError."""
        files = [FileOfModel(name=STEM + place.suffix.lower(), size_bytes=self._size(place))]
        if task.source.beside:
            word = task.source.beside.partition(" ")[0]
            name = STEM + word if word.startswith(".") else word
            size_bytes = self._size(_path_beside(place, word))
            if size_bytes > MOST_BESIDE_BYTES:
                raise Unsendable(_CHANGED)
            files.append(FileOfModel(name=name, size_bytes=size_bytes))
        return files

    def _size(self, path: Path) -> int:
        """Raises: Unsendable, OSError."""
        descriptor = self._open(path)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _read(self, place: Path, task: ReadModelPart, *, is_folder: bool) -> bytes:
        """Raises: Unsendable, OSError."""
        name, part = task.part.file or "", task.part
        path = _in_folder(place, name) if is_folder else _of_file(place, name, task.source.beside)
        descriptor = self._open(path)
        try:
            size_bytes = os.fstat(descriptor).st_size
            if path == place and task.source.size_bytes not in (None, size_bytes):
                raise Unsendable(_CHANGED)
            if part.offset >= size_bytes > 0:
                raise Unsendable(_CHANGED)
            return os.pread(descriptor, part.size_bytes, part.offset)
        finally:
            os.close(descriptor)

    def _open(self, path: Path) -> int:
        """Raises: Unsendable."""
        descriptor = open_within(path, self._roots, stat.S_ISREG)
        if descriptor is None:
            raise Unsendable("a file of the model is no longer where it was registered: retry the model")
        return descriptor


_CHANGED: Final = "the model has changed since it was registered: retry it to take it as it is now"


def _tree(folder: Path) -> list[FileOfModel]:
    """The files of a model that is a folder. Raises: Unsendable, OSError."""
    found: list[FileOfModel] = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in ENDINGS:
                inner = path.relative_to(folder).as_posix()
                found.append(FileOfModel(name=inner, size_bytes=path.stat().st_size))
        if len(found) > MOST_FILES:
            raise Unsendable("the model has too many files")
    return found


def _raise(error: OSError) -> None:
    raise error


def _in_folder(folder: Path, name: str) -> Path:
    """Raises: Unsendable, for a name that is no file of the model."""
    if not is_inside(name) or Path(name).suffix.lower() not in ENDINGS or "/." in f"/{name}":
        raise Unsendable("the model has no such file")
    return folder / name


def _of_file(place: Path, name: str, beside: str | None) -> Path:
    """Raises: Unsendable, for a name that is neither the model nor the file beside it."""
    if name == STEM + place.suffix.lower():
        return place
    word = (beside or "").partition(" ")[0]
    if not word or name not in (word, STEM + word):
        raise Unsendable("the model has no such file")
    return _path_beside(place, word)


def _path_beside(place: Path, word: str) -> Path:
    """The file beside a model: by its suffix, or by its name. Raises: Unsendable."""
    if word.startswith("."):
        return place.with_suffix(word)
    if "/" in word:
        raise Unsendable("the model has no such file")
    return place.with_name(word)
