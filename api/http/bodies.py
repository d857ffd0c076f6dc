"""Bodies while they come in: a few bytes in memory, the rest in files without a name, under one budget.

A body is counted from its first byte on the disk until its request is answered or its connection gone, which
also ends its file: it has no name that anything could be left under.
"""

import shutil
import tempfile
import threading
from contextlib import suppress
from io import BytesIO
from typing import IO, Final

from kernel.protocol.errors import DiskFull, SpoonError, TooManyRequests

IN_MEMORY_BYTES: Final = 16 << 10
"""Nearly every request is shorter. Of thousands of connections each may hold so much."""
BODIES_AT_ONCE: Final = 16
"""So many of the longest kind are there room for on the disk."""
MAX_FILES: Final = 256
LOOK_EVERY_BYTES: Final = 16 << 20
FREE_SHARE: Final = 10
"""A tenth of the disk stays free; less, where `images.min_free` is less."""
RETRY_AFTER_S: Final = 5.0


class Budget:
    """What all bodies together may take of the disk. Units: bytes."""

    def __init__(self, total_bytes: int, min_free_bytes: int, folder: str | None = None) -> None:
        """`folder`: where the files are; None: the system's folder for temporary files."""
        self._total = total_bytes
        self._min_free = min_free_bytes
        self._folder = folder
        self._lock = threading.Lock()
        self._taken = self._files = self._unlooked = 0

    @property
    def taken_bytes(self) -> int:
        return self._taken

    def check(self, length: int) -> None:
        """Whether a body of this length could come in now.

        Raises: TooManyRequests, DiskFull.
        """
        if length > IN_MEMORY_BYTES:
            with self._lock:
                self._check_total(length)
            self._look(length)

    def open(self) -> IO[bytes]:
        """A file for a body. Raises: TooManyRequests; OSError."""
        with self._lock:
            if self._files >= MAX_FILES:
                raise _too_many()
            self._files += 1
        try:
            return tempfile.TemporaryFile(dir=self._folder)
        except OSError:
            self.give_back(0)
            raise

    def take(self, count: int) -> None:
        """So much more is to be written. Raises: TooManyRequests, DiskFull."""
        with self._lock:
            self._check_total(count)
            self._unlooked += count
            is_time = self._unlooked >= LOOK_EVERY_BYTES
            if is_time:
                self._unlooked = 0
        if is_time:
            self._look(count)
        with self._lock:
            self._taken += count

    def give_back(self, count: int) -> None:
        """A file of so much is closed."""
        with self._lock:
            self._taken -= count
            self._files -= 1

    def _check_total(self, count: int) -> None:
        if self._taken + count > self._total:
            raise _too_many()

    def _look(self, count: int) -> None:
        try:
            usage = shutil.disk_usage(self._folder or tempfile.gettempdir())
        except OSError as error:
            raise DiskFull(f"the folder for temporary files cannot be used: {error.strerror}") from error
        keep = min(self._min_free, usage.total // FREE_SHARE)
        if usage.free - count < keep:
            raise DiskFull(
                f"the disk for temporary files has {usage.free} bytes free, of which {keep} are to stay free"
            )


class Body:
    """What one body is kept in, in the shape in which waitress wants it."""

    def __init__(self, budget: Budget) -> None:
        self.failure: SpoonError | None = None
        """Set as soon as there is no room: then the request is to be refused."""
        self._budget = budget
        self._file: IO[bytes] = BytesIO()
        self._size = 0
        self._is_on_disk = self._is_closed = False

    def append(self, data: bytes) -> None:
        """More of the body; after a failure nothing is kept."""
        if self.failure is not None:
            return
        try:
            self._write(data)
        except SpoonError as error:
            self.failure = error
        except OSError as error:
            self.failure = DiskFull(f"the body cannot be kept: {error.strerror}")

    def __len__(self) -> int:
        return self._size

    def getfile(self) -> IO[bytes]:
        """The whole body, to be read from its beginning."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Nobody needs it any more; may be said twice."""
        if not self._is_closed:
            self._is_closed = True
            with suppress(OSError):  # what a full disk did not take is not missed any more
                self._file.close()
            if self._is_on_disk:
                self._budget.give_back(self._size)

    def _write(self, data: bytes) -> None:
        if not self._is_on_disk and self._size + len(data) > IN_MEMORY_BYTES:
            self._move_to_disk()
        if self._is_on_disk:
            self._budget.take(len(data))
        self._size += len(data)
        self._file.write(data)
        self._file.flush()  # a full disk is told now: when the body is read, it is too late for an answer

    def _move_to_disk(self) -> None:
        file = self._budget.open()
        self._is_on_disk, in_memory = True, self.getfile().read()
        self._file, self._size = file, 0
        self._write(in_memory)


def _too_many() -> TooManyRequests:
    return TooManyRequests(
        "too many bodies are on their way: try again later, or send fewer at once",
        retry_after_s=RETRY_AFTER_S,
    )
