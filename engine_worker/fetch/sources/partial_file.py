"""A partial download that can be resumed from the bytes that are known to be durable.

Beside the file is its mark: the strong ETag of the download, and the number of durable bytes. After a crash
the file is truncated to that, so that a power cut cannot leave a hole in the middle.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from kernel.protocol.type_info import analyzed

CHECKPOINT_BYTES: Final = 64 << 20
"""The most that is downloaded again after a crash."""
_CHUNK_BYTES: Final = 4 << 20


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a partial file."""

    etag: str | None
    size_bytes: int


class PartialFile:
    """The partial file. A context manager: leaving it makes the bytes so far durable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark_path = path.with_name(f"{path.name}.mark")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        mark = self._read_mark()
        self._etag = mark.etag
        self._size = min(mark.size_bytes, os.fstat(self._file).st_size)
        self._durable = self._size
        os.ftruncate(self._file, self._size)
        self._hash = hashlib.sha256()
        self._hashed = 0

    def __enter__(self) -> "PartialFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(OSError):  # bytes that are not durable are downloaded again
                self.checkpoint()
        finally:
            os.close(self._file)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def size_bytes(self) -> int:
        """Bytes downloaded so far."""
        return self._size

    @property
    def etag(self) -> str | None:
        """The strong ETag of these bytes, without which the download cannot be resumed."""
        return self._etag

    def begin(self, etag: str | None) -> None:
        """Start over; None: it cannot be resumed. Raises: OSError."""
        os.ftruncate(self._file, 0)
        self._size = self._durable = self._hashed = 0
        self._hash = hashlib.sha256()
        self._etag = etag
        self._write_mark()

    def append(self, data: bytes) -> None:
        """Raises: OSError, such as when the disk is full."""
        if self._hashed == self._size:
            self._hash.update(data)
            self._hashed += len(data)
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, self._size)
            self._size += written
            view = view[written:]
        if self._size - self._durable >= CHECKPOINT_BYTES:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Make the bytes so far durable, and record their number. Raises: OSError."""
        if self._size != self._durable:
            os.fdatasync(self._file)
            self._durable = self._size
            self._write_mark()

    def sha256(self, moved: Callable[[int], None]) -> str:
        """The digest of all bytes; those of an earlier run are read again, with progress.

        Raises: OSError.
        """
        if self._hashed > self._size:
            self._hash, self._hashed = hashlib.sha256(), 0
        if self._hashed < self._size:
            self._hash, self._hashed = hashlib.sha256(), 0
            while data := os.pread(self._file, _CHUNK_BYTES, self._hashed):
                self._hash.update(data)
                self._hashed += len(data)
                moved(self._hashed)
        return self._hash.hexdigest()

    def beginning(self, size_bytes: int) -> bytes:
        """The first bytes. Raises: OSError."""
        return os.pread(self._file, size_bytes, 0)

    def remove(self) -> None:
        """Remove the file and its mark. Raises: OSError."""
        self.begin(None)
        self._mark_path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        self._durable = self._size

    def _read_mark(self) -> Mark:
        try:
            return msgspec.json.decode(self._mark_path.read_bytes(), type=analyzed(Mark))
        except (OSError, msgspec.DecodeError):
            return Mark(etag=None, size_bytes=0)

    def _write_mark(self) -> None:
        fresh = self._mark_path.with_name(f"{self._mark_path.name}.new")
        fresh.write_bytes(msgspec.json.encode(Mark(etag=self._etag, size_bytes=self._durable)))
        fresh.replace(self._mark_path)
