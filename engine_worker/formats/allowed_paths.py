"""From addresses to files, and never to anything outside the folders that the owner allowed.

A name may lead elsewhere a moment after it was looked at. So a file is opened first, without touching it
(O_PATH: a pipe does not block, a device does not wake), then the descriptor is asked where it leads and what
it is, and everything is read from that descriptor. Source: open(2), proc(5) on /proc/self/fd.
"""

import os
import stat
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import Final

from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.sources import STORED_SCHEME, is_stored_name, local_path

ANYWHERE: Final = (Path("/"),)
"""For files that the caller itself has made or chosen."""
_NOWHERE = "is not a file or folder in one of the allowed folders (models.file_roots)"
_NOT_KEPT = "the model's files are no longer in models.folder: put them back, or retry the model"
_NO_ROOTS = "is a local file, but models.file_roots is empty: list the folders that may hold models"


class ModelFile:
    """A file of a model, opened once: whatever its name leads to later, this is what is read.

    It is closed when nobody holds it any more.
    """

    def __init__(self, path: Path, descriptor: int, roots: Sequence[Path]) -> None:
        """`path` is what it is called, for people; the descriptor becomes this object's own."""
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
        """Where libraries that want a name find it, for as long as this object is held."""
        return _place(self._descriptor)

    @property
    def size_bytes(self) -> int:
        return os.fstat(self._descriptor).st_size

    def open(self) -> FileIO:
        """Read it from its beginning, with a position of one's own. Raises: OSError."""
        return FileIO(self.place, "rb")

    def beside(self, suffix: str) -> "ModelFile | None":
        """The file of that ending that lies beside it, if it may be read."""
        return find_file(self.path.with_suffix(suffix), self._roots)


def opened(file: "Path | ModelFile") -> ModelFile:
    """The file, opened if it is not yet: a path is one that the caller itself has made or chosen.

    Raises: ModelUnreadable, if there is no such file.
    """
    if isinstance(file, ModelFile):
        return file
    try:
        return ModelFile(file, os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), ANYWHERE)
    except OSError as error:
        raise ModelUnreadable(f"{file.name} cannot be read: {error.strerror or error}") from error


def resolve(uri: str, roots: Sequence[Path]) -> Path:
    """The file or folder that a `file://` address names, under the name that it bears there; for a `stored:`
    address, what a models folder among the roots keeps under that name, which tells its content.

    What is absent, what lies outside the roots (also by way of a link) and what is neither file nor folder
    get one and the same answer, so that nobody can find out with it what else is on this host. It says
    nothing of what the name leads to later: whoever opens it names the roots again.
    Raises: ModelUnreadable.
    """
    path = _stored_path(uri, roots) if uri.startswith(STORED_SCHEME) else local_path(uri)
    mode = None if path is None else _mode_within(path, roots)
    if path is None or mode is None or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        if uri.startswith(STORED_SCHEME):
            raise ModelUnreadable(_NOT_KEPT)
        raise ModelUnreadable(f"{uri} {_NOWHERE if roots else _NO_ROOTS}")
    # The last link is not followed: a download cache links a name that tells the kind to one that does not.
    return path.parent.resolve() / path.name


def find_file(path: Path, roots: Sequence[Path], folder: int | None = None) -> ModelFile | None:
    """The file of that name, below an open folder if one is given; None, if it is no file or leads out of
    the roots."""
    descriptor = open_within(path, roots, stat.S_ISREG, folder)
    return None if descriptor is None else ModelFile(path, descriptor, roots)


def open_file(path: Path, roots: Sequence[Path]) -> ModelFile:
    """The file of that name. Raises: ModelUnreadable, if it is none, or leads out of the roots."""
    found = find_file(path, roots)
    if found is None:
        raise ModelUnreadable(f"{path.as_uri()} {_NOWHERE}")
    return found


def open_within(
    path: Path, roots: Sequence[Path], is_wanted: Callable[[int], bool], folder: int | None = None
) -> int | None:
    """A descriptor to read from, with every link followed; None if that leads to nowhere, to something else
    than is wanted, or out of the roots. `is_wanted` is asked about the mode."""
    try:
        looked_at = os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=folder)
    except (OSError, ValueError):
        return None
    try:
        if not is_wanted(os.fstat(looked_at).st_mode) or not _is_within(looked_at, roots):
            return None
        return os.open(_place(looked_at), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(looked_at)


def _is_within(descriptor: int, roots: Sequence[Path]) -> bool:
    """Raises: OSError."""
    real = _place(descriptor).readlink()
    return any(real.is_relative_to(root.resolve()) for root in roots)


def _mode_within(path: Path, roots: Sequence[Path]) -> int | None:
    """What a name leads to now, if it may be read."""
    descriptor = open_within(path, roots, lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    if descriptor is None:
        return None
    try:
        return os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


def _place(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def _stored_path(uri: str, roots: Sequence[Path]) -> Path | None:
    name = uri.removeprefix(STORED_SCHEME)
    if not is_stored_name(name):
        return None
    return next((root / name for root in roots if (root / name).exists()), None)
