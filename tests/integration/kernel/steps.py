"""Every step that a Manager does to its disk, or to the world, counted: at any of them it may fail or die.

Steps are the writes, syncs, renames and removals of files, those of SQLite, and what is said to clients and
workers. A process that is killed does nothing from one step on, and what it did before stays done; unless
the power goes with it. What SQLite makes of that is asked by test_power_cuts.py.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw

from kernel.protocol.codec import Frame
from kernel.shell.fs_ops import FileSystem

SHIM: Final = "stepping-disk"
BASE: Final = "unix"
_OF_SQLITE: Final = {errno.ENOSPC: apsw.FullError, errno.EIO: apsw.IOError}
"""What SQLite makes of an error of the system."""


Killed: Final = SystemExit
"""The process has ended here, without a word: no cleaning up is done for it, as for an error it would."""


class DeadDisk(apsw.IOError):
    """The same for SQLite, which wants an error of its own kind."""


@dataclass(frozen=True)
class Fault:
    """A disk that refuses a step, and the others of its kind that come within so many seconds."""

    number: int
    """Of the system: ENOSPC or EIO."""
    lasts_s: float = 0.0


@dataclass
class Steps:
    """Counts, and ends the process at step number `at`, or lets the disk fail there or at its next step."""

    at: int | None = None
    fault: Fault | None = None
    """None: the process is killed."""
    loses_power: bool = False
    """Not the process alone is killed: files, though not SQLite's, lose what was not synced."""
    then: int | None = None
    """After so many steps more the next process is killed, too."""
    now_s: float = 0.0
    """The world moves it."""
    stage: str = "start"
    labels: list[str] = field(default_factory=list)
    is_dead: bool = False
    has_happened: bool = False
    _heals_at_s: float | None = None
    _is_removal: bool = False
    _wake: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def fileno(self) -> int:
        """Readable once the process is dead."""
        return self._wake

    def close(self) -> None:
        os.close(self._wake)

    def take(self, what: str) -> None:
        """The next step is about to be done.

        Raises: Killed; OSError, if the disk refuses.
        """
        if self.is_dead:
            raise Killed
        self.labels.append(f"{self.stage}: {what}")
        is_due = self.at is not None and len(self.labels) >= self.at
        if self.fault is None:
            if is_due:
                self._die()
        elif is_due and not self.has_happened and can_fail(what):
            self.at, self.has_happened = len(self.labels), True
            self._heals_at_s, self._is_removal = self.now_s + self.fault.lasts_s, _is_removal(what)
            raise _error(self.fault)
        elif self._is_still_broken(what):
            raise _error(self.fault)

    def _die(self) -> None:
        self.is_dead = self.has_happened = True
        self.at, self.then = None if self.then is None else len(self.labels) + self.then, None
        os.eventfd_write(self._wake, 1)
        raise Killed

    def _is_still_broken(self, what: str) -> bool:
        """What a broken disk has half-written it lets go of; or it lets go of nothing, but can be written."""
        is_broken = self._heals_at_s is not None and self.now_s < self._heals_at_s
        return is_broken and can_fail(what) and _is_removal(what) is self._is_removal

    def revive(self) -> None:
        """A new process begins."""
        if self.is_dead:
            self.is_dead = False
            os.eventfd_read(self._wake)


def _error(fault: Fault) -> OSError:
    return OSError(fault.number, os.strerror(fault.number))


def _is_removal(label: str) -> bool:
    return ", remove" in label


def can_fail(label: str) -> bool:
    """Is this a step of a disk, which can refuse it?"""
    return not label.endswith((TOLD, LAUNCHED, ORDERED))


def is_of_sqlite(label: str) -> bool:
    """Is this a step of the database?"""
    return ": log, " in label or ": database, " in label


TOLD: Final = "tell a client"
LAUNCHED: Final = "launch a worker"
ORDERED: Final = "tell a worker"


class SteppingDisk(FileSystem):
    """The disk under the folders of files."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._unsynced: set[Path] = set()
        """Files with bytes that are in memory only."""
        self._renamed: list[tuple[Path, Path]] = []
        """Names that are in memory only: old and new."""

    def lose_power(self) -> None:
        """What was not synced is not there, as the worst disk has it."""
        for old, new in reversed(self._renamed):
            if new.exists():
                new.rename(old)
        for file in self._unsynced:
            if file.exists():
                os.truncate(file, 0)

    def write(self, descriptor: int, data: Frame) -> None:
        """In two steps, since a file can be half-written."""
        half = len(data) // 2
        for part, name in ((data[:half], "write the first half"), (data[half:], "write the second half")):
            self._steps.take(f"{_kind(_path(descriptor))}, {name}")
            self._unsynced.add(_path(descriptor))
            super().write(descriptor, part)

    def sync(self, descriptor: int) -> None:
        """What the kernel was given survives the process, so that the real sync can be spared."""
        path = _path(descriptor)
        self._steps.take(f"{_kind(path)}, sync")
        self._unsynced.discard(path)
        self._renamed = [(old, new) for old, new in self._renamed if new.parent != path]

    def rename(self, old: Path, new: Path) -> None:
        self._steps.take(f"{_kind(new)}, rename")
        super().rename(old, new)
        self._renamed.append((old, new))
        if old in self._unsynced:
            self._unsynced.add(new)

    def unlink(self, file: Path) -> None:
        self._steps.take(f"{_kind(file)}, remove")
        super().unlink(file)

    def remove_tree(self, folder: Path) -> None:
        """In two steps, since a folder can be half removed."""
        self._steps.take(f"{_kind(folder)}, remove the first of it")
        for file in [entry for entry in sorted(folder.rglob("*")) if entry.is_file()][:1]:
            file.unlink()
        self._steps.take(f"{_kind(folder)}, remove the rest of it")
        super().remove_tree(folder)


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def _kind(path: Path) -> str:
    """What lies there: `images/file`, `models/incoming/folder` ..."""
    names = list(path.parts)
    top = next(n for n, name in enumerate(names) if name in ("images", "blobs", "models"))
    inner = names[top + 1 : -1] if path.suffix or not path.is_dir() else names[top + 1 :]
    return "/".join(names[top : top + 1] + [name for name in inner if len(name) < 16])


class SteppingFile(apsw.VFSFile):
    """A file of SQLite."""

    def __init__(self, steps: Steps, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._steps = steps
        self._name = "log" if path and path.endswith("-wal") else "database"
        super().__init__(BASE, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        take_for_sqlite(self._steps, f"{self._name}, write")
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802 - apsw's name
        take_for_sqlite(self._steps, f"{self._name}, truncate")
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        take_for_sqlite(self._steps, f"{self._name}, sync")


class SteppingSystem(apsw.VFS):
    """The default file system of SQLite while it exists."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        super().__init__(SHIM, BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return SteppingFile(self._steps, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - apsw's name
        take_for_sqlite(self._steps, "log, remove")
        super().xDelete(filename, syncdir)


def take_for_sqlite(steps: Steps, what: str) -> None:
    """The next step is one of SQLite. Raises: apsw.Error."""
    try:
        steps.take(what)
    except Killed:
        raise DeadDisk from None
    except OSError as error:
        raise _OF_SQLITE[error.errno or errno.EIO](str(error)) from None


@contextmanager
def stepping(steps: Steps) -> Iterator[Steps]:
    """Every database opened inside takes these steps."""
    system = SteppingSystem(steps)
    try:
        yield steps
    finally:
        system.unregister()
        steps.close()
