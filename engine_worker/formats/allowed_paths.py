"""Resolves addresses to files, never to anything outside the folders that the owner allowed."""

import os
import stat
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Final

from kernel.process.allowed_folders import open_within, place_of
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.sources import STORED_SCHEME, is_stored_name, local_path

ANYWHERE: Final = (Path("/"),)
"""For files that the caller has created or chosen itself."""
_NOWHERE = "is not a file or folder in one of the allowed folders (models.folders, models.file_roots)"
_NOT_KEPT = "the model's files are no longer in models.folder: put them back, or retry the model"
_NO_ROOTS = "is a local file, but models.folders is empty: list the folders that may hold models"


class ModelFile:
    """A file of a model, opened once, so that its content is the same even if its name leads elsewhere later.

    It is closed when the last reference to it is gone.
    """

    def __init__(self, path: Path, descriptor: int, roots: Sequence[Path]) -> None:
        """`path` is its name in messages; this object owns the descriptor."""
        self.path = path
        self._descriptor = descriptor
        self._roots = roots

    def __del__(self) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def place(self) -> Path:
        """A path for libraries that need one. It is valid as long as this object exists."""
        return place_of(self._descriptor)

    @property
    def size_bytes(self) -> int:
        return os.fstat(self._descriptor).st_size

    def open(self) -> FileIO:
        """Open the file for reading, with a position of its own. Raises: OSError."""
        return FileIO(self.place, "rb")

    def beside(self, suffix: str) -> "ModelFile | None":
        """The file with that suffix beside it, if it may be read."""
        return find_file(self.path.with_suffix(suffix), self._roots)

    def sibling(self, name: str) -> "ModelFile | None":
        """The file of that name in the same folder, if it may be read."""
        return find_file(self.path.with_name(name), self._roots)


def opened(file: "Path | ModelFile") -> ModelFile:
    """Open a file, unless it is open already. A path must be one that the caller has created or chosen
    itself.

    Raises: ModelUnreadable, if there is no such file.
    """
    if isinstance(file, ModelFile):
        return file
    try:
        return ModelFile(file, os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), ANYWHERE)
    except OSError as error:
        raise ModelUnreadable(f"{file.name} cannot be read: {error.strerror or error}") from error


def resolve(uri: str, roots: Sequence[Path]) -> Path:
    """The file or folder of an address: `file://` names a path, `stored:` a file that a models folder among
    the roots keeps under the hash of its content.

    The error is the same for a missing path, a path outside the roots (also through a link) and one that is
    neither a file nor a folder, so that it reveals nothing about this host. The path may lead elsewhere
    later, so code that opens it must pass the roots again.
    Raises: ModelUnreadable.
    """
    path = _stored_path(uri, roots) if uri.startswith(STORED_SCHEME) else local_path(uri)
    mode = None if path is None else _mode_within(path, roots)
    if path is None or mode is None or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        if uri.startswith(STORED_SCHEME):
            raise ModelUnreadable(_NOT_KEPT)
        raise ModelUnreadable(f"{uri} {_NOWHERE if roots else _NO_ROOTS}")
    # The last link is kept: a download cache links a name with a suffix to one without.
    return path.parent.resolve() / path.name


def find_file(path: Path, roots: Sequence[Path], folder: int | None = None) -> ModelFile | None:
    """Open the file of that name, relative to an open folder if one is given; None, if it is not a file or
    leads out of the roots."""
    descriptor = open_within(path, roots, stat.S_ISREG, folder)
    return None if descriptor is None else ModelFile(path, descriptor, roots)


def open_file(path: Path, roots: Sequence[Path]) -> ModelFile:
    """Open the file of that name. Raises: ModelUnreadable, if it is not a file or leads out of the roots."""
    found = find_file(path, roots)
    if found is None:
        raise ModelUnreadable(f"{path.as_uri()} {_NOWHERE}")
    return found


def _mode_within(path: Path, roots: Sequence[Path]) -> int | None:
    """The mode of a path's current target, if it may be read."""
    descriptor = open_within(path, roots, lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    if descriptor is None:
        return None
    try:
        return os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


def _stored_path(uri: str, roots: Sequence[Path]) -> Path | None:
    name = uri.removeprefix(STORED_SCHEME)
    if not is_stored_name(name):
        return None
    return next((root / name for root in roots if (root / name).exists()), None)
