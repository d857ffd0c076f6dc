"""The cache of models from the Manager: several workers of a host share it, and may die at any time.

    files/<key>/model.safetensors   a model that is one file, with what lies beside it
    trees/<key>/                    a model that is a folder
    parts/<key>/                    one that is being copied; the next worker goes on where it was
    locks/<key>                     held shared by workers that use it, exclusively by the one that copies it
    cache.lock                      held while room is made

Only what is whole and has its digest is in `files` and `trees`: it is synced before it is renamed. The least
recently used models make room, never one that a worker uses. Locks are the kernel's (flock), so a killed
worker leaves none; the empty files that carry them stay, since removing one would let two workers hold "the"
lock.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kernel.protocol.errors import DiskFull
from kernel.protocol.model_refs import ModelSource

MIN_FREE_BYTES: Final = 1 << 30
"""Disk space that stays free, as on the Manager's host by default."""
STEM: Final = "model"
"""The name of a model that is one file, without its suffix."""
WANTED: Final = ".wanted"
"""In `parts/<key>`: the bytes that the model will have."""
_KINDS: Final = ("files", "trees")
_PRIVATE: Final = 0o700


def key_of(source: ModelSource) -> str:
    """The name of a model in the cache: its digest, and what lies beside it, if that matters."""
    assert source.sha256 is not None
    if not source.beside:
        return source.sha256
    return f"{source.sha256}-{hashlib.sha256(source.beside.encode()).hexdigest()[:16]}"


def free_bytes_of(folder: Path) -> int:
    """The disk space that is free. Raises: OSError."""
    return shutil.disk_usage(folder).free


@dataclass(slots=True)
class Cache:
    """A folder with a quota. A model that was found is kept while this process needs it."""

    folder: Path
    quota_bytes: int
    min_free_bytes: int = MIN_FREE_BYTES
    free_bytes: Callable[[Path], int] = free_bytes_of
    _used: dict[str, int] = field(default_factory=dict)
    """The locks that this process holds, by key: descriptors."""

    def open(self) -> None:
        """Create the folders. Raises: OSError."""
        for name in (*_KINDS, "parts", "locks"):
            (self.folder / name).mkdir(mode=_PRIVATE, parents=True, exist_ok=True)

    def find(self, key: str) -> Path | None:
        """The file or folder of a model that is here; it stays until `close`, or the end of this process.

        Raises: OSError.
        """
        if key not in self._used:
            descriptor = self._open_lock(key)
            if not _locks(descriptor, fcntl.LOCK_SH):
                os.close(descriptor)
                return None
            self._used[key] = descriptor
        found = self._path(key)
        if found is None:  # it never was, or somebody removed it by hand
            os.close(self._used.pop(key))
            return None
        with suppress(OSError):
            os.utime(self._home(key, found))  # for the least recently used
        return found

    def close(self) -> None:
        """This process needs none of the models any more."""
        while self._used:
            os.close(self._used.popitem()[1])

    @contextmanager
    def copying(self, key: str) -> Iterator[bool]:
        """The right to copy this model; False, if another worker has it."""
        descriptor = self._open_lock(key)
        try:
            yield _locks(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    def part_folder(self, key: str) -> Path:
        """Where the files of a model are while they are copied."""
        folder = self.folder / "parts" / key
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
        return folder

    def copied_bytes(self, key: str) -> int:
        """How much of a model has been copied so far, by whichever worker."""
        return _size(self.folder / "parts" / key)

    def keep(self, key: str, *, is_folder: bool) -> None:
        """A model is whole, and its files are synced: give it its name, durably. Raises: OSError."""
        home = self.folder / _KINDS[is_folder] / key
        parts = self.part_folder(key)
        (parts / WANTED).unlink(missing_ok=True)
        for place, _, _ in os.walk(parts):
            sync(Path(place))
        parts.rename(home)
        sync(home.parent)

    def drop_parts(self, key: str) -> None:
        """What was copied cannot be used."""
        shutil.rmtree(self.folder / "parts" / key, ignore_errors=True)

    def make_room(self, key: str, total_bytes: int) -> None:
        """Make room for a model, with what is there of it already, and note that it will need that much.

        Raises: DiskFull; OSError.
        """
        if total_bytes > self.quota_bytes:  # before others are removed for nothing
            raise DiskFull(
                f"a model of {total_bytes:,} bytes does not fit into {self.folder}, which may hold "
                f"{self.quota_bytes:,}: give the worker a larger --cache-size"
            )
        with (self.folder / "cache.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self.part_folder(key) / WANTED).write_text(str(total_bytes))
            for old in [None, *self._by_use()]:
                if old is not None and not self._remove(old):
                    continue
                lacking_bytes = self._lacking_bytes()
                if lacking_bytes <= 0:
                    return
            (self.part_folder(key) / WANTED).unlink()
        raise DiskFull(
            f"no room for a model of {total_bytes:,} bytes in {self.folder}: {lacking_bytes:,} bytes are "
            "lacking, and workers use the rest. Free the disk, or give the worker a larger --cache-size"
        )

    def _lacking_bytes(self) -> int:
        """By the quota or by the disk; both count what is still to be copied, by all workers.

        Raises: OSError.
        """
        homes = self._homes()
        claimed_bytes = sum(map(_claimed, homes))
        coming_bytes = claimed_bytes - sum(map(_size, homes))
        of_disk = coming_bytes + self.min_free_bytes - self.free_bytes(self.folder)
        return max(claimed_bytes - self.quota_bytes, of_disk)

    def _homes(self) -> list[Path]:
        return [
            home for kind in (*_KINDS, "parts") for home in (self.folder / kind).iterdir() if home.is_dir()
        ]

    def _by_use(self) -> list[Path]:
        """What may make room, the least recently used first."""
        return sorted(self._homes(), key=_used_at)

    def _remove(self, home: Path) -> bool:
        """Remove a model or a part, unless a worker uses or copies it."""
        descriptor = self._open_lock(home.name)
        try:
            if not _locks(descriptor, fcntl.LOCK_EX):
                return False
            shutil.rmtree(home, ignore_errors=True)
            return True
        finally:
            os.close(descriptor)

    def _path(self, key: str) -> Path | None:
        tree = self.folder / "trees" / key
        if tree.is_dir():
            return tree
        with suppress(OSError):
            for file in (self.folder / "files" / key).iterdir():
                if file.stem == STEM and file.suffix != ".yaml":
                    return file
        return None

    def _home(self, key: str, found: Path) -> Path:
        return found if found.name == key else found.parent

    def _open_lock(self, key: str) -> int:
        """Raises: OSError."""
        return os.open(self.folder / "locks" / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def sync(path: Path) -> None:
    """Make a file's bytes or a folder's names durable. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locks(descriptor: int, how: int) -> bool:
    """True if nobody holds the lock in a way that forbids this one."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _used_at(home: Path) -> float:
    """When a model was used last; 0 if another worker has just renamed or removed it."""
    with suppress(OSError):
        return home.stat().st_mtime
    return 0.0


def _size(folder: Path) -> int:
    total_bytes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total_bytes += 0 if name == WANTED else Path(place, name).lstat().st_size
    return total_bytes


def _claimed(home: Path) -> int:
    """What a model takes, or will take once it is whole."""
    wanted = 0
    with suppress(OSError, ValueError):
        wanted = int((home / WANTED).read_text())
    return max(wanted, _size(home))
