"""Bodies while they come in: a few bytes in memory, the rest in files without a name, under one budget.

A body is counted from its first byte on its way to the disk until its request is answered or refused or its
connection gone, which also ends its file: it has no name that anything could be left under.
"""

import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import IO, Final

from kernel.protocol.errors import DiskFull, SpoonError, TooManyRequests

IN_MEMORY_BYTES: Final = 16 << 10
"""Nearly every request is shorter. Of thousands of connections each may hold so much."""
BACKLOG_BYTES: Final = 256 << 10
"""So much of one body may wait for the disk in memory; then its connection is not read for a while."""
BODIES_AT_ONCE: Final = 16
"""So many of the longest kind are there room for on the disk."""
MAX_FILES: Final = 256
STOP_S: Final = 2.0
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

    def enter(self) -> None:
        """One more body is to have a file. Raises: TooManyRequests."""
        with self._lock:
            if self._files >= MAX_FILES:
                raise _too_many()
            self._files += 1

    def open(self) -> IO[bytes]:
        """A file for a body that has entered. Raises: OSError."""
        return tempfile.TemporaryFile(dir=self._folder)

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
        """A body that had entered, and taken so much, is not kept any more."""
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
            raise DiskFull(f"cannot use the folder for temporary files: {error.strerror}") from error
        keep = min(self._min_free, usage.total // FREE_SHARE)
        if usage.free - count < keep:
            raise DiskFull(
                f"the disk for temporary files has {usage.free} bytes free, and {keep} must stay free"
            )


class Writer:
    """The one thread that writes bodies to the disk: the thread of the sockets must not wait for it."""

    def __init__(self) -> None:
        self._errands: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_over = False

    def start(self) -> None:
        """Start the thread, if it does not run yet. Raises: TooManyRequests."""
        with self._changed:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="bodies", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no room for one more
                raise _too_many() from error
            self._thread = thread

    def do(self, errand: Callable[[], None], *, first: bool = False) -> None:
        """Have this done after all that was asked for before; `first`: before it."""
        with self._changed:
            if first:
                self._errands.appendleft(errand)
            else:
                self._errands.append(errand)
            self._changed.notify()

    def stop(self) -> None:
        """End the thread, after what was asked for until now; a disk that hangs is not waited for."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while (errand := self._next()) is not None:
            errand()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._errands or self._is_over)
            return self._errands.popleft() if self._errands else None


class Body:
    """What one body is kept in, in the shape in which waitress wants it.

    Up to IN_MEMORY_BYTES it is in memory; from then on the writer keeps all of it in a file.
    """

    def __init__(self, budget: Budget, writer: Writer, wake: Callable[[], None]) -> None:
        """`wake` is called, by the writer, when its connection should be looked at again."""
        self.failure: SpoonError | None = None
        """Set as soon as there is no room: then the request is to be refused."""
        self._budget = budget
        self._writer = writer
        self._wake = wake
        self._in_memory = BytesIO()
        self._file: IO[bytes] | None = None
        self._size = self._backlog = 0
        self._is_on_disk = self._is_closed = False
        self._changed = threading.Condition()

    @property
    def is_full(self) -> bool:
        """Whether the connection should not be read for a while."""
        return self._backlog >= BACKLOG_BYTES

    def append(self, data: bytes) -> None:
        """More of the body; after a failure nothing is kept. It never waits for the disk."""
        if self.failure is not None:
            return
        try:
            if not self._is_on_disk and self._size + len(data) > IN_MEMORY_BYTES:
                data = self._move_to_disk() + data
            if self._is_on_disk:
                self._budget.take(len(data))
        except SpoonError as error:
            self._fail(error)
            return
        self._size += len(data)
        if self._is_on_disk:
            with self._changed:
                self._backlog += len(data)
            self._writer.do(partial(self._write, data))
        else:
            self._in_memory.write(data)

    def __len__(self) -> int:
        return self._size

    def settle(self) -> None:
        """Wait until all that has come is kept, or has failed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._backlog or self._is_closed)

    def getfile(self) -> IO[bytes]:
        """The whole body, to be read from its beginning."""
        self.settle()
        file = self._file or self._in_memory
        file.seek(0)
        return file

    def close(self) -> None:
        """Nobody needs it any more; may be said twice. Others may have at once what it took."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        if self._is_on_disk:
            self._budget.give_back(self._size)
            self._writer.do(self._end, first=True)

    def _move_to_disk(self) -> bytes:
        """Returns: what is in memory until now. Raises: TooManyRequests."""
        self._writer.start()
        self._budget.enter()
        self._is_on_disk, self._size = True, 0
        return self._in_memory.getvalue()

    def _fail(self, error: SpoonError) -> None:
        self.failure = error
        self.close()

    # From here on: what the writer does.

    def _write(self, data: bytes) -> None:
        if self._is_closed:
            return
        try:
            if self._file is None:
                self._file = self._budget.open()
            self._file.write(data)
            self._file.flush()  # a full disk is told now: when the body is read, it is too late for an answer
        except OSError as error:
            self._fail(DiskFull(f"cannot store the body: {error.strerror}"))
            self._wake()
            return
        with self._changed:
            was_full = self.is_full
            self._backlog -= len(data)
            self._changed.notify_all()
        if was_full and not self.is_full:
            self._wake()

    def _end(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take is not missed any more
                self._file.close()


def _too_many() -> TooManyRequests:
    return TooManyRequests(
        "too many request bodies at once: try again later, or send fewer in parallel",
        retry_after_s=RETRY_AFTER_S,
    )
