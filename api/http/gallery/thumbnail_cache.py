"""A folder of small files that can be made again: bounded, the least recently used go first.

Its files need no care: each begins with a digest of its key and its content, so one that a crash has torn, or
that somebody else has put there, is as good as none. The order of use is that of the modification times, and
thus survives a restart. A folder that cannot be used costs time, and nothing else.
"""

import hashlib
import logging
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kernel.process.log import line

FRESH: Final = ".new-"
"""How names of files begin that are being written."""
_DIGEST_BYTES: Final = 32
_PRIVATE: Final = 0o700

_log: Final = logging.getLogger("spoon.api.thumbnails")


class ThumbnailCache:
    """Content by name. Thread-safe; the folder is made and read when it is first used."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] | None = None
        """By name, the least recently used first; None, until the folder was read."""
        self._total_bytes = 0
        self._has_failed = False

    def get(self, name: str, key: str) -> bytes | None:
        """The content under this name; None, if there is none that was put there with this key."""
        try:
            data = (self._folder / name).read_bytes()
        except OSError:
            return None
        content = data[_DIGEST_BYTES:]
        if data[:_DIGEST_BYTES] != _digest(key, content):
            return None
        with suppress(OSError):
            os.utime(self._folder / name)
        with self._lock:
            self._note(name, len(data))
        return content

    def put(self, name: str, key: str, content: bytes) -> None:
        """Keep this content, and remove what is too much then."""
        data = _digest(key, content) + content
        try:
            self._folder.mkdir(_PRIVATE, parents=True, exist_ok=True)
            with self._lock:
                self._read_folder()
            _write(self._folder, name, data)
        except OSError as error:
            if not self._has_failed:
                _log.warning(line("thumbnails_not_kept", folder=self._folder, detail=error))
            self._has_failed = True
            return
        with self._lock:
            self._note(name, len(data))
            too_many = self._pop_surplus()
        for one in too_many:
            (self._folder / one).unlink(missing_ok=True)

    def remove(self, names: Sequence[str]) -> None:
        """Forget these, if they are there."""
        for name in names:
            with suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)
            with self._lock:
                if self._sizes is not None:
                    self._total_bytes -= self._sizes.pop(name, 0)

    def _note(self, name: str, size_bytes: int) -> None:
        """It was used now. The lock is held."""
        sizes = self._read_folder()
        self._total_bytes += size_bytes - sizes.get(name, 0)
        sizes[name] = size_bytes
        sizes.move_to_end(name)

    def _pop_surplus(self) -> list[str]:
        """The lock is held."""
        sizes, names = self._read_folder(), []
        while self._total_bytes > self._most_bytes and sizes:
            name, size_bytes = sizes.popitem(last=False)
            self._total_bytes -= size_bytes
            names.append(name)
        return names

    def _read_folder(self) -> OrderedDict[str, int]:
        """The sizes, read from the folder at the first call. The lock is held."""
        if self._sizes is None:
            found = _files_in(self._folder)
            self._sizes = OrderedDict((name, size_bytes) for _, name, size_bytes in sorted(found))
            self._total_bytes = sum(self._sizes.values())
        return self._sizes


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + content).digest()


def _write(folder: Path, name: str, data: bytes) -> None:
    """Whoever reads it meanwhile gets the old file, or none. After a crash it may be torn."""
    descriptor, fresh = tempfile.mkstemp(prefix=FRESH, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(fresh).replace(folder / name)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def _files_in(folder: Path) -> list[tuple[int, str, int]]:
    """Of each file the time of its last use, its name and its size; unfinished ones are removed."""
    found: list[tuple[int, str, int]] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.startswith(FRESH):
                    Path(entry.path).unlink()
                elif entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    found.append((stat.st_mtime_ns, entry.name, stat.st_size))
    return found
