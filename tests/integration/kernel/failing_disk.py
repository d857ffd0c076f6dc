"""A disk that fails at the n-th write: a shim between SQLite and the real file system."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import apsw

SHIM: Final = "failing-disk"
BASE: Final = "unix"
"""What SQLite calls the file system of this platform."""


@dataclass
class Disk:
    """Counts what SQLite writes and syncs; from number `fails_at` on, each of them raises `error`."""

    error: type[apsw.Error] = apsw.FullError
    fails_at: int | None = None
    done: int = 0

    def touch(self) -> None:
        """One write or sync. Raises: the error, if its time has come."""
        self.done += 1
        if self.fails_at is not None and self.done >= self.fails_at:
            raise self.error(f"write {self.done} of a failing disk")

    def fail_after(self, more: int, error: type[apsw.Error]) -> None:
        """Let so many more writes pass, then fail."""
        self.error, self.fails_at = error, self.done + more + 1

    def heal(self) -> None:
        self.fails_at = None


class FailingFile(apsw.VFSFile):
    """A file of the real file system whose writes and syncs the disk may refuse."""

    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(BASE, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.touch()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        self._disk.touch()
        super().xSync(flags)


class FailingSystem(apsw.VFS):
    """The default file system of SQLite while it exists."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(SHIM, BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return FailingFile(self._disk, name, flags)


@contextmanager
def failing_disk() -> Iterator[Disk]:
    """Every database opened inside lies on this disk; it works until it is told to fail."""
    disk = Disk()
    system = FailingSystem(disk)
    try:
        yield disk
    finally:
        system.unregister()
